"""What withdrawals and erasures left of a visitor's consent, in the memory of a worker."""

import os
import threading
import weakref
from contextlib import closing
from pathlib import Path

from collector.record import DAY_MS
from collector.rights import RIGHTS, Rights, Standing, granted_of

_COUNTER = slice(24, 28)  # of a SQLite file: changed by every transaction (file format, 1.3.7)


class Changes:
    """Whether anything was said since one last looked.

    The file stays open: to close any descriptor of it would give up the locks that SQLite holds on it in
    this process, in the middle of another thread's transaction (sqlite.org/howtocorrupt.html, 2.2).
    """

    def __init__(self, data: Path) -> None:
        self._path = data / RIGHTS
        self._place = (-1, -1)
        self._descriptor = -1

    def counter(self) -> bytes:
        """What differs after every transaction, read in microseconds; empty where none was made."""
        try:
            found = self._path.stat()
        except FileNotFoundError:
            return b""
        if (found.st_dev, found.st_ino) != self._place:  # made, or put back from a copy
            self._descriptor = os.open(self._path, os.O_RDONLY)
            self._place = (found.st_dev, found.st_ino)
            weakref.finalize(self, os.close, self._descriptor)
        return os.pread(self._descriptor, _COUNTER.stop, 0)[_COUNTER]


class Standings:
    """What `narrow` and `erase` said, in the memory of a worker: read anew when the file changes."""

    def __init__(self, data: Path) -> None:
        self._rights = Rights(data)
        self._changes = Changes(data)
        self._known: dict[int, tuple[Standing, int]] = {}
        self._counter = b""
        self._last = 0
        self._day = -1
        self._refreshing = threading.Lock()

    def __bool__(self) -> bool:
        return bool(self._known)

    def refresh(self, now_ms: int) -> None:
        """Learn what any worker was told since the last call: a few microseconds where nothing changed."""
        with self._refreshing:
            changes, day = self._changes.counter(), now_ms // DAY_MS
            if not changes or (changes == self._counter and day == self._day):
                return
            self._read(anew=day != self._day)
            self._counter, self._day = changes, day

    def of(self, subject: str, ts_ms: int) -> Standing | None:
        """What a subject holds at most at an instant: purposes, "erased", or None where nothing was narrowed.

        What was seen before a withdrawal was granted then; of who was erased nothing stays, whenever seen.
        """
        granted, at_ms = self._known.get(_short(self._rights.mark(subject)), (None, 0))
        return granted if granted == "erased" or ts_ms >= at_ms else None

    def _read(self, anew: bool) -> None:
        """Add what is new; once a day all of it, so that what has ended is forgotten."""
        with closing(self._rights.connect()) as database:
            newest = database.execute("SELECT coalesce(max(number), 0) FROM standing").fetchone()[0]
            anew = anew or newest < self._last
            query = "SELECT mark, granted, at_ms FROM standing WHERE number > ?"
            rows = database.execute(query, (0 if anew else self._last,)).fetchall()
        found = {_short(mark): (granted_of(granted), at_ms) for mark, granted, at_ms in rows}
        self._known = found if anew else self._known | found
        self._last = newest


def _short(mark: bytes) -> int:
    """Half a mark is enough to tell subjects apart, and takes half the memory of one."""
    return int.from_bytes(mark[:8])
