"""One policy, many voices: page, register, receipt, transfer and capture gate name the same fields."""

import html
import re
from collections.abc import Iterable
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from collector import banner
from collector.consent import decide
from collector.observer import SCOPE_KEY
from collector.policy import PURPOSES, Policy, Service
from collector.policy_text import sections
from collector.record import FIELDS, LEVELS
from collector.words import languages, words
from pipeline import processing
from pipeline.consent_receipt import receipt
from pipeline.proofs import Proof
from tests.asgi import get, http_scope
from tests.collector.test_middleware import Site
from tests.policies import policy, purpose, version

NOW_MS = 1_796_000_123_456
NAMES = {row.name for row in FIELDS}
CASES = [
    (name, category, level)
    for name, (category, levels) in product(PURPOSES, LEVELS.items())
    for level in levels
]


def under(name: str, category: str, level: str) -> Policy:
    """A policy with one purpose that asks for one category; nobody needs to be asked for it."""
    fields = {"cookie": "daily", category: level}
    return policy(version(purpose(name, fields, access="exempt", basis="contract", default="granted")))


def named(paragraphs: Iterable[str]) -> set[str]:
    """Fields that prose names: each stands in brackets as downloads call it."""
    return set(re.findall(r"\((\w+)\)", " ".join(paragraphs))) & NAMES


def granted(rules: Policy) -> set[str]:
    """What the capture gate lets through."""
    return {row.name for row in decide(rules, NOW_MS).fields}


def expected(category: str, level: str) -> set[str]:
    """Straight from the table of fields."""
    levels = {"cookie": 1, category: LEVELS[category].index(level)}
    return {row.name for row in FIELDS if row.rank <= levels.get(row.category, 0)}


@pytest.mark.parametrize(("name", "category", "level"), CASES, ids=["-".join(case) for case in CASES])
def test_every_field_of_every_level_and_purpose_is_named_alike(
    tmp_path: Path, name: str, category: str, level: str
) -> None:
    """Gate, page in each language (what is received, and for which purpose), register and receipt."""
    rules = under(name, category, level)
    fields = expected(category, level)
    assert granted(rules) == fields
    for language in languages():
        told = sections(rules, rules.versions[0], words(language))
        assert named(told[1].paragraphs) == named(told[2].paragraphs) == fields, language
    [done] = processing.register(rules, tmp_path, NOW_MS)["processing"]
    assert {field for each in done["categories"].values() for field in each["fields"]} == fields
    proof = Proof("1", NOW_MS, "grant", "banner", "v1", (name,), None)
    made: dict[str, Any] = receipt(rules, {}, [proof], "ab" * 16, NOW_MS, words("en"))
    [held] = made["dpv:hasPurpose"]
    parts = [each["dct:hasPart"] for each in held["dpv:hasPersonalData"] if each != "none"]
    assert {field for part in parts for field in part} == fields
    assert set(made["kz:consent"]["kz:data"]) - {"none"} == fields


@pytest.mark.parametrize("language", languages())
def test_the_banner_asks_for_what_the_gate_lets_through(language: str) -> None:
    """Each purpose's box says the precision of each category in words of its own, and no other one."""
    say = words(language)
    said = {
        (category, level): say(f"banner.level.{category}.{level}")
        for category, levels in LEVELS.items()
        for level in levels
        if level != "none"
    }
    for name, category, level in CASES:
        rules = policy(version(purpose(name, {category: level})))
        site = Site(rules)
        scope = http_scope("/")
        scope[SCOPE_KEY] = site.collector._declarations
        [records] = re.findall(r"<dd>(.*?)</dd>", banner(scope, language))[:1]
        asked_for = said.get((category, level), say("banner.nothing"))
        assert html.unescape(records) == asked_for, (name, category, level)


@pytest.mark.parametrize("depth", range(max(map(len, LEVELS.values()))))
def test_what_is_recorded_was_named(depth: int) -> None:
    """A real request that could fill every field leaves those of the page's own words and no others."""
    fields = {category: levels[min(depth, len(levels) - 1)] for category, levels in LEVELS.items()}
    fields["cookie"] = LEVELS["cookie"][min(depth, 1)]  # what is deeper needs a consent first
    rules = policy(
        version(purpose("statistics", fields, access="exempt", basis="contract", default="granted"))
    )
    site = Site(rules)
    site.collector.warm()
    get(
        site.collector,
        "/product/7?utm_source=a&utm_medium=b&utm_campaign=c",
        headers=[("referer", "https://search.example/")],
    )
    recorded = {name for view in site.views() for name in NAMES if getattr(view, name) is not None}
    said = named(sections(rules, rules.versions[0], words("en"))[2].paragraphs)
    by_script = {"name", "props", "interactive", "engaged_ms", "scroll"}
    assert recorded == said - by_script


def test_a_service_is_told_with_the_fields_that_its_rules_name(tmp_path: Path) -> None:
    """The page and the register name the service's fields with what is mandatory."""
    shop = Service("shop", "/shop", {"path": "mandatory", "country": "optional"}, 30)
    known = version(purpose("statistics", {"page": "path"}), services=(shop,))
    rules = policy(known)
    [line] = [line for line in sections(rules, known, words("en"))[1].paragraphs if "/shop" in line]
    assert named([line]) == set(shop.fields)
    assert "(path) – mandatory" in line and "(country) – optional" in line
    [told] = processing.register(rules, tmp_path, NOW_MS)["services"]
    assert told == {"service": "shop", "mount": "/shop", "fields": dict(shop.fields), "retention_days": 30}
