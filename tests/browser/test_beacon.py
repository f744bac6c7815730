"""beacon.js as it is served, in a real browser, against a real server."""

import gzip
import re
import time
from pathlib import Path

import pytest
from playwright.sync_api import Error

import collector.browser
from collector.browser import BEACON, BEACON_ETAG
from tests.browser.conftest import Site, Visitor, running

HEX_32 = re.compile(r"[0-9a-f]{32}")


# ---- the file


def test_size() -> None:
    """The script is less than a kilobyte on the wire."""
    assert len(gzip.compress(BEACON, 9)) < 1024


def test_source_keeps_the_rules_that_serving_relies_on() -> None:
    """No comment after code, no space beside a sign within a literal, no $name left or used as a property."""
    source = Path(collector.browser.__file__).with_name("beacon.js").read_text()
    code = [line for line in source.splitlines() if not line.lstrip().startswith("//")]
    assert not [line for line in code if "//" in line or "/*" in line or "`" in line]
    literals = re.findall(r'"[^"]*"', "\n".join(code))
    assert not [literal for literal in literals if re.search(r"\W | \W", literal)]
    assert not re.findall(r"\.\$\w", "\n".join(code).replace("...$", ""))
    assert b"$" not in BEACON.replace(b"$/", b"")
    assert re.fullmatch(r'"[0-9a-f]{16}"', BEACON_ETAG)


# ---- loads: the server's, and those it does not see


@pytest.mark.parametrize("path", ["/plain/", "/slow/", "/cached/", "/checked/", "/twice/", "/early/"])
def test_a_load_from_the_network_is_the_servers(visitor: Visitor, site: Site, path: str) -> None:
    """A page that came over the network is counted once, by the server, also while it trickles in."""
    visitor.open(path)
    visitor.settle()
    assert site.loads == [path]
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
    assert visitor.run("window.kept")
    visitor.settle()
    assert view["u"] == "/plain/first"
    assert view["w"] != before["w"]
    assert site.loads == ["/plain/first", "/plain/second"]
    assert site.bodies("event")[-1]["w"] == view["w"]
    assert len(site.bodies("view")) == 1


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


# ---- custom events


def test_custom_events(visitor: Visitor, site: Site) -> None:
    """A name, properties, and whether it was the visitor's act."""
    visitor.open("/plain/?x=1")
    visitor.run("impersonal('signup', { plan: 'pro', seats: 3 })")
    visitor.run("impersonal('shown', {}, { interactive: false })")
    visitor.run("impersonal('bare')")
    events = visitor.reports("event", 3)
    common = {"k": "event", "w": events[0]["w"], "u": "/plain/?x=1"}
    assert events == [
        {**common, "n": "signup", "p": {"plan": "pro", "seats": 3}},
        {**common, "n": "shown", "p": {}, "i": False},
        {**common, "n": "bare"},
    ]
    assert visitor.run("impersonal.w") == common["w"]
    assert site.loads == ["/plain/"]


def test_calls_before_the_script_are_kept(visitor: Visitor) -> None:
    """The page's stub queues until the script has loaded, and a reference to it works ever after."""
    visitor.open("/early/")
    assert visitor.reports("event", 1)[0]["n"] == "early"
    visitor.run("const taken = impersonal; taken('late', { place: 'body' })")
    assert visitor.reports("event", 2)[1]["p"] == {"place": "body"}


def test_a_page_with_two_tags_reports_once(visitor: Visitor, site: Site) -> None:
    """Carrying the tag twice doubles nothing."""
    visitor.open("/twice/")
    visitor.run("impersonal('once'); history.pushState(null, '', '/twice/b')")
    visitor.settle()
    assert [event["n"] for event in site.bodies("event")] == ["once", "settled"]
    assert len(site.bodies("view")) == 1


def test_nonsense_never_reaches_the_page(visitor: Visitor, site: Site) -> None:
    """Properties that are no JSON, calls without sense and clicks on nothing leave the page in peace."""
    visitor.open("/plain/")
    visitor.run("const loop = {}; loop.self = loop; impersonal('loop', loop)")
    visitor.run("impersonal('big', { n: 1n }); impersonal('options', {}, null); impersonal()")
    visitor.run("document.dispatchEvent(new MouseEvent('click')); window.dispatchEvent(new Event('click'))")
    visitor.run("document.body.click()")
    visitor.settle()
    assert [event.get("n") for event in site.bodies("event")] == [None, "settled"]


# ---- links

LINK = """({ href, target, stop }) => {
  const link = document.createElement("a");
  Object.assign(link, { href, target, innerHTML: "<b>here</b>" });
  if (stop) link.addEventListener("click", (event) => { event.preventDefault(); event.stopPropagation(); });
  document.body.prepend(link);
}"""


def click(visitor: Visitor, href: str, button: str = "left", target: str = "", stop: bool = False) -> None:
    visitor.page.evaluate(LINK, {"href": href, "target": target, "stop": stop})
    visitor.page.click(
        "a b", button="middle" if button == "middle" else "right" if button == "right" else "left"
    )


def test_an_outbound_link_is_followed_and_its_host_reported(visitor: Visitor, site: Site) -> None:
    """Of a link to another site the host is reported, and nothing stands in the way of the click."""
    elsewhere = site.origin.replace("127.0.0.1", "elsewhere.example")
    visitor.open("/plain/")
    click(visitor, elsewhere + "/plain/secret?token=1")
    visitor.page.wait_for_url("**/plain/secret?token=1")
    [report] = visitor.reports("outbound", 1)
    assert report == {"k": "outbound", "w": report["w"], "u": "/plain/", "t": "elsewhere.example"}


def test_other_buttons_and_other_links(visitor: Visitor, site: Site) -> None:
    """The middle button follows a link, the right one does not; own pages, mail and scripts are not outbound."""
    visitor.open("/plain/")
    with visitor.context.expect_page() as opened:
        click(visitor, site.origin.replace("127.0.0.1", "elsewhere.example") + "/plain/", "middle")
    opened.value.close()
    click(visitor, "https://right.example/", "right")
    click(visitor, "https://xn--e1afmkfd.xn--80ao21a/", stop=True)
    for href in ("#part", "/plain/other", "mailto:me@mail.zip", "tel:+7700", "javascript:void(0)", "/a.html"):
        click(visitor, href, stop=True)
    visitor.settle()
    assert [report["t"] for report in site.bodies("outbound")] == [
        "elsewhere.example",
        "xn--e1afmkfd.xn--80ao21a",
    ]
    assert site.bodies("download") == []


def test_a_download_is_reported_with_its_path(visitor: Visitor, site: Site) -> None:
    """A link to a file of the site reports the file's path, without its query."""
    visitor.open("/plain/")
    click(visitor, "/files/Report.PDF?key=secret#page=2", stop=True)
    [report] = visitor.reports("download", 1)
    assert report == {"k": "download", "w": report["w"], "u": "/plain/", "t": "/files/Report.PDF"}
    assert site.bodies("outbound") == []


# ---- attention


def test_attention_is_visible_and_focused_time(tab: Visitor) -> None:
    """Time is counted while the page is seen, sent when it is hidden, and not counted until it is seen again."""
    tab.open("/plain/")
    tab.page.wait_for_timeout(500)
    other = tab.context.new_page()
    other.bring_to_front()
    [first] = tab.reports("ping", 1)
    assert 450 <= first["e"] < 1500
    assert first["u"] == "/plain/"
    other.wait_for_timeout(1500)
    tab.page.bring_to_front()
    tab.page.wait_for_timeout(3050)
    other.bring_to_front()
    second = tab.reports("ping", 2)[1]
    assert 3000 <= second["e"] < 4400
    assert second["w"] == first["w"]


def test_a_page_without_the_focus_earns_no_time(tab: Visitor, site: Site) -> None:
    """A page beside the window that has the focus is visible, but not attended to."""
    tab.open("/plain/")
    tab.page.wait_for_timeout(100)
    window = tab.context.new_cdp_session(tab.page)
    window.send(
        "Target.createTarget", {"url": site.origin + "/plain/window", "newWindow": True, "focus": True}
    )
    tab.page.wait_for_timeout(1000)
    assert tab.run("[document.visibilityState, document.hasFocus()]") == ["visible", False]
    tab.run("history.pushState(null, '', '/plain/next')")
    assert 50 <= tab.reports("ping", 1)[0]["e"] < 900


def test_a_short_glance_is_kept_for_the_next_ping(tab: Visitor, site: Site) -> None:
    """Less than three seconds and no deeper scroll since the last ping are not worth another."""
    tab.open("/plain/")
    other = tab.context.new_page()
    for _ in range(3):
        other.bring_to_front()
        tab.reports("ping", 1)
        tab.page.bring_to_front()
        tab.page.wait_for_timeout(100)
    tab.settle()
    assert len(site.bodies("ping")) == 1


def test_a_navigation_within_the_page_closes_the_view_before_it(visitor: Visitor, site: Site) -> None:
    """The ping of a view carries its id, its address and how deep it was scrolled; the next one starts anew."""
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


# ---- transport


@pytest.mark.parametrize(
    "broken",
    [
        "delete Navigator.prototype.sendBeacon",
        "Navigator.prototype.sendBeacon = () => false",
    ],
)
def test_fetch_where_beacons_do_not_work(visitor: Visitor, site: Site, broken: str) -> None:
    """Without sendBeacon, or when its queue is full, fetch sends the same report."""
    visitor.page.add_init_script(broken)
    visitor.open("/plain/")
    visitor.run("impersonal('signup')")
    visitor.reports("event", 1)
    assert site.reports[0].content_type.startswith("text/plain")
    visitor.open("/plain/next")
    assert visitor.reports("ping", 1)[0]["u"] == "/plain/"


def test_a_report_that_cannot_be_sent_is_given_up(visitor: Visitor, site: Site) -> None:
    """When nothing can be sent the page never hears of it."""
    visitor.page.add_init_script(
        "navigator.sendBeacon = () => false; fetch = () => Promise.reject(new TypeError('offline'))"
    )
    visitor.open("/plain/")
    visitor.run("impersonal('signup')")
    visitor.run("fetch = () => { throw new TypeError('blocked') }; impersonal('signup')")
    visitor.page.wait_for_timeout(100)
    assert site.reports == []


def test_the_endpoint_is_beside_the_script(visitor: Visitor, site: Site) -> None:
    """A first-party path of the site's own choice needs no configuration in the page."""
    visitor.open("/own/")
    visitor.settle()
    assert [report.path for report in site.reports] == ["/stats/own/event"]


# ---- the device

WATCH = """
window.touched = [];
const watch = (owner, name) => {
  const was = Object.getOwnPropertyDescriptor(owner, name);
  const note = () => touched.push((owner.constructor.name || "") + "." + name);
  const seen = { configurable: true };
  if (was.get) Object.assign(seen, { get() { note(); return was.get.call(this); }, set: was.set && function (to) {
    note(); was.set.call(this, to); } });
  else Object.assign(seen, { get() { note(); return was.value; }, set() {} });
  Object.defineProperty(owner, name, seen);
};
const allowed = ["sendBeacon", "constructor"];
for (const owner of [Navigator.prototype, Screen.prototype, Storage.prototype])
  for (const name of Object.getOwnPropertyNames(owner)) if (!allowed.includes(name)) watch(owner, name);
for (const name of ["localStorage", "sessionStorage", "indexedDB", "caches", "screen", "devicePixelRatio",
  "matchMedia", "cookieStore", "name"]) watch(window, name);
watch(Document.prototype, "cookie");
watch(Document.prototype, "fonts");
watch(HTMLCanvasElement.prototype, "getContext");
watch(Intl, "DateTimeFormat");
watch(Date.prototype, "getTimezoneOffset");
"""


def test_nothing_is_read_from_or_left_on_the_device(visitor: Visitor, site: Site) -> None:
    """No cookie, no storage, and none of the properties by which devices are told apart."""
    visitor.page.add_init_script(WATCH)
    visitor.open("/plain/")
    visitor.run(
        "impersonal('signup', { plan: 'pro' }); history.pushState(null, '', '/plain/b'); scrollTo(0, 99)"
    )
    click(visitor, "https://elsewhere.example/", stop=True)
    visitor.settle()
    assert visitor.run("touched") == []
    visitor.run("navigator.userAgent; localStorage")
    assert visitor.run("touched") == ["Navigator.userAgent", "Window.localStorage"]
    assert visitor.context.cookies() == []
    assert visitor.run("[localStorage.length, sessionStorage.length]") == [0, 0]


def test_the_view_id_is_forgotten(visitor: Visitor, site: Site) -> None:
    """Two loads of a page share no id."""
    visitor.open("/plain/")
    visitor.settle()
    visitor.page.reload()
    visitor.settle()
    first, second = site.bodies("event")
    assert first["w"] != second["w"]


def test_a_page_that_is_not_heard_is_noticed(visitor: Visitor) -> None:
    """The check on silence at the end of every test hears errors and violations of the page's policy."""
    visitor.open("/plain/")
    visitor.run("setTimeout(() => { throw new TypeError('heard') })")
    with pytest.raises(Error):
        visitor.page.add_script_tag(url="https://elsewhere.example/x.js")
    visitor.page.wait_for_timeout(100)
    assert len(visitor.noise) >= 2
    visitor.noise.clear()
