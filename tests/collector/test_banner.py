"""What the banner asks, of whom and in which words; what its routes serve."""

import gzip
import html
import re
import tomllib
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.utils.html import conditional_escape
from jinja2 import Environment
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Mount, Route

import collector.browser
from collector import Collector, ConfigurationError, MemorySink, banner
from collector.consent import COOKIE, Choice
from collector.policy import Attribute, Policy
from collector.record import LEVELS
from collector.words import languages
from tests.asgi import Answer, get, http_scope, post
from tests.policies import CONSENTED, EVERYTHING, EXEMPT, NECESSARY, policy, purpose, version

WORDS = Path(collector.browser.__file__).parent / "words"
NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)


def page(request: Request) -> Response:
    """A page's HTML, as a text: so no test makes a page view."""
    return PlainTextResponse(
        f"<!doctype html><title>x</title>{banner(request.scope, request.query_params.get('in'))}"
    )


APP = Starlette(routes=[Route("/", page), Mount("/docs", routes=[Route("/{name}", page)])])


def site(rules: Policy = CONSENTED, at: datetime = NOW) -> Collector:
    return Collector(APP, policy=rules, sink=MemorySink(), clock=lambda: int(at.timestamp() * 1000))


def shown(answer: Answer) -> str:
    """The banner of a page, as a reader without a browser would have it."""
    return html.unescape(answer.body.decode().partition("<title>x</title>")[2])


def boxes(text: str) -> dict[str, bool]:
    """The purposes that can be chosen, and whether their box is ticked."""
    found = re.findall(r'type="checkbox" name="purposes" value="(\w+)"( checked)?', text)
    return {name: bool(ticked) for name, ticked in found}


def chosen(*purposes: str) -> list[tuple[str, str]]:
    """The Cookie header of a browser that chose at NOW, under the first version."""
    return [("cookie", f"{COOKIE}={Choice('v1', NOW.date(), frozenset(purposes)).cookie()}")]


# ---- what is asked -------------------------------------------------------------------------------------


def test_it_says_what_the_policy_says() -> None:
    """Every purpose with its text, fields, retention and recipients; a box for each that can be refused."""
    rules = policy(
        version(
            NECESSARY,
            replace(purpose("statistics", {"ip": "country"}), text="Count <visits> & pages."),
            purpose("advertising", EVERYTHING, retention_days=60, recipients=("Ads Ltd", "Nets & Co")),
        )
    )
    answer = get(site(rules))
    text = shown(answer)
    assert boxes(text) == {"statistics": False, "advertising": False}
    assert "Always on" in text
    assert "Purposes: Statistics, Advertising." in text
    for said in (
        "Count <visits> & pages.",
        "the country",
        "90 days",
        "60 days",
        "Ads Ltd, Nets & Co",
        "nobody else",
        "Privacy policy of 2026-01-01",
    ):
        assert said in text, said
    assert b"Count &lt;visits&gt; &amp; pages." in answer.body
    assert text.index("Accept all") < text.index("<details>")


def test_accept_and_reject_are_the_same_kind_of_button() -> None:
    """One form, two buttons beside each other that differ in their words and their act alone."""
    buttons = re.findall(r"<button[^>]*>", shown(get(site())))
    assert buttons == [f'<button name="act" value="{act}">' for act in ("grant", "refuse", "choose")]


def test_nothing_is_ticked_beforehand() -> None:
    """Not even a purpose that holds without asking: it says so instead."""
    text = shown(get(site(EXEMPT)))
    assert boxes(text) == {"statistics": False, "advertising": False}
    assert text.count("On until you turn it off") == 1
    assert "Until you choose, this is on: Statistics." in text
    assert "Until you choose, we keep nothing that you can refuse." in shown(get(site()))


def test_after_a_choice_nothing_is_asked() -> None:
    """Granted or refused: no banner, no script of it, and 204 for a page from a cache."""
    for held in (chosen("statistics"), chosen()):
        assert shown(get(site(), headers=held)) == ""
        assert get(site(), "/_impersonal/banner", headers=held).status == 204


def test_a_refusal_is_remembered_for_six_months() -> None:
    """Who refused is not asked again before 182 days are over, whatever the pages they see."""
    for days, asked in ((1, False), (181, False), (182, True)):
        text = shown(get(site(at=NOW + timedelta(days=days)), headers=chosen()))
        assert bool(text) is asked, days


def test_a_wider_policy_asks_again_and_keeps_what_was_granted() -> None:
    """A box is ticked where the visitor ticked it and nothing is added to it; what became wider is not."""
    first = version(purpose("statistics", {"ip": "country"}), purpose("advertising", {"ip": "country"}))
    wider = replace(
        version(
            purpose("statistics", {"ip": "country"}),
            purpose("advertising", {"ip": "network"}),
            purpose("improvement"),
            purpose("services", access="exempt", basis="legitimate_interests", default="granted"),
            version_id="v2",
            effective=date(2026, 12, 1),
        ),
        summary="Advertising asks for more.",
    )
    rules = policy(first, wider)
    held = chosen("statistics", "advertising")
    assert shown(get(site(rules), headers=held)) == ""
    text = shown(get(site(rules, NOW + timedelta(days=10)), headers=held))
    assert boxes(text) == {"statistics": True, "advertising": False, "improvement": False, "services": False}
    assert "Policy v2: Advertising asks for more." in text
    assert text.count("You allowed less before") == text.count("On until you turn it off") == 1


def test_what_is_to_be_declared_is_named_and_makes_a_policy_wider() -> None:
    """In the policy's words, in the visitor's language; a new attribute is not ticked with its purpose."""
    faith = Attribute("faith", "text", "statistics", 90, "Your religion.", texts={"kk": "Дініңіз."})
    city = Attribute("city", "text", "advertising", 90, "Your city.")
    purposes = purpose("statistics"), purpose("advertising")
    first = replace(version(*purposes), declared={"city": city})
    later = replace(
        version(*purposes, version_id="v2", effective=date(2026, 12, 1)),
        declared={"faith": faith, "city": city},
    )
    rules = policy(first, later)
    assert "Your religion." not in shown(get(site(rules)))
    text = shown(get(site(rules, NOW + timedelta(days=10)), headers=chosen("statistics", "advertising")))
    assert boxes(text) == {"statistics": False, "advertising": True}
    assert text.count("You allowed less before") == 1
    assert text.count("You may be asked") == text.count("Your religion.") + text.count("Your city.") == 2
    assert "Дініңіз." in shown(get(site(rules, NOW + timedelta(days=10)), "/?in=kk"))


@pytest.mark.parametrize(("header", "name"), [("sec-gpc", "Sec-GPC"), ("dnt", "DNT")])
def test_a_signal_is_seen_honoured_and_said(header: str, name: str) -> None:
    """The banner names the signal, offers to keep it so or to choose, and never to accept everything."""
    text = shown(get(site(EXEMPT), headers=[(header, "1")]))
    assert f"({name}) and honour it" in text
    assert re.findall(r'value="(grant|refuse|choose)"', text) == ["refuse", "choose"]
    assert text.index('name="by" value="signal"') < text.index("Keep it off") < text.index("<summary>Choose")
    assert boxes(text) == {"statistics": False, "advertising": False}


def test_nothing_to_refuse_is_nothing_to_ask() -> None:
    """A policy of contracts only, and one that is not in force yet, show no banner."""
    assert shown(get(site(policy(version(NECESSARY))))) == ""
    assert shown(get(site(policy(version(purpose("statistics"), effective=date(2027, 1, 1)))))) == ""


# ---- the tag -------------------------------------------------------------------------------------------


def test_templates_put_it_in_as_it_is() -> None:
    """Jinja2 with escaping and Django leave the tag's HTML alone; the visitor's address is escaped in it."""
    app = site()
    scope: dict[str, Any] = http_scope(
        '/?q="><script>alert(1)</script>', headers=[("referer", "https://a.example/p?q")]
    )
    get(app, "/")
    scope["impersonal"] = app._declarations
    made = banner(scope)
    template = Environment(autoescape=True).from_string("{{ banner(scope) }}")
    assert template.render(banner=banner, scope=scope) == made == conditional_escape(made)
    assert "<script>alert" not in made
    assert 'name="r" value="https://a.example/"' in made


def test_without_the_collector_it_says_what_is_missing() -> None:
    """The tag in an app without the middleware is a named error."""
    with pytest.raises(ConfigurationError, match="add it"):
        banner(http_scope())


@pytest.mark.parametrize(
    ("target", "options", "page", "source"),
    [
        ("/?utm_source=a&b=%2F", {}, "/?utm_source=a&b=%2F", ""),
        ("/docs/a%20b", {"headers": [("referer", "https://u:p@search.example/find?q=x")]}, "/docs/a%20b", "https://search.example/"),
        ("/", {"headers": [("referer", "https://example.org/about")]}, "/", ""),
        ("/", {"headers": [("referer", "https://[")]}, "/", ""),
        ("/?" + "%20" * 900, {}, "", ""),
    ],
)  # fmt: skip
def test_the_form_carries_its_page_and_where_it_was_linked(
    target: str, options: dict[str, Any], page: str, source: str
) -> None:
    """Path and query, and of another site its origin; one too long for a form is left to its referrer."""
    text = shown(get(site(), target, **options))
    assert re.findall(r'name="u" value="([^"]*)"', text) == [page, page]
    assert re.findall(r'name="r" value="([^"]*)"', text) == [source, source]


def test_paths_stay_right_below_a_prefix() -> None:
    """Behind a root_path, and inside a mount of the site: links and form lead to the collector's own path."""
    outer = Starlette(routes=[Mount("/outer", site())])
    for app, root_path, prefix in (
        (site(), "/api", "/api"),
        (outer, "", "/outer"),
        (outer, "/api", "/api/outer"),
    ):
        text = shown(get(app, f"{prefix}/docs/x", root_path=root_path))
        assert set(re.findall(r'(?:action|href|src)="([^"]*)"', text)) == {
            f"{prefix}/_impersonal/{name}"
            for name in ("banner.css", "banner.js", "consent", "privacy", "policy")
        }


# ---- words ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "accept", "expected"),
    [
        ("/", "", "en"),
        ("/", "ru-RU,ru;q=0.9,en;q=0.8", "ru"),
        ("/", "kk", "kk"),
        ("/", "fr,de", "en"),
        ("/?in=kk", "ru", "kk"),
        ("/?in=KK", "ru", "kk"),
        ("/?in=xx", "ru", "en"),
    ],
)
def test_the_language_is_the_tags_or_the_browsers(target: str, accept: str, expected: str) -> None:
    """The tag's argument first, then Accept-Language, then English; the element says which."""
    text = shown(get(site(), target, headers=[("accept-language", accept)]))
    assert f'lang="{expected}" dir="ltr"' in text


def test_the_policys_own_text_is_translated_where_it_has_a_translation() -> None:
    """A purpose speaks Kazakh where the policy does, and otherwise as the policy says it first."""
    spoken = replace(purpose("statistics"), texts={"kk": "Санаймыз."})
    text = shown(get(site(policy(version(spoken, purpose("advertising")))), "/?in=kk"))
    assert "Санаймыз." in text
    assert "For advertising." in text


def flat(table: dict[str, Any], prefix: str = "") -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in table.items():
        found |= flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
    return found


@pytest.mark.parametrize("language", languages())
def test_every_language_says_everything(language: str) -> None:
    """Each file has the keys of English, the same {names}, and words for each precision but none."""
    english, said = (
        flat(tomllib.loads((WORDS / f"{name}.toml").read_text())["banner"]) for name in ("en", language)
    )
    assert said.keys() == english.keys()
    for key, text in said.items():
        assert set(re.findall(r"\{\w+\}", text)) == set(re.findall(r"\{\w+\}", english[key])), key
    for category, levels in LEVELS.items():
        assert {f"level.{category}.{level}" for level in levels if level != "none"} <= said.keys()


# ---- what is served ------------------------------------------------------------------------------------


def test_script_and_style_are_small() -> None:
    """At most 5 KB compressed, together, as served."""
    served = [get(site(), f"/_impersonal/{name}") for name in ("banner.js", "banner.css")]
    assert [answer.headers("content-type")[0] for answer in served] == [
        "text/javascript; charset=utf-8", "text/css; charset=utf-8",
    ]  # fmt: skip
    assert sum(len(gzip.compress(answer.body, 9)) for answer in served) <= 3 * 1024
    for name, answer in zip(("banner.js", "banner.css"), served, strict=True):
        again = get(site(), f"/_impersonal/{name}", headers=[("if-none-match", answer.headers("etag")[0])])
        assert (again.status, again.body) == (304, b"")


def test_the_fragment_is_for_pages_from_a_cache() -> None:
    """The same banner without a page of its own; no cache keeps it, and no other site frames it."""
    answer = get(site(), "/_impersonal/banner?language=ru")
    assert answer.status == 200
    assert 'lang="ru"' in answer.body.decode()
    assert b'name="u"' not in answer.body
    assert answer.headers("cache-control") == ["no-store"]
    assert answer.headers("content-security-policy") == ["frame-ancestors 'none'"]
    assert post(site(), "/_impersonal/banner", b"").status == 405
