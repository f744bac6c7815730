"""The policy in words: whatever a version changes is said, and what it says names what is collected."""

from dataclasses import replace
from datetime import date
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from collector import policy_text
from collector.policy import ATTRIBUTE_TYPES, PURPOSES, Attribute, Policy, Purpose, Service, Version
from collector.policy_file import ACCESS, BASES
from collector.policy_text import changes, sections
from collector.record import FIELDS, LEVELS
from collector.words import Words, languages, words
from tests.policies import NECESSARY, policy, purpose, version

ENGLISH = words("en")
TEXT = st.sampled_from(["For one thing.", "For another."])
NAMES = st.sampled_from(["Acme", "Couriers", "acquirer"])
DAYS = st.integers(1, 3)
TEXTS = st.dictionaries(st.sampled_from(["ru", "kk"]), TEXT, max_size=2)


def purposes(name: str) -> st.SearchStrategy[Purpose]:
    fields = st.fixed_dictionaries({}, optional={name: st.sampled_from(LEVELS[name]) for name in LEVELS})
    return st.builds(
        Purpose,
        name=st.just(name),
        access=st.sampled_from(ACCESS),
        basis=st.sampled_from(BASES),
        default=st.sampled_from(["granted", "refused"]),
        text=TEXT,
        retention_days=DAYS,
        recipients=st.sets(NAMES).map(lambda names: tuple(sorted(names))),
        # What is left out is the coarsest: the same in other words is no change.
        fields=fields.map(lambda found: {key: found.get(key, LEVELS[key][0]) for key in LEVELS}),
        texts=TEXTS,
    )


def services(name: str) -> st.SearchStrategy[Service]:
    fields = st.dictionaries(st.sampled_from(["path", "country"]), st.sampled_from(["mandatory", "optional"]))
    mounts = st.sampled_from(["/shop", "/forum"])
    return st.builds(Service, name=st.just(name), mount=mounts, fields=fields, retention_days=DAYS)


def attributes(name: str) -> st.SearchStrategy[Attribute]:
    options = st.sets(st.sampled_from(["a", "b"])).map(lambda found: tuple(sorted(found)))
    return st.builds(
        Attribute,
        name=st.just(name),
        type=st.sampled_from(ATTRIBUTE_TYPES),
        purpose=st.sampled_from(list(PURPOSES)),
        retention_days=DAYS,
        text=TEXT,
        mandatory=st.booleans(),
        options=options,
        texts=TEXTS,
    )


def some(make: Any, *names: str) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional={name: make(name) for name in names})


VERSIONS = st.builds(
    Version,
    id=st.just("v"),
    modified=st.just(date(2026, 1, 1)),
    effective=st.just(date(2026, 1, 1)),
    summary=st.just("."),
    purposes=some(purposes, "statistics", "advertising"),
    services=some(services, "shop"),
    declared=some(attributes, "age_band"),
)


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(older=VERSIONS, newer=VERSIONS, language=st.sampled_from(languages()))
def test_any_difference_is_said_and_nothing_else(older: Version, newer: Version, language: str) -> None:
    """Versions that are equal give no change; versions that differ in anything give at least one."""
    said = words(language)
    assert changes(older, older, said) == []
    assert bool(changes(older, newer, said)) == (older != newer)
    assert bool(changes(newer, older, said)) == (older != newer)


ADS = purpose("advertising", {"page": "route"}, recipients=("Acme",))
SHOP = Service("shop", "/shop", {"path": "mandatory"}, 30)
AGE = Attribute("age_band", "choice", "advertising", 30, "Your age.", options=("18-24", "25-34"))
OLD = replace(version(NECESSARY, ADS), services={"shop": SHOP}, declared={"age_band": AGE})


def ads(**changed: Any) -> Version:
    return replace(OLD, purposes={**OLD.purposes, "advertising": replace(ADS, **changed)})


def shop(**changed: Any) -> Version:
    return replace(OLD, services={"shop": replace(SHOP, **changed)})


def age(**changed: Any) -> Version:
    return replace(OLD, declared={"age_band": replace(AGE, **changed)})


TABLE: list[tuple[Version, str]] = [
    (ads(fields={"page": "route", "browser": "family"}), "adds the field browser to advertising: family"),
    (ads(fields={}), "removes the field page from advertising"),
    (
        ads(fields={"page": "path"}),
        "raises the precision of page for advertising from “kind of page” to “address without its query”",
    ),
    (
        ads(fields={"page": "route", "time": "minute"}),
        "raises the precision of time for advertising from “to the hour” to “to the minute”",
    ),
    (ads(recipients=("Acme", "Couriers")), "adds the recipient Couriers to advertising"),
    (ads(recipients=()), "removes the recipient Acme from advertising"),
    (
        ads(basis="legitimate_interests"),
        "changes the ground of advertising from “your consent” to “legitimate interests”",
    ),
    (ads(default="granted"), "changes what holds for advertising before a choice from “off” to “on”"),
    (ads(retention_days=91), "keeps advertising longer: 91 instead of 90 days"),
    (ads(retention_days=89), "keeps advertising shorter: 89 instead of 90 days"),
    (ads(text="Other words."), "rewords advertising: Other words."),
    (ads(texts={"ru": "Иначе."}), "rewords advertising in the language ru"),
    (replace(OLD, purposes={"necessary": NECESSARY}), "removes the purpose advertising"),
    (replace(OLD, services={}), "removes the service shop"),
    (shop(mount="/market"), "moves the service shop from /shop to /market"),
    (
        shop(fields={"path": "optional"}),
        "makes the field page address without its query (path) of the service",
    ),
    (shop(fields={}), "removes the field page address without its query (path) from the service shop"),
    (replace(OLD, declared={}), "no longer asks about you: age_band"),
    (age(mandatory=True), "makes age_band mandatory"),
    (age(options=("18-24",)), "removes the option 25-34 from age_band"),
    (age(purpose="necessary"), "changes the purpose of age_band from advertising to necessary"),
    (age(retention_days=31), "keeps age_band longer: 31 instead of 30 days"),
]


@pytest.mark.parametrize(("newer", "said"), TABLE, ids=[said[:60] for _, said in TABLE])
def test_a_change_is_one_phrase_that_people_understand(newer: Version, said: str) -> None:
    """One change, one phrase, and it says what changed, where and to what."""
    [found] = changes(OLD, newer, ENGLISH)
    assert found.startswith(said)


def test_a_purpose_that_is_added_is_told_field_by_field() -> None:
    """Not only that there is a new purpose, but what it records and who receives it."""
    found = changes(version(NECESSARY), version(NECESSARY, ADS), ENGLISH)
    assert found == [
        "adds the purpose advertising: For advertising. (ground: your consent; kept for 90 days)",
        "adds the field page to advertising: kind of page",
        "adds the recipient Acme to advertising",
    ]


FULL = policy(OLD, replace(ads(retention_days=91), id="v2", effective=date(2026, 2, 1)))


def text(known: Policy, at: Version, said: Words) -> str:
    return "\n".join(line for each in sections(known, at, said) for line in (each.title, *each.paragraphs))


@pytest.mark.parametrize("language", languages())
def test_every_clause_is_there_in_every_language(language: str) -> None:
    """Six clauses after who answers; what is mandatory is marked; dates of modification and of effect."""
    said = words(language)
    found = sections(FULL, FULL.versions[1], said)
    assert [each.title[:2] for each in found[1:]] == ["1.", "2.", "3.", "4.", "5.", "6."]
    assert all(each.paragraphs and all(each.paragraphs) for each in found)
    told = text(FULL, FULL.versions[1], said)
    for name in ("Example", "privacy@example.org", "age_band", "/shop", "Acme", "2026-01-01", "2026-02-01"):
        assert name in told, name
    assert said("policy.need.optional") in told
    assert changes(OLD, FULL.versions[1], said)[0] in told
    marked = age(mandatory=True)
    assert said("policy.need.mandatory") in "\n".join(
        sections(policy(marked), marked, said)[1].paragraphs[:2]
    )


@pytest.mark.parametrize("language", [name for name in languages() if name != "en"])
def test_a_translation_has_every_sentence_with_its_values(language: str) -> None:
    """No English sentence shows through, and no value is left out of a translated one."""
    translated, english = words(language)._said, ENGLISH._said
    keys = {key for key in english if key.startswith("policy.")}
    assert keys == {key for key in translated if key.startswith("policy.")}
    assert {f"policy.field.{row.name}" for row in FIELDS} <= keys
    for key in keys:
        assert policy_text_values(translated[key]) == policy_text_values(english[key]), key


def policy_text_values(sentence: str) -> set[str]:
    return {part.partition("}")[0] for part in sentence.split("{")[1:]}


def test_who_receives_what_on_which_ground_is_said() -> None:
    """Clause 3.3: recipients by ground, and what goes along when the business is sold."""
    contract = purpose("services", access="exempt", basis="contract", recipients=("Couriers",))
    sold = purpose("notifications", recipients=(policy_text.ACQUIRER,))
    known = version(contract, ADS, sold)
    lines = sections(policy(known), known, ENGLISH)[3].paragraphs
    assert "A service that you use needs it. Recipients: Couriers." in lines
    assert "You have consented to it. Recipients: Acme." in lines
    assert "The business is sold. What goes along is what was recorded for: notifications." in lines
