"""Who was erased, as `ingest` must know of every record it reads: nothing of them becomes a row again."""

import re
from pathlib import Path

from collector.record import Record
from collector.standings import Standings

_PSEUDONYM = re.compile(r"[0-9a-f]{32}")
_IN_BYTES = re.compile(_PSEUDONYM.pattern.encode())


class Tombstones:
    """The erased, known by the marks in rights.sqlite; false where nobody was erased or has withdrawn."""

    def __init__(self, data: Path, now_ms: int) -> None:
        self.met: set[str] = set()
        """Pseudonyms of erased visitors that records named."""
        self._standings = Standings(data)
        self._standings.refresh(now_ms)
        self._known: dict[str | None, bool] = {None: False}

    def __bool__(self) -> bool:
        return bool(self._standings)

    def without(self, records: list[Record]) -> list[Record]:
        """These records but for those of the erased."""
        known = self._known
        for visitor in {record.visitor for record in records}:
            if visitor not in known:
                known[visitor] = self._is_erased(visitor)
        return [record for record in records if not known[record.visitor]]

    def are_named_in(self, raw: bytes) -> bool:
        """Whether bytes that cannot be read as a record name somebody who was erased."""
        found = [self._is_erased(name.decode()) for name in _IN_BYTES.findall(raw)]
        return any(found)

    def _is_erased(self, visitor: str | None) -> bool:
        if visitor is None or not _PSEUDONYM.fullmatch(visitor):  # any text may stand in a log
            return False
        is_erased = self._standings.of(visitor, ts_ms=0) == "erased"  # whatever the instant
        if is_erased:
            self.met.add(visitor)
        return is_erased
