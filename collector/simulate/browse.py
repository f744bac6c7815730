"""Sends the planned requests to a running site, one after another, in the order of the simulated clock.

The simulator stands where a reverse proxy would: it adds each visitor's address at the right end of
X-Forwarded-For, so the site must trust the loopback proxy. Cookies are carried explicitly, one jar a
person: the site's cookies are Secure, and no ordinary jar would send them over plain HTTP on the loopback.
"""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from urllib.parse import urlencode

from collector.errors import ConfigurationError
from collector.simulate.client import Answer, Connection
from collector.simulate.people import ONE_PURPOSE, Person
from collector.simulate.plan import Step

CONSENT, EVENT = "/_impersonal/consent", "/_impersonal/event"

_PAGE = "Accept: text/html,application/xhtml+xml,*/*;q=0.8\r\nSec-Fetch-Dest: document\r\n"
_PREFETCH = _PAGE + "Sec-Purpose: prefetch\r\n"
_FETCH = "Accept: */*\r\nSec-Fetch-Dest: empty\r\nSec-Fetch-Site: same-origin\r\n"
_JSON = _FETCH + "Content-Type: text/plain;charset=UTF-8\r\n"
_FORM = _PAGE + "Sec-Fetch-Site: same-origin\r\nContent-Type: application/x-www-form-urlencoded\r\n"
_BOT = "Accept: */*\r\n"
_CHOICES = ("grant", "refuse", "withdraw")
_REPORT_EVERY = 200  # steps


@dataclass(frozen=True)
class Outcome:
    """How the requests went; what they left behind is for `tell` to say and for the log to show."""

    requests: int
    seconds: float


def browse(
    url: str,
    steps: Sequence[Step],
    set_clock: Callable[[int], None],
    done: Callable[[int], None] = lambda steps: None,
) -> Outcome:
    """Make every request of a plan.

    Takes   url: the site, http://127.0.0.1:PORT; set_clock: puts the site's clock, in UTC milliseconds
            done: told now and then how many steps are done
    Raises  ConfigurationError where an answer is not the planned one: the truth would no longer be true
    """
    connection = Connection(url)
    started_s = time.perf_counter()
    try:
        for number, step in enumerate(steps):
            set_clock(step.at_s * 1000)
            answer = connection.send(_request(step, connection.host))
            if answer.status != _expected(step):
                raise ConfigurationError(
                    f"{step.act} of {step.page} was answered {answer.status}, not {_expected(step)}: "
                    "the site and the simulator's plan of it must agree"
                )
            _keep_cookies(step.person, answer)
            if number % _REPORT_EVERY == 0:
                done(number)
    finally:
        connection.close()
    done(len(steps))
    return Outcome(len(steps), time.perf_counter() - started_s)


def _expected(step: Step) -> int:
    if step.act in _CHOICES:
        return 303 if step.person.uses_form else 200
    return 204 if step.act in ("history", "event", "ping", "outbound") else step.status


def _request(step: Step, host: str) -> bytes:
    """One request as its visitor's browser and the proxy before the site would send it."""
    person, method, body = step.person, "GET", ""
    target = step.page + (f"?{step.query}" if step.query else "")
    kind = _PAGE if step.act == "view" else _PREFETCH if step.act == "prefetch" else _FETCH
    if person.about is None:
        kind = _BOT
    elif step.act in _CHOICES:
        method, kind = "POST", _FORM if person.uses_form else _JSON
        body = _choice(step, target)
        target = CONSENT
    elif step.act in ("history", "event", "ping", "outbound"):
        method, kind, body, target = "POST", _JSON, _beacon(step, target), EVENT
    via = f"{person.spoofed}, {person.address}" if person.spoofed else person.address
    lines = [
        f"{method} {target} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: {person.agent}\r\n{kind}",
        f"X-Forwarded-For: {via}\r\n",
    ]
    if step.referrer:
        referrer = step.referrer if "//" in step.referrer else f"http://{host}{step.referrer}"
        lines.append(f"Referer: {referrer}\r\n")
    if person.signal:
        lines.append(f"{person.signal}: 1\r\n")
    if person.cookies:
        jar = "; ".join(f"{name}={value}" for name, value in person.cookies.items())
        lines.append(f"Cookie: {jar}\r\n")
    if body:
        lines.append(f"Content-Length: {len(body)}\r\n")
    return f"{''.join(lines)}\r\n{body}".encode()


def _choice(step: Step, page: str) -> str:
    fields = {"act": step.act, "u": page, "r": step.referrer if "//" in step.referrer else ""}
    if step.person.uses_form:
        return urlencode(fields)
    purposes = ["improvement"] if step.person.kind == ONE_PURPOSE and step.act == "grant" else []
    return json.dumps(fields | {"w": step.view, "purposes": purposes})


def _beacon(step: Step, page: str) -> str:
    fields: dict[str, object] = {"w": step.view, "u": page}
    if step.act == "history":
        return json.dumps(fields | {"k": "view"})
    if step.act == "ping":
        return json.dumps(fields | {"k": "ping", "e": 4000, "s": 80})
    if step.act == "outbound":
        return json.dumps(fields | {"k": "outbound", "t": step.name})
    return json.dumps(fields | {"k": "event", "n": step.name, "p": {"from": "demo"}})


def _keep_cookies(person: Person, answer: Answer) -> None:
    for line in answer.cookies:
        pair, _, attributes = line.partition(";")
        name, _, value = pair.partition("=")
        if "max-age=0" in attributes.lower().replace(" ", ""):
            person.cookies.pop(name, None)
            continue
        person.cookies[name] = value
        if name == "__Host-id":
            person.ids.append(value)
