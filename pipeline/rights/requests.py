"""What visitors wait for, as rights.sqlite says: done by every round, and by `impersonal run --watch`."""

import time
from contextlib import suppress
from pathlib import Path

import duckdb

from collector.record import Clock
from collector.rights import Request, Rights
from collector.standings import Changes
from pipeline.errors import BusyError
from pipeline.rights.access import answer, remove_answer
from pipeline.rights.erasure import erase
from pipeline.store import exclusive

SETTLE_MS = 500
"""After an erasure was asked for: by then every worker knows of it, and has written what it held."""


def carry_out(data: Path, clock: Clock) -> list[Request]:
    """Do all that visitors asked for; give it back. The caller holds `store.exclusive`.

    Raises  StoreError, OSError; what is not done stays asked for
    """
    rights = Rights(data)
    asked = rights.requests()
    erased = [request for request in asked if request.act == "erase"]
    if erased:
        _settle(max(request.asked_ms for request in erased), clock())
        removed = erase(data, {request.subject for request in erased})
        for request in erased:
            rights.answered(request, _done_ms(request, clock), removed[request.subject])
    for request in asked:
        if request.act == "access":
            answer(data, request.subject, _done_ms(request, clock))
            rights.answered(request, _done_ms(request, clock))
    return asked


def answer_beside(data: Path, clock: Clock) -> list[Request]:
    """Answer who asked for access while another run is at work; give back what was answered.

    Where that run removes a file that is about to be read, the answer waits for the next look.

    Raises  StoreError, OSError
    """
    rights = Rights(data)
    done = []
    for request in rights.requests():
        if request.act == "access":
            with suppress(FileNotFoundError, duckdb.IOException):
                answer(data, request.subject, _done_ms(request, clock))
                rights.answered(request, _done_ms(request, clock))
                done.append(request)
        # Erasure removes what waits to be fetched, and may have passed here before this was written.
        if rights.standing(request.subject) == "erased":
            remove_answer(data, request.subject)
    return done


def _done_ms(request: Request, clock: Clock) -> int:
    """Now, as the visitor sees it: the round after an import is one of an earlier day."""
    return max(clock(), request.asked_ms)


def _settle(asked_ms: int, now_ms: int) -> None:
    time.sleep(min(max(asked_ms + SETTLE_MS - now_ms, 0), SETTLE_MS) / 1000)


class Watch:
    """Whether there is something to do, asked every second: it costs a few microseconds."""

    def __init__(self, data: Path) -> None:
        self._data = data
        self._rights = Rights(data)
        self._changes = Changes(data)
        self._seen = b""

    def look(self, clock: Clock) -> list[Request]:
        """Do what somebody waits for and give it back; beside another run, access alone.

        Raises  StoreError, OSError
        """
        if not self.is_due():
            return []
        try:
            with exclusive(self._data, patience_s=0):
                return carry_out(self._data, clock)
        except BusyError:
            return answer_beside(self._data, clock)

    def is_due(self) -> bool:
        """Whether rights.sqlite changed since the last answer of no, and somebody waits for something."""
        changes = self._changes.counter()
        if changes == self._seen:
            return False
        if self._rights.requests():
            return True
        self._seen = changes
        return False
