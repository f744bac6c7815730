"""`impersonal audit` and `impersonal audit verify` as an operator meets them."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from pipeline.audit import attacks
from pipeline.audit.result import Point, Result
from pipeline.audit.site import Effort, Site
from tests.pipeline.test_cli import failed, impersonal, site, visits

CHEAP = tuple(each for each in attacks.ATTACKS if each.key in ("keys", "bits", "tier"))


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A site, and the attacks that take no time."""
    monkeypatch.setattr(attacks, "ATTACKS", CHEAP)
    return site(tmp_path / "data", shares="{}")


def unsafe(_site: Site, _effort: Effort) -> Result:
    return Result("<b>9</b> of 10 guesses", False, "seen", True, (Point("<day>", 0.9, 0.8, 1.0, 0.5),))


def blind(_site: Site, _effort: Effort) -> Result:
    return Result("1 of 10 guesses", True, "exact counts pass", False)


def test_an_audit_that_holds(data: Path) -> None:
    """Each attack is printed with what it tried, what was measured, its bound and its control; exit 0."""
    done = impersonal("audit", "--quick", "--data", data)
    assert done.returncode == 0, done
    for each in CHEAP:
        assert f"HELD            {each.title}: {each.tries}" in done.stdout
        assert each.bound in done.stdout
    assert done.stdout.endswith("3 of 3 attacks failed, as they must\n")
    assert done.stderr == ""


def test_an_audit_for_programs(data: Path) -> None:
    """JSON holds the measured numbers beside their bounds."""
    rows = json.loads(impersonal("audit", "--quick", "--format", "json", "--data", data).stdout)
    assert [row["attack"] for row in rows] == [each.key for each in CHEAP]
    assert {row["verdict"] for row in rows} == {"held"}
    (point, *_) = next(row["points"] for row in rows if row["attack"] == "bits")
    assert point["low"] <= point["value"] <= point["high"]
    assert point["bound"] == 0.5


@pytest.mark.parametrize(
    ("run", "said"),
    [(unsafe, "days: exceeded: <b>9</b> of 10 guesses"), (blind, "days: control missed: exact counts pass")],
)
def test_an_audit_that_fails(
    data: Path, monkeypatch: pytest.MonkeyPatch, run: attacks.Try, said: str
) -> None:
    """A bound exceeded or a control missed is one line on stderr and exit status 1."""
    row = attacks.Attack("days", "Several days", "Guesses.", "At most half.", run)
    monkeypatch.setattr(attacks, "ATTACKS", (*CHEAP[:1], row))
    done = impersonal("audit", "--quick", "--data", data)
    assert failed(done) == f"impersonal: {said}\n"
    assert "1 of 2 attacks failed, as they must" in done.stdout


class Elements(HTMLParser):
    """The elements of a page and what they refer to."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note an element."""
        self.seen.append(tag)
        self.links += [value or "" for name, value in attrs if name in ("href", "src", "style")]


def test_the_page_stands_alone(data: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The HTML report has a plot, no script, nothing from elsewhere, and shows text as text."""
    row = attacks.Attack("days", "Several days", "Guesses.", "At most half.", unsafe)
    monkeypatch.setattr(attacks, "ATTACKS", (*CHEAP, row))
    file = tmp_path / "audit.html"
    assert impersonal("audit", "--quick", "--html", file, "--data", data).returncode == 1
    text = file.read_text()
    page = Elements()
    page.feed(text)
    assert {"svg", "circle", "table", "style"} <= set(page.seen)
    assert not {"script", "img", "link", "iframe", "b", "day"} & set(page.seen)
    assert page.links == [f"#{each.key}" for each in (*CHEAP, row)]
    assert not re.search(r"url\(|@import|https?:", text)
    assert "&lt;b&gt;9&lt;/b&gt; of 10 guesses" in text
    assert "1 of 4 attacks need a look" in text


def test_verify_from_the_command_line(data: Path) -> None:
    """Nothing released, all in order, a file gone: said in lines, with its name and the exit status."""
    done = impersonal("audit", "verify", "--data", data)
    assert (done.returncode, done.stdout[:24]) == (0, "Nothing is released yet:")
    visits(data, each=20)
    assert impersonal("run", "--data", data).returncode == 0
    done = impersonal("audit", "verify", "--data", data)
    assert done.returncode == 0, done
    assert [line.split()[:2] for line in done.stdout.splitlines()] == [
        [name, "agrees"]
        for name in ("bytes", "contents", "costs", "caps", "chain", "closed", "definitions", "inputs")
    ]
    lost = next((data / "published").glob("visits/*.parquet"))
    lost.unlink()
    done = impersonal("audit", "verify", "--data", data, "--format", "json")
    said = failed(done)
    assert f"impersonal: {lost} is missing: a run puts it back" in said.splitlines()
    rows = {row["check"]: row for row in json.loads(done.stdout)}
    assert len(rows["bytes"]["mistakes"]) == 1
    assert impersonal("run", "--data", data).returncode == 0
    assert impersonal("audit", "verify", "--data", data).returncode == 0, "a run has put it back"


def test_an_audit_needs_a_policy_that_works(tmp_path: Path) -> None:
    """Without a policy, or with one that no run accepts, nothing is attacked."""
    assert "policy.toml" in failed(impersonal("audit", "--quick", "--data", tmp_path))
    data = site(tmp_path / "data", shares="{ horoscopes = 0.1 }")
    assert "horoscopes is no statistic" in failed(impersonal("audit", "--data", data))
    assert "horoscopes is no statistic" in failed(impersonal("audit", "verify", "--data", data))
