"""Policy as code: what a file says, every mistake at once, and what follows from the version in force."""

import re
from datetime import date
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from collector.errors import PolicyError
from collector.policy import PURPOSES, Policy, fields_within
from collector.policy_file import load, read
from collector.record import DAY_MS, FIELDS, LEVELS
from tests.policies import EVERYTHING, measured, policy, purpose, version

GOOD = """\
[controller]
name = "Example"
contact = "privacy@example.org"
hosts = ["example.org"]
identifier = "123456789012"
country = "KZ"
cross_border = true
proof_days = 700

[[versions]]
id = "v1"
modified = 2026-01-01
effective = 2026-01-15
summary = "The first."
summaries = { ru = "Первая." }

[versions.purposes.statistics]
access = "consent"
basis = "consent"
text = "We count visits."
texts = { ru = "Мы считаем.", pt-br = "Contamos." }
retention_days = 90
recipients = ["A counting house"]
fields = { cookie = "long-lived", time = "second", page = "path" }

[versions.services.shop]
mount = "/shop"
retention_days = 30
fields = { visitor = "mandatory", path = "optional" }

[versions.declared.age_band]
type = "choice"
purpose = "statistics"
retention_days = 62
text = "Your age."
mandatory = true
options = ["18-24", "25-34"]

[versions.declared.city]
type = "text"
purpose = "statistics"
retention_days = 61
text = "Your city."

[[versions]]
id = "v2"
modified = 2026-02-01
effective = 2026-03-01
summary = "Coarser."

[versions.purposes.statistics]
access = "exempt"
basis = "legitimate_interests"
default = "granted"
text = "We count visits."
retention_days = 60
fields = { cookie = "daily", page = "route" }

[budget]
tier = "medium"
pages = ["/", "/about"]

[budget.goals]
"signed up" = "signup"
read = "/blog/*"

[budget.funnels]
buying = ["/", "/prices", "buy"]

[budget.shares]
visitors = 0.5
pages = 0.5
"""
LINES = GOOD.splitlines()


def ms(day: str) -> int:
    return (date.fromisoformat(day) - date(1970, 1, 1)).days * DAY_MS


def said(text: str) -> Policy:
    found, mistakes = read(text)
    assert found is not None, mistakes
    return found


def test_a_policy_says_what_its_file_says(tmp_path: Path) -> None:
    """Every value of the file arrives, typed."""
    file = tmp_path / "policy.toml"
    file.write_text(GOOD)
    loaded = load(file)
    assert loaded.controller.hosts == ("example.org",)
    assert [each.id for each in loaded.versions] == ["v1", "v2"]
    first = loaded.versions[0]
    statistics = first.purposes["statistics"]
    assert (first.modified, first.effective) == (date(2026, 1, 1), date(2026, 1, 15))
    assert (statistics.access, statistics.basis, statistics.default) == ("consent", "consent", "refused")
    assert (statistics.retention_days, statistics.recipients) == (90, ("A counting house",))
    assert statistics.levels == {"cookie": 2, "browser": 0, "time": 2, "page": 2, "ip": 0}
    assert first.services["shop"].fields == {"visitor": "mandatory", "path": "optional"}
    age, city = first.declared.values()
    assert (age.type, age.purpose, age.retention_days, age.mandatory) == ("choice", "statistics", 62, True)
    assert (age.options, city.options, city.mandatory) == (("18-24", "25-34"), (), False)
    assert (statistics.said_in("pt-br"), statistics.said_in("kk")) == ("Contamos.", "We count visits.")
    assert (first.summed_up_in("ru"), first.summed_up_in("kk")) == ("Первая.", "The first.")
    controller = loaded.controller
    assert (controller.identifier, controller.country, controller.address) == ("123456789012", "KZ", "")
    assert (controller.cross_border, controller.proof_days) == (True, 700)
    assert loaded.budget.shares == {"visitors": 0.5, "pages": 0.5}
    assert (loaded.budget.tier, loaded.budget.pages) == ("medium", ("/", "/about"))
    assert loaded.budget.goals == {"signed up": "signup", "read": "/blog/*"}
    assert loaded.budget.steps == ("buying: 1 /", "buying: 2 /prices", "buying: 3 buy")


MISTAKES = {
    '"signed up" = "signup"': ('"signed: up" = "signup"', "goals.signed: up is no name", "without a colon"),
    'read = "/blog/*"': ('read = "/bl*g"', 'goals.read is "/bl*g"', 'like "/thanks" or "/blog/*"'),
    'buying = ["/", "/prices", "buy"]': ('buying = ["/"]', "funnels.buying has 1 steps", "list 2 to 8"),
    "[budget.funnels]": (
        "[budget.funnels]\n" + "\n".join(f'{name} = ["/", "x"]' for name in "abc"),
        "budget.funnels names 4 funnels",
        "keep 3",
    ),
    'name = "Example"': ('name = " "', 'controller.name is " "', "name who answers"),
    'hosts = ["example.org"]': ('hosts = ["Example.org/"]', "controller.hosts holds", "in lower case"),
    'contact = "privacy@example.org"': ("", "controller.contact is missing", "where visitors can write"),
    'id = "v1"': ('id = "v 1"', 'id is "v 1"', "letters, digits, dots"),
    'id = "v2"': ('id = "v1"', "id is v1 twice", "give every version its own"),
    "modified = 2026-01-01": ('modified = "2026-01-01"', "modified is '2026-01-01'", "without quotes"),
    "effective = 2026-01-15": ("effective = 2025-12-31", "is before modified", "binds no day before"),
    "effective = 2026-03-01": ("effective = 2026-01-15", "modified", "binds no day before"),
    'summary = "The first."': ("summary = 1", "summary is 1", "say in a sentence"),
    'access = "consent"': ('access = "presumed"', 'access is "presumed"', '"consent", "exempt"'),
    'basis = "consent"': ('basis = "habit"', 'basis is "habit"', '"legitimate_interests"'),
    'text = "We count visits."': ('text = ""', 'text is ""', "in plain words"),
    "retention_days = 90": ("retention_days = 5000", "retention_days is 5000", "from 1 to 760"),
    "retention_days = 30": ("retention_days = true", "retention_days is True", "whole days"),
    'recipients = ["A counting house"]': ("recipients = [7]", "recipients holds 7", "who receives the data"),
    'mount = "/shop"': ('mount = "shop/"', 'mount is "shop/"', "no slash at its end"),
    'time = "second"': ('time = "moment"', 'fields.time is "moment"', '"hour", "minute", "second"'),
    'page = "path"': ('face = "blurred"', "fields.face is not known here", "use one of cookie, browser"),
    'visitor = "mandatory"': ('visitor = "perhaps"', 'visitor is "perhaps"', '"mandatory", "optional"'),
    'path = "optional"': ('shoes = "optional"', "fields.shoes is not known here", "use one of visitor"),
    'tier = "medium"': ('tier = "huge"', 'budget.tier is "huge"', '"auto", "tiny"'),
    'pages = ["/", "/about"]': ('pages = ["about"]', "budget.pages holds 'about'", 'like "/about"'),
    "visitors = 0.5": ("visitors = 0.75", "budget.shares sum to 1.25", "lower them"),
    "pages = 0.5": ("pages = nan", "budget.shares.pages is nan", "above 0 and up to 1"),
    "[versions.services.shop]": ("[versions.services.Shop]", "services.Shop is no name", "lower-case"),
    'country = "KZ"': ('country = "Kazakhstan"', 'controller.country is "Kazakhstan"', "ISO 3166"),
    "cross_border = true": ('cross_border = "yes"', "cross_border is 'yes'", "true or false"),
    "proof_days = 700": ("proof_days = 0", "proof_days is 0", "from 1 to 760"),
    'ru = "Первая."': ('RU = "Первая."', "summaries.RU is no language", 'like "ru"'),
    'ru = "Мы считаем."': ('ru = " "', "texts.ru is ' '", "in that language"),
    'type = "choice"': ('type = "list"', 'type is "list"', '"text", "choice"'),
    'type = "text"': ('type = "choice"', "city.options is missing", "what can be chosen"),
    'options = ["18-24", "25-34"]': ("", "age_band.options is missing", "what can be chosen"),
    'text = "Your city."': (
        'text = "Your city."\noptions = ["a"]',
        "options is given for text",
        "only a choice",
    ),
    'text = "Your age."': ('text = ""', 'age_band.text is ""', "what is asked"),
    'purpose = "statistics"': ('purpose = "advertising"', "does not name", "use one of statistics"),
    "[versions.declared.city]": (
        "[versions.declared.my-city]",
        "my-city is no name",
        "letters, digits and _",
    ),
    "mandatory = true": ("mandatory = 1", "mandatory is 1", "true or false"),
    "retention_days = 62": ("retention_days = 0", "retention_days is 0", "whole days"),
    "[budget]": ("[allowance]", "allowance is not known here", "controller, versions, budget"),
}


@pytest.mark.parametrize("place", MISTAKES)
def test_a_mistake_names_its_line_and_its_remedy(place: str) -> None:
    """Each kind of mistake is found alone, where it stands, and says what to do."""
    wrong, what, remedy = MISTAKES[place]
    found, mistakes = read(GOOD.replace(place, wrong, 1))
    assert found is None
    [mistake] = [each for each in mistakes if what in each]
    assert remedy in mistake
    line = int(mistake.split(":")[0])
    written = GOOD.replace(place, wrong, 1).splitlines()[line - 1]
    # What is missing is told where it should stand, what sums up at its table.
    assert not wrong or wrong in written or wrong.split(" = ")[0] in written or "[" in written


def test_every_mistake_is_told_at_once(tmp_path: Path) -> None:
    """Three mistakes in three tables are three lines of one error, each with file and line."""
    file = tmp_path / "policy.toml"
    text = GOOD.replace('name = "Example"', "name = 1").replace("retention_days = 60", "retention_days = 0")
    file.write_text(text.replace('tier = "medium"', 'tier = "big"'))
    with pytest.raises(PolicyError) as raised:
        load(file)
    places = [re.match(rf"{re.escape(str(file))}:(\d+): ", each) for each in raised.value.mistakes]
    lines = text.splitlines()
    numbers = [int(place[1]) for place in places if place]
    expected = ("name = 1", "retention_days = 0", 'tier = "medium"')
    assert numbers == [lines.index(each) + 1 for each in expected]


@pytest.mark.parametrize("key", ["access", "basis"])
def test_consent_is_never_presumed(key: str) -> None:
    """A purpose with consent as its access or its basis may not be granted by default."""
    other = {"access": 'basis = "contract"', "basis": 'access = "exempt"'}[key]
    text = GOOD.replace('access = "consent"\nbasis = "consent"', f'{key} = "consent"\n{other}', 1)
    text = text.replace('cookie = "long-lived"', 'cookie = "daily"')
    assert read(text)[0] is not None
    _, [mistake] = read(text.replace(other, f'{other}\ndefault = "granted"', 1))
    assert f"is granted, but {key} = consent" in mistake
    assert "consent is an act" in mistake


def test_an_identifier_needs_consent() -> None:
    """A long-lived cookie cannot be stored under an exemption."""
    _, [mistake] = read(GOOD.replace('cookie = "daily"', 'cookie = "long-lived"'))
    assert "versions.1.purposes.statistics.fields.cookie is long-lived, but access = exempt" in mistake
    line = int(mistake.split(":")[0])
    assert LINES[line - 1] == 'fields = { cookie = "daily", page = "route" }'
    assert 'use cookie = "daily"' in mistake


@pytest.mark.parametrize(
    "text", ["", "versions = 3", "[controller", "a = " + "[" * 5000, "a = " + "9" * 5000]
)
def test_what_is_no_policy_at_all_is_a_mistake(text: str) -> None:
    """Empty, unfinished and absurd files are told of, not raised."""
    found, mistakes = read(text)
    assert found is None
    assert all(re.match(r"\d+: .*: |\d+: not TOML: ", each) for each in mistakes)
    assert mistakes


def test_a_file_that_cannot_be_read_says_so(tmp_path: Path) -> None:
    """No file, no text, and what to do about it."""
    with pytest.raises(PolicyError, match="does not exist: write one with `impersonal init`"):
        load(tmp_path / "none.toml")
    (tmp_path / "latin.toml").write_bytes(b'name = "\xe9"')
    with pytest.raises(PolicyError, match="make it a readable UTF-8 file"):
        load(tmp_path / "latin.toml")
    with pytest.raises(PolicyError, match="cannot be read"):
        load(tmp_path)


@given(st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    """No text makes reading fail: it gives a policy or mistakes, never both, never neither."""
    found, mistakes = read(text)
    assert (found is None) == bool(mistakes)


HOSTILE = (
    "1",
    f"0x{'f' * 5000}",
    f"[0x{'f' * 5000}]",
    "-1",
    "1" + "0" * 400,
    "nan",
    "inf",
    "true",
    '""',
    '"x"',
    "[]",
    "[[]]",
    "[1, []]",
    "{}",
)
MORE = (
    "{ a = {} }",
    "2026-01-01",
    "2026-01-01T00:00:00Z",
    "12:00:00",
    "0001-01-01",
    "9999-12-31",
    "'''\n[x]'''",
)


@given(
    st.dictionaries(
        st.integers(0, len(LINES) - 1),
        st.one_of(st.just(None), st.sampled_from(HOSTILE + MORE), st.text(max_size=5)),
        max_size=4,
    )
)
@example({LINES.index("visitors = 0.5"): "1" + "0" * 400})
def test_any_change_to_a_policy_is_read_or_refused(changes: dict[int, str | None]) -> None:
    """Lines left out and values of any type end as a policy or as mistakes with lines of the file."""
    lines = list(LINES)
    for number, value in changes.items():
        lines[number] = "" if value is None else f"{lines[number].split('=')[0]}= {value}"
    text = "\n".join(lines)
    found, mistakes = read(text)
    assert (found is None) == bool(mistakes)
    assert all(1 <= int(each.split(":")[0]) <= text.count("\n") + 1 for each in mistakes)


def test_the_version_in_force_changes_at_midnight() -> None:
    """A version holds from the first millisecond of its day; before the first there is none."""
    both = said(GOOD)
    names = {
        ms("2026-01-15") - 1: None,
        ms("2026-01-15"): "v1",
        ms("2026-03-01") - 1: "v1",
        ms("2026-03-01"): "v2",
        ms("2100-01-01"): "v2",
    }
    for ts_ms, name in names.items():
        current = both.in_force(ts_ms)
        assert (current and current.id) == name
    assert both.version("v2") is both.versions[1]
    assert both.version("v3") is None


def test_versions_stand_by_date_however_the_file_orders_them() -> None:
    """The version written first may be the later one."""
    head, first, second = GOOD.split("[[versions]]\n")
    second, budget = second.split("[budget]\n")
    swapped = f"{head}[[versions]]\n{second}[[versions]]\n{first}[budget]\n{budget}"
    assert said(swapped) == said(GOOD)


LEVEL_TABLES = st.fixed_dictionaries({category: st.sampled_from(names) for category, names in LEVELS.items()})


@given(LEVEL_TABLES, LEVEL_TABLES)
def test_a_scope_reaches_as_far_as_its_furthest_purpose(a: dict[str, str], b: dict[str, str]) -> None:
    """Two purposes reach together what either reaches alone; none reaches nothing."""
    both = version(purpose("statistics", a), purpose("improvement", b))
    scope = both.scope(["statistics", "improvement"])
    assert scope == {
        c: max(LEVELS[c].index(a[c]), LEVELS[c].index(b[c])) for c in LEVELS
    }  # fmt: skip
    assert set(fields_within(both.scope(["statistics"]))) <= set(fields_within(scope))
    assert fields_within(both.scope([])) == ()
    assert both.scope(["unknown"]) == dict.fromkeys(LEVELS, 0)


@given(LEVEL_TABLES, LEVEL_TABLES)
def test_consent_covers_no_more_than_either_version(then: dict[str, str], now: dict[str, str]) -> None:
    """Under a later version a consent reaches what both versions say, category by category."""
    old, new = version(purpose("statistics", then)), version(purpose("statistics", now), version_id="v2")
    expected = {c: min(LEVELS[c].index(then[c]), LEVELS[c].index(now[c])) for c in LEVELS}
    assert new.purpose_scope("statistics", old) == expected
    assert new.scope(["statistics"], old) == expected
    assert bool(new.widened(old)) == any(LEVELS[c].index(now[c]) > LEVELS[c].index(then[c]) for c in LEVELS)


def test_what_was_not_asked_for_then_is_not_covered_now() -> None:
    """A purpose or recipient added later is asked for; one that cannot be refused is told, and holds."""
    old = version(purpose("statistics", EVERYTHING))
    wider = version(purpose("statistics", EVERYTHING), purpose("advertising", EVERYTHING), version_id="v2")
    told = version(purpose("statistics", EVERYTHING, recipients=("Another",)), version_id="v2")
    bound = purpose("necessary", EVERYTHING, access="exempt", basis="contract", default="granted")
    contract = version(purpose("statistics", EVERYTHING), bound, version_id="v2")
    assert wider.widened(old) == {"advertising"}
    assert told.widened(old) == {"statistics"}
    assert contract.widened(old) == {"necessary"}
    assert old.widened(wider) == frozenset()
    assert wider.purpose_scope("advertising", old) == dict.fromkeys(LEVELS, 0)
    assert contract.purpose_scope("necessary", old) == bound.levels


def test_who_may_refuse() -> None:
    """Consent and legitimate interests can be refused, contract and law cannot."""
    assert purpose("statistics").refusable
    assert measured({}).refusable
    for basis in ("contract", "law"):
        assert not purpose("necessary", access="exempt", basis=basis).refusable
        assert purpose("services", access="consent", basis=basis).refusable


def test_a_service_covers_its_mount_and_the_deepest_wins() -> None:
    """/shop covers /shop and /shop/x, not /shopping; /shop/help has its own service."""
    services = GOOD.replace(
        "[versions.services.shop]",
        '[versions.services.help]\nmount = "/shop/help"\nretention_days = 1\n\n[versions.services.shop]',
    )
    first = said(services).versions[0]
    places = {"/shop": "shop", "/shop/1": "shop", "/shop/help/2": "help", "/shopping": None, "/": None}
    for path, name in places.items():
        service = first.service_at(path)
        assert (service and service.name) == name


def test_every_field_is_within_the_widest_scope() -> None:
    """Each row of FIELDS can be granted, and every purpose of the policy it grew from can be named."""
    widest = version(*(purpose(name, EVERYTHING) for name in PURPOSES))
    assert fields_within(widest.scope(PURPOSES)) == FIELDS
    assert policy(widest).in_force(ms("2026-06-01")) is widest
