"""What beacon.js calls a view, and the attention a view gets, in a real browser against a real server."""

import re
import time
from pathlib import Path

from tests.browser.site import Site
from tests.browser.visitor import Visitor, running

HEX_32 = re.compile(r"[0-9a-f]{32}")


# ---- loads: the server's, and those it does not see


def test_a_load_from_the_network_is_the_servers(visitor: Visitor, site: Site) -> None:
    """A page that came over the network is counted once, by the server, also while it trickles in."""
    paths = ["/plain/", "/slow/", "/cached/", "/checked/", "/twice/", "/early/"]
    for path in paths:
        visitor.open(path)
        visitor.settle()
    assert site.loads == paths
    assert site.bodies("view") == []


def test_reload_and_revalidation_are_the_servers(visitor: Visitor, site: Site) -> None:
    """A reload and a 304 are asked of the server, so the script stays silent."""
    visitor.open("/cached/")
    visitor.page.reload()
    visitor.settle()
    visitor.open("/checked/")
    visitor.open("/plain/")
    visitor.open("/checked/")
    visitor.settle()
    assert site.loads == ["/cached/", "/cached/", "/checked/", "/plain/", "/checked/"]
    assert site.bodies("view") == []


def test_a_load_from_the_cache_is_reported_once(visitor: Visitor, site: Site) -> None:
    """A page taken whole from the browser's cache, which no server sees, is reported with its referrer."""
    visitor.open("/cached/a?utm_source=x#part")
    visitor.open("/plain/")
    visitor.open("/cached/a?utm_source=x#part", referer="http://elsewhere.example/")
    [view] = visitor.reports("view", 1)
    visitor.settle()
    assert view == {
        "k": "view",
        "w": view["w"],
        "u": "/cached/a?utm_source=x",
        "r": "http://elsewhere.example/",
    }
    assert HEX_32.fullmatch(view["w"])
    assert site.loads == ["/cached/a", "/plain/"]
    assert site.shown("/cached/a") == 2
    assert site.reports[0].path == "/_impersonal/event"
    assert site.reports[0].content_type.startswith("text/plain")


PREFETCH = """(to) => {
  const rules = document.createElement("script");
  rules.type = "speculationrules";
  rules.textContent = JSON.stringify({ prefetch: [{ source: "list", urls: [to], eagerness: "immediate" }] });
  document.head.append(rules);
}"""


def test_a_prefetched_page_counts_when_it_is_shown(visitor: Visitor, site: Site) -> None:
    """The server does not count what is only fetched ahead; shown, it is reported once."""
    visitor.open("/plain/")
    visitor.page.evaluate(PREFETCH, "/plain/ahead")
    while "/plain/ahead" not in site.ahead:
        visitor.page.wait_for_timeout(20)
    visitor.page.wait_for_timeout(100)
    assert site.bodies("view") == []
    visitor.run("location.href = '/plain/ahead'")
    [view] = visitor.reports("view", 1)
    visitor.settle()
    assert view["r"] == site.origin + "/plain/"
    assert site.loads == ["/plain/"]
    assert site.shown("/plain/ahead") == 1


def sleep_ms(ms: float) -> None:
    time.sleep(ms / 1000)


def test_a_prerendered_page_counts_when_it_is_shown(tmp_path: Path, site: Site) -> None:
    """A page rendered ahead reports nothing, its own events included, before somebody sees it."""
    with running(tmp_path, site.origin + "/ahead/"):
        [view], [early], [left] = (site.wait_for(kind, 1, sleep_ms) for kind in ("view", "event", "ping"))
        sleep_ms(100)
    assert (left["u"], view["u"], early["u"]) == ("/ahead/", "/early/", "/early/")
    assert early["p"] == {"prerendered": True}
    # The page goes there 0.6 s after it began to fetch it.
    assert min(report.at for report in site.reports) > site.ahead["/early/"] + 0.4
    assert view["r"] == site.origin + "/ahead/"
    assert view["w"] == early["w"] != left["w"]
    assert site.loads == ["/ahead/"]
    assert site.shown("/early/") == 1


def test_a_page_restored_from_the_back_forward_cache_is_a_view(visitor: Visitor, site: Site) -> None:
    """Going back to a frozen page asks no server: the script reports a new view with an id of its own."""
    visitor.open("/plain/first")
    visitor.run("window.kept = true; impersonal('before')")
    [before] = visitor.reports("event", 1)
    visitor.open("/plain/second")
    visitor.run("history.back()")
    [view] = visitor.reports("view", 1)
    visitor.page.wait_for_function("window.kept", timeout=5000)  # the very document, not a new one
    visitor.settle()
    assert view["u"] == "/plain/first"
    assert view["w"] != before["w"]
    assert site.loads == ["/plain/first", "/plain/second"]
    assert site.bodies("event")[-1]["w"] == view["w"]
    assert len(site.bodies("view")) == 1


def test_a_page_from_the_cache_and_restored_is_two_views(visitor: Visitor, site: Site) -> None:
    """That a page once came from the cache does not make its return count double."""
    for path in ("/cached/", "/plain/", "/cached/", "/plain/"):
        visitor.open(path)
    visitor.reports("view", 1)
    visitor.run("window.kept = false; history.back()")
    visitor.reports("view", 2)
    visitor.page.wait_for_function("window.kept === undefined", timeout=5000)
    visitor.settle()
    assert site.loads == ["/cached/", "/plain/", "/plain/"]
    assert site.shown("/cached/") == 3


def test_a_service_worker_never_makes_two_views_of_one(visitor: Visitor, site: Site) -> None:
    """What a service worker fetches or makes up counts at most once."""
    visitor.open("/plain/")
    visitor.page.evaluate(
        "navigator.serviceWorker.register('/sw.js').then(() => navigator.serviceWorker.ready)"
    )
    visitor.page.wait_for_function("navigator.serviceWorker.controller")
    visitor.open("/other/")
    visitor.settle()
    visitor.open("/net/")
    visitor.settle()
    visitor.open("/made/")
    visitor.settle()
    assert site.shown("/other/") == 1
    assert site.shown("/net/") <= 1
    assert site.shown("/made/") == 1


# ---- history


def test_history_navigations(visitor: Visitor, site: Site) -> None:
    """Another path or query is a view with a new id and no referrer; another hash or state is none."""
    visitor.open("/plain/a?x=1")
    for call in (
        "history.pushState({}, '', '/plain/b')",
        "history.pushState({}, '', '/plain/b')",
        "history.pushState({}, '', '#hash')",
        "history.replaceState({ state: 1 }, '')",
        "location.hash = 'other'",
        "history.pushState({}, '', '/plain/b?page=2')",
        "history.replaceState({}, '', '/plain/c')",
    ):
        visitor.run(call)
    visitor.settle()
    views = site.bodies("view")
    assert [view["u"] for view in views] == ["/plain/b", "/plain/b?page=2", "/plain/c"]
    assert all(set(view) == {"k", "w", "u"} and HEX_32.fullmatch(view["w"]) for view in views)
    assert len({view["w"] for view in views}) == 3
    assert site.loads == ["/plain/a"]


def test_back_and_forward_within_a_page(visitor: Visitor, site: Site) -> None:
    """Back and forward between pushed addresses are views; between hashes they are none."""
    visitor.open("/plain/a")
    visitor.run("history.pushState({}, '', '/plain/b'); history.pushState({}, '', '#hash')")
    visitor.run("history.back()")
    visitor.settle()
    assert [view["u"] for view in site.bodies("view")] == ["/plain/b"]
    visitor.run("history.back()")
    visitor.reports("view", 2)
    visitor.run("history.forward()")
    visitor.reports("view", 3)
    assert [view["u"] for view in site.bodies("view")] == ["/plain/b", "/plain/a", "/plain/b"]


def test_a_tidied_query_is_the_same_view(visitor: Visitor, site: Site) -> None:
    """A page that removes its campaign tags from the address bar is not shown twice."""
    visitor.open("/plain/?utm_source=x")
    visitor.run("history.replaceState(null, '', '/plain/')")
    visitor.run("location.hash = 'part'")
    visitor.run("history.pushState(null, '', '/plain/')")
    visitor.settle()
    assert site.bodies("view") == []


def test_history_functions_behave_as_before(visitor: Visitor) -> None:
    """What the page passes, gets back and catches is what it would be without the script."""
    visitor.page.add_init_script("""
        const real = history.pushState;
        history.pushState = function (...given) {
            if (given[0] === "refuse") throw new TypeError("refused");
            real.apply(this, given);
            return this === history && given.length;
        };
    """)
    visitor.open("/plain/")
    assert visitor.run("history.pushState({ a: 1 }, '', '/plain/b')") == 3
    assert visitor.run("history.state") == {"a": 1}
    assert visitor.run("history.replaceState(null, '')") is None
    refused = "(() => { try { history.pushState('refuse') } catch (error) { return error.message } })()"
    assert visitor.run(refused) == "refused"
    foreign = (
        "(() => { try { history.replaceState(0, '', 'http://x.example') } catch (e) { return e.name } })()"
    )
    assert visitor.run(foreign) == "SecurityError"
    assert [view["u"] for view in visitor.reports("view", 1)] == ["/plain/b"]


# ---- attention


def test_attention_is_visible_and_focused_time(tab: Visitor) -> None:
    """Time is counted while the page is seen, sent when it is hidden, and rests until it is seen again."""
    tab.open("/plain/")
    tab.page.wait_for_timeout(800)
    other = tab.context.new_page()
    other.bring_to_front()
    [first] = tab.reports("ping", 1)
    assert 750 <= first["e"] < 2000
    assert first["u"] == "/plain/"
    other.wait_for_timeout(800)
    since = time.monotonic()
    tab.page.bring_to_front()
    tab.page.wait_for_timeout(3050)
    other.bring_to_front()
    second = tab.reports("ping", 2)[1]
    assert 3000 <= second["e"] <= 1000 * (time.monotonic() - since)
    assert second["w"] == first["w"]


def test_a_page_without_the_focus_earns_no_time(visitor: Visitor) -> None:
    """A page that is visible beside the window in use is not attended to."""
    visitor.open("/plain/")
    session = visitor.context.new_cdp_session(visitor.page)
    session.send("Emulation.setFocusEmulationEnabled", {"enabled": False})
    visitor.context.new_page().bring_to_front()
    visitor.page.wait_for_timeout(1000)
    assert visitor.run("[document.visibilityState, document.hasFocus()]") == ["visible", False]
    visitor.run("history.pushState(null, '', '/plain/next')")
    assert 0 < visitor.reports("ping", 1)[0]["e"] < 900


def test_a_short_glance_is_kept_for_the_next_ping(tab: Visitor, site: Site) -> None:
    """Less than three seconds and no deeper scroll since the last ping are not worth another."""
    tab.open("/plain/")
    other = tab.context.new_page()
    for _ in range(3):
        other.bring_to_front()
        tab.reports("ping", 1)
        tab.page.bring_to_front()
        tab.page.wait_for_timeout(200)
    tab.settle()
    assert len(site.bodies("ping")) == 1


def test_a_navigation_within_the_page_closes_the_view_before_it(visitor: Visitor, site: Site) -> None:
    """The ping of a view carries its id, its address and its deepest scroll; the next view starts anew."""
    visitor.open("/plain/long?x=1")
    visitor.page.wait_for_timeout(50)
    visitor.run("window.scrollTo(0, document.documentElement.scrollHeight)")
    visitor.page.wait_for_timeout(100)
    visitor.run("window.scrollTo(0, 0)")
    visitor.run("impersonal('where'); history.pushState(null, '', '/plain/next')")
    [ping] = visitor.reports("ping", 1)
    [event] = visitor.reports("event", 1)
    [view] = visitor.reports("view", 1)
    assert ping["s"] == 100
    assert (ping["u"], ping["w"]) == ("/plain/long?x=1", event["w"])
    assert 100 <= ping["e"] < 2000
    visitor.page.wait_for_timeout(50)
    visitor.open("/plain/")
    second = visitor.reports("ping", 2)[1]
    assert (second["u"], second["w"]) == ("/plain/next", view["w"])
    assert 0 < second["s"] < 50
    assert site.loads == ["/plain/long", "/plain/"]
