"""Imported days → private events: each day one file, committed with its manifest by one rename."""

import secrets
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from collector.policy import Version, fields_within
from collector.record import COLUMNS, FIELDS, LEVELS, TIME_STEP_MS
from pipeline.engine import Engine
from pipeline.log_batches import HIT_COLUMNS, Row
from pipeline.log_days import LogDay
from pipeline.log_lines import Target, service_under
from pipeline.log_reader import Table
from pipeline.statistics import PURPOSE
from pipeline.store import (
    GOOD,
    QUARANTINE,
    ImportedDay,
    Manifest,
    Stretch,
    events_of,
    private_directory,
    sync,
    write_private,
)

BATCH = "000001"  # a day that is imported has no other
_THREADS = 2  # a day's rows are too few for DuckDB to share among its own

Frame = dict[str, np.ndarray[Any, Any]]
"""Columns as DuckDB reads them. Pandas would take half a second to import, for nothing more."""

_encoder = msgspec.json.Encoder()


class LogEvents:
    """Writes the days of one call."""

    def __init__(
        self,
        data: Path,
        engine: Engine,
        tables: Mapping[str, Table],
        read: Mapping[str, tuple[int, int]],
        ground: str,
    ) -> None:
        """Prepare.

        read   file, by what it is known as → where reading began, and where it ended
        """
        self._data = data
        self._engine = engine
        self._read = read
        self._ground = ground
        at = Target._fields.index("services")
        self._services_of = [target[at] or "" for target in tables["targets"].rows()]
        """The services of each target."""
        self._frames = {name: _frame(table.columns, table.rows()) for name, table in tables.items()}
        self._services: dict[str, Frame] = {}
        """Policy version → the services that the targets belong to under it."""

    def commit(self, days: Sequence[LogDay], waiting: Sequence[LogDay], now_ms: int) -> Iterator[LogDay]:
        """Write days, in the order given; each is given back when it is there.

        What is read of a day's files is consumed up to the lines of days that come later or are waiting.
        """
        with ThreadPoolExecutor(_THREADS) as threads:
            manifests = [self._manifest(day, [*days[n:], *waiting], now_ms) for n, day in enumerate(days, 1)]
            written = threads.map(self._write, days, map(self._prepare, days), manifests)
            for day, aside in zip(days, written, strict=True):
                sync(aside)
                aside.rename(aside.with_name(f"{BATCH}.parquet"))
                sync(aside.parent)
                yield day

    def _prepare(self, day: LogDay) -> Path:
        """Make the place of a day, and all that is needed to write its file; give back where to write it."""
        directory = events_of(self._data, day.day)
        private_directory(directory)
        for aside in directory.glob(".*"):
            aside.unlink()  # of a call that was killed
        self._write_quarantine(day)
        version = _version(day)
        if version.id not in self._services:
            services = [(service_under(version, target),) for target in self._services_of]
            self._services[version.id] = _frame(["service"], services)
        aside = directory / f".{BATCH}.tmp"
        write_private(aside, [])  # DuckDB keeps the mode of a file that exists
        return aside

    def _write(self, day: LogDay, aside: Path, manifest: Manifest) -> Path:
        """Write a day's page views, in any thread."""
        with self._engine.beside() as engine:
            self._build(engine, day)
            engine.database.execute(
                # With every column of the contract.
                "COPY (FROM no_rows UNION ALL BY NAME FROM page_views) TO $path"
                " (FORMAT parquet, COMPRESSION zstd, USE_TMP_FILE false, KV_METADATA {manifest: $manifest})",
                {"path": str(aside), "manifest": _encoder.encode(manifest).decode()},
            )
        return aside

    def _manifest(self, day: LogDay, still_open: Sequence[LogDay], now_ms: int) -> Manifest:
        """What the day's file says of itself, with how far each log is consumed once it is there."""
        stretches = []
        for name in day.shares:
            start, end = self._read[name]
            # From the first line on that a later commit, or a later call, is still to take.
            end = min([end, *(each.shares[name].offset for each in still_open if name in each.shares)])
            # No fingerprint of the bytes: they name visitors.
            stretches.append(Stretch(name, start, end, "", {GOOD: day.hits_of(name)}))
        found = ImportedDay(self._ground, day.lines, day.malformed, day.assets, day.other, dict(day.bots))
        return Manifest(now_ms, stretches, len(day.times), 0, found)

    def _build(self, engine: Engine, day: LogDay) -> None:
        """Make the relation `page_views`: the columns an import fills, as far as the policy grants them."""
        numbers = np.frombuffer(day.numbers, dtype=np.intc).reshape(-1, len(HIT_COLUMNS))
        hits: Frame = {name: np.ascontiguousarray(numbers[:, n]) for n, name in enumerate(HIT_COLUMNS)}
        hits |= {"ts_ms": np.frombuffer(day.times, dtype=np.int64), "hit": np.arange(len(numbers))}
        version = _version(day)
        frames = {
            **self._frames,
            "hits": hits,
            "visitors": _frame(["visitor"], [(each.hex(),) for each in day.visitors]),
            "services": self._services[version.id],
        }
        for name, frame in frames.items():
            engine.database.register(name, frame)
        engine.relation("no_rows", dict(COLUMNS), [])
        columns = dict.fromkeys(("service", "policy", "id_prefix"), "VARCHAR")
        columns |= {"purposes": "VARCHAR[]", "time_step_ms": "BIGINT"}
        columns |= {row.name: "BOOLEAN" for row in FIELDS}
        engine.relation("scope", columns, _scope(version))
        engine.view("access_log.events", into="page_views")

    def _write_quarantine(self, day: LogDay) -> None:
        path = self._data / QUARANTINE / f"day={day.day}" / f"{BATCH}.jsonl"
        if day.samples:
            private_directory(path.parent)
            write_private(path, [_encoder.encode(sample) + b"\n" for sample in day.samples])
            sync(path)
            sync(path.parent)
        else:
            path.unlink(missing_ok=True)


def _frame(columns: Sequence[str], rows: Sequence[Row]) -> Frame:
    """Rows by their numbers."""
    texts = {column: np.array([row[n] for row in rows], dtype=object) for n, column in enumerate(columns)}
    return texts | {"number": np.arange(len(rows))}


def _version(day: LogDay) -> Version:
    assert day.version is not None  # noqa: S101 - or the day were not taken
    return day.version


def granted_fields(version: Version) -> set[str]:
    """The fields that a version grants to statistics of visitors who were not asked."""
    return {row.name for row in fields_within(version.purpose_scope(PURPOSE))}


def _scope(version: Version) -> Iterator[tuple[object, ...]]:
    """For each service, and the rest of the site: what a record says of itself, and which fields it has."""
    granted = granted_fields(version)
    step_ms = TIME_STEP_MS[LEVELS["time"][version.purpose_scope(PURPOSE)["time"]]]
    id_prefix = secrets.token_hex(8)
    services = {"": granted} | {name: granted & set(row.fields) for name, row in version.services.items()}
    for service, fields in services.items():
        yield service, version.id, id_prefix, [PURPOSE], step_ms, *(row.name in fields for row in FIELDS)
