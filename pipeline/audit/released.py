"""The operator's own releases, as the ledger and the published files hold them."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb

from collector.policy import Policy
from pipeline.engine import connect
from pipeline.errors import LedgerError, StoreError
from pipeline.ledger import LEDGER, Ledger
from pipeline.published import PUBLISHED, Manifest, manifest_in, place
from pipeline.store import Progress
from pipeline.windows import Window, window_named


@dataclass(frozen=True)
class Release:
    """One release."""

    release_id: str
    file: Path
    is_intact: bool
    """Whether the published bytes are those of the ledger."""
    stored: bytes
    charged: tuple[int, int]
    """ρ in billionths and δ in units of 1e-18, to each day, by the release that pays for it."""
    paid_by: str
    """That release: itself, but for the hours of a day, which the first one pays for."""
    days: list[str]
    """That the ledger charged."""
    manifest: Manifest | None
    """None: the file is missing or cannot be read."""
    value_type: str
    cells: list[dict[str, Any]]

    @property
    def statistic(self) -> str:
        """Its statistic's name, which may be that of another version."""
        return self.release_id.split("/")[0]

    @property
    def window(self) -> Window | None:
        """The window that its name says; None where it says none."""
        _, name, label, *_ = self.release_id.split("/")
        return window_named(name, label)

    @property
    def corrected(self) -> str:
        """The release of before any correction; itself, where it is none."""
        return "/".join(self.release_id.split("/")[:3])

    @property
    def number(self) -> int:
        """1, or which correction it is, from 2 on."""
        _, _, _, *number = self.release_id.split("/")
        return int(number[0]) if number else 1


@dataclass(frozen=True)
class Books:
    """Everything that is verified together."""

    data: Path
    policy: Policy
    now_ms: int
    ledger: Ledger
    releases: tuple[Release, ...]
    """In the order in which they were made."""

    @property
    def published(self) -> Path:
        """Where published files are."""
        return self.data / PUBLISHED


def is_there_anything(data: Path) -> bool:
    """Whether anything was ever released.

    Raises  LedgerError where files are published and no ledger knows them
    """
    if (data / LEDGER).exists():
        return True
    if any((data / PUBLISHED).glob("*/*.parquet")):
        raise LedgerError(f"{data / LEDGER} is missing, but {data / PUBLISHED} holds releases: put it back")
    return False


def read(data: Path, ledger: Ledger, progress: Progress) -> Iterator[Release]:
    """Every release of a ledger with what is published of it."""
    charged = ledger.releases()
    names = ledger.in_order()
    with connect() as database:
        for number, name in enumerate(names):
            progress("reading releases", number, len(names))
            file, stored = place(data / PUBLISHED, name), ledger.output(name) or b""
            payer = ledger.paid_by(name)
            paid, days = ledger.charges(payer), charged.get(name, [])
            is_intact = file.is_file() and file.read_bytes() == stored
            manifest, kind, cells = _content(database, file)
            yield Release(name, file, is_intact, stored, paid, payer, days, manifest, kind, cells)


def _content(
    database: duckdb.DuckDBPyConnection, file: Path
) -> tuple[Manifest | None, str, list[dict[str, Any]]]:
    """What a published file holds: its manifest, the type of its values, its cells."""
    try:
        manifest = manifest_in(database, file)
        found = database.read_parquet(str(file))
        kinds = dict(zip(found.columns, map(str, found.types), strict=True))
        cells = [dict(zip(found.columns, row, strict=True)) for row in found.fetchall()]
    except (StoreError, duckdb.Error):
        return None, "", []
    return manifest, kinds.get("value", ""), cells
