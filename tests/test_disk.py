"""Privacy on bytes: what must not be on disk is searched for in every file, after what must be is found."""

import asyncio
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from collector import Collector
from collector.identity import Pseudonyms
from collector.policy import Policy
from collector.record import DAY_MS
from pipeline.demo.disk import found_on_disk, spellings
from pipeline.run import run_once
from tests.asgi import Answer, call, cookie_header, http_scope
from tests.policies import CONSENTED, EXEMPT

NOW_MS = 20_781 * DAY_MS + 10 * 3_600_000  # 2026-11-24 10:00 UTC
PEOPLE = 40


def page(request: Request) -> Response:
    return HTMLResponse("<!doctype html><title>page</title>")


class Person:
    """One browser with an address, an agent, a path and a choice of its own."""

    def __init__(self, number: int, chance: random.Random) -> None:
        self.address = f"80.{chance.randrange(16, 32)}.{number + 100}.{chance.randrange(101, 250)}"
        self.agent = (
            f"Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/{chance.randrange(10**9)} Firefox/140.0"
        )
        self.page = f"/only-read-by-number-{number}-x"
        self.bits = ""
        self._cookies: list[tuple[str, str]] = []

    async def browse(self, site: Collector, *headers: tuple[str, str]) -> None:
        """Look at a page, through a proxy that names the address, beside a spoofed one."""
        await self._send(site, self.page, "GET", b"", *headers)

    async def choose(self, site: Collector, act: str) -> None:
        """Grant, refuse or withdraw everything."""
        body = b'{"act": "%b", "u": "%b"}' % (act.encode(), self.page.encode())
        kind = [("content-type", "application/json"), ("sec-fetch-site", "same-origin")]
        answer = await self._send(site, "/_impersonal/consent", "POST", body, *kind)
        assert answer.status == 200
        self._cookies = [cookie_header(answer)]
        if "__Host-id" in answer.cookies and act == "grant":
            self.bits = answer.cookies["__Host-id"].value.partition(".")[0]

    async def _send(
        self, site: Collector, target: str, method: str, body: bytes, *more: tuple[str, str]
    ) -> Answer:
        headers = [
            ("user-agent", self.agent),
            ("x-forwarded-for", f"203.0.113.77, {self.address}"),
            *self._cookies,
            *more,
        ]
        return await call(site, http_scope(target, method, headers, client=("10.0.0.1", 1)), body)


@pytest.fixture
def data(tmp_path: Path) -> Iterator[Path]:
    """An empty data directory."""
    yield tmp_path / "data"


def visit_and_publish(data: Path, rules: Policy) -> dict[str, list[Person]]:
    """Forty visitors of each kind, then the whole pipeline two days later."""
    chance = random.Random(3)
    kinds = ("grants", "refuses", "ignores", "gpc", "withdraws")
    people = {
        kind: [Person(n, chance) for n in range(i * PEOPLE, (i + 1) * PEOPLE)] for i, kind in enumerate(kinds)
    }
    now = [NOW_MS]
    site = Collector(
        Starlette(routes=[Route("/{path:path}", page)]),
        policy=rules,
        data=data,
        trusted_proxies=["10.0.0.0/8"],
        clock=lambda: now[0],
    )

    async def day() -> None:
        for kind, group in people.items():
            for person in group:
                signal = [("sec-gpc", "1")] if kind == "gpc" else []
                await person.browse(site, *signal)
                if kind in ("grants", "withdraws"):
                    await person.choose(site, "grant")
                if kind in ("refuses", "withdraws"):
                    await person.choose(site, "refuse" if kind == "refuses" else "withdraw")
                await person.browse(site, *signal)

    asyncio.run(day())
    site.writer.stop()
    assert site.writer.counters()["errors"] == {}
    run_once(data, rules, lambda: NOW_MS + 2 * DAY_MS, lambda what, done, total: None)
    return people


def test_nothing_of_a_refusing_visitor_is_on_disk(data: Path) -> None:
    """After the whole pipeline: nobody's address, agent or id, and nothing of who did not consent."""
    people = visit_and_publish(data, CONSENTED)
    everybody = [person for group in people.values() for person in group]
    granted = people["grants"]
    pseudonyms = {Pseudonyms(data).of_id(person.bits) for person in granted}
    pages = {person.page for person in granted}
    assert set(found_on_disk(data, pseudonyms | pages)) == pseudonyms | pages, "the positive control"

    raw = {text for person in everybody for text in (person.address, person.agent, person.bits) if text}
    assert found_on_disk(data, raw | {"203.0.113.77"}) == {}
    silent = {person.page for kind in ("refuses", "ignores", "gpc") for person in people[kind]}
    assert found_on_disk(data, silent) == {}


def test_under_an_exemption_address_and_agent_become_a_pseudonym_whose_salt_is_gone(data: Path) -> None:
    """Exempt statistics see everybody but those who object, and keep neither address nor agent."""
    people = visit_and_publish(data, EXEMPT)
    seen = {person.page for kind in ("ignores", "grants") for person in people[kind]}
    assert set(found_on_disk(data, seen)) == seen, "the positive control"
    everybody = [person for group in people.values() for person in group]
    raw = {text for person in everybody for text in (person.address, person.agent, person.bits) if text}
    assert found_on_disk(data, raw) == {}
    assert found_on_disk(data, {person.page for person in people["gpc"]}) == {}
    kept = ["commitment.key", "pseudonym.key", "rights.key"]
    assert sorted(path.name for path in (data / "keys").iterdir()) == kept


@pytest.mark.parametrize("wrap", [lambda spelling: spelling, lambda spelling: b"x" * 5 + spelling + b"y" * 3])
def test_the_search_finds_every_spelling(tmp_path: Path, wrap: object) -> None:
    """Raw, hex and base64, anywhere in a file: a search that finds nothing could be broken."""
    assert callable(wrap)
    text = "80.17.123.201"
    for number, spelling in enumerate(spellings(text)):
        directory = tmp_path / str(number)
        directory.mkdir()
        (directory / "file").write_bytes(wrap(spelling))
        assert found_on_disk(directory, {text})[text] >= 1
