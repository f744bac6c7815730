"""beacon.js as it is served, in a real browser against a real server; views: test_beacon_views.py."""

import gzip
import re
from pathlib import Path
from typing import Literal

import pytest
from playwright.sync_api import Error

import collector.browser
from collector.browser import FILES
from tests.browser.site import Site
from tests.browser.visitor import Visitor

BEACON = FILES["beacon.js"]

# ---- the file


def test_size() -> None:
    """The script is less than a kilobyte on the wire."""
    assert len(gzip.compress(BEACON.content, 9)) < 1024


def test_source_keeps_the_rules_that_serving_relies_on() -> None:
    """No comment after code, no space beside a sign within a literal, no $name left or used as a property."""
    source = Path(collector.browser.__file__).with_name("beacon.js").read_text()
    code = [line for line in source.splitlines() if not line.lstrip().startswith("//")]
    assert not [line for line in code if "//" in line or "/*" in line or "`" in line]
    literals = re.findall(r'"[^"]*"', "\n".join(code))
    assert not [literal for literal in literals if re.search(r"\W | \W", literal)]
    assert not re.findall(r"\.\$\w", "\n".join(code).replace("...$", ""))
    assert b"$" not in BEACON.content.replace(b"$/", b"")
    assert re.fullmatch(r'"[0-9a-f]{16}"', BEACON.etag)


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

LINK = """({ href, stop }) => {
  const link = document.createElement("a");
  Object.assign(link, { href, innerHTML: "<b>here</b>" });
  if (stop) link.addEventListener("click", (event) => { event.preventDefault(); event.stopPropagation(); });
  document.body.prepend(link);
}"""


def click(
    visitor: Visitor, href: str, button: Literal["left", "middle", "right"] = "left", stop: bool = False
) -> None:
    """Click on a word in a new link; `stop`: the page itself keeps the link from being followed."""
    visitor.page.evaluate(LINK, {"href": href, "stop": stop})
    visitor.page.click("a b", button=button)


def test_an_outbound_link_is_followed_and_its_host_reported(visitor: Visitor, site: Site) -> None:
    """Of a link to another site the host is reported, and nothing stands in the way of the click."""
    elsewhere = "http://elsewhere.example:" + site.origin.rpartition(":")[2]
    visitor.open("/plain/")
    click(visitor, elsewhere + "/plain/secret?token=1")
    visitor.page.wait_for_url("**/plain/secret?token=1")
    [report] = visitor.reports("outbound", 1)
    assert report == {"k": "outbound", "w": report["w"], "u": "/plain/", "t": "elsewhere.example"}


def test_other_buttons_and_other_links(visitor: Visitor, site: Site) -> None:
    """The middle button follows a link, the right one does not; own pages, mail and scripts are no sites."""
    visitor.open("/plain/")
    elsewhere = "http://elsewhere.example:" + site.origin.rpartition(":")[2]
    with visitor.context.expect_page() as opened:
        click(visitor, elsewhere + "/plain/", "middle")
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
  if (was.get) {
    seen.get = function () { note(); return was.get.call(this); };
    seen.set = was.set && function (to) { note(); was.set.call(this, to); };
  }
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
