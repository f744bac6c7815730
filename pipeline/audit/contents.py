"""Checks of single releases: bytes, cells, definitions, inputs."""

from collections.abc import Iterator
from datetime import date
from math import nan
from typing import Any

from collector.record import KEYS, date_of
from pipeline import intervals
from pipeline.audit.released import Books, Release
from pipeline.audit.said import Mistake, Skipped
from pipeline.commitment import KEY, begins_with, commitment, consumed, contents
from pipeline.engine import connect
from pipeline.errors import StoreError
from pipeline.published import Manifest
from pipeline.spec import CODE_VERSION, Mechanism, Spec, mechanism
from pipeline.statistics import STATISTICS, Statistic, enabled, nano_rho
from pipeline.store import batch_files, events_of, manifests
from pipeline.terms import retention_days
from pipeline.windows import TIERS, Hour, Window

Found = Iterator[Mistake | Skipped | None]


def same_bytes(books: Books) -> Found:
    """Every release is published as the ledger holds it, and nothing else is."""
    known = set()
    for release in books.releases:
        known.add(release.file)
        if release.is_intact:
            yield None
        elif release.file.exists():
            yield Mistake(f"{release.file} is not what was released: remove it, a run puts it back")
        else:
            yield Mistake(f"{release.file} is missing: a run puts it back")
    for file in sorted(set(books.published.glob("*/*.parquet")) - known):
        yield Mistake(
            f"{file} was never released by this ledger: put the newest ledger back, or remove the file"
        )


def sound(books: Books) -> Found:
    """Each file holds what its name and its manifest say."""
    for release in books.releases:
        if release.manifest is None:
            yield Mistake(f"{release.file} cannot be read")
            continue
        wrong = _named_otherwise(release, release.manifest) or _wrong_cells(release, release.manifest)
        yield Mistake(f"{release.file}: {wrong}") if wrong else None


def _named_otherwise(release: Release, manifest: Manifest) -> str:
    """What is wrong with what a release says it is."""
    if manifest.release != release.release_id:
        return f"its manifest is that of {manifest.release}"
    if release.window is None or not manifest.days == release.days == list(release.window.days):
        return "its days are not those of its window and of its charges"
    if not manifest.sigma > 0 or not (manifest.threshold is None or manifest.threshold > manifest.linf):
        return "its noise is none"
    return ""


def _wrong_cells(release: Release, manifest: Manifest) -> str:
    """What is wrong with the cells of a release."""
    cells, window = release.cells, release.window
    always = [cell["key"] for cell in cells if not cell["thresholded"]]
    learnt = [cell["key"] for cell in cells if cell["thresholded"]]
    about = {(cell["statistic"], cell["window"], cell["start"], cell["end"]) for cell in cells}
    own = {(release.statistic, window.name, window.start, window.end)} if window else about
    low = [cell for cell in cells if cell["thresholded"] and cell["value"] < (manifest.threshold or 0)]
    found = {
        "it holds cells of another release": about - own,
        f"its values are {release.value_type}, not whole numbers": release.value_type != "BIGINT",
        "its public keys are not each there once": always != manifest.public_keys,
        "a key is there twice": len({*learnt, *always}) != len(cells),
        "it names keys from traffic without a threshold": learnt and manifest.threshold is None,
        "a cell below the threshold is published": low,
        "a cell has another σ than the manifest": {cell["sigma"] for cell in cells} - {manifest.sigma},
        "an interval is not that of its value": manifest.code_version == CODE_VERSION
        and not all(_is_interval(cell, manifest) for cell in cells),
    }
    return next((wrong for wrong, is_so in found.items() if is_so), "")


def _is_interval(cell: dict[str, Any], manifest: Manifest) -> bool:
    """Whether the ends are those of the value, as far as bisection tells on any machine."""
    said, right = (cell["lower"], cell["upper"]), _interval(cell, manifest)
    slack = 2 * intervals.PRECISION * manifest.sigma
    return all(abs(one - other) <= slack for one, other in zip(said, right, strict=True))


def _interval(cell: dict[str, Any], manifest: Manifest) -> tuple[float, float]:
    if cell["thresholded"] and manifest.threshold is not None:
        try:
            return intervals.truncated(cell["value"], manifest.sigma, manifest.threshold)
        except ZeroDivisionError:  # a σ so small that nothing below the threshold could reach it
            return nan, nan
    return intervals.plain(cell["value"], manifest.sigma)


def definitions(books: Books) -> Found:
    """Where the same version made them, releases have the hash of what this version would run."""
    named = {release.release_id: {cell["key"] for cell in release.cells} for release in books.releases}
    for release in books.releases:
        manifest, row, window = release.manifest, STATISTICS.get(release.statistic), release.window
        if manifest is None or window is None:
            continue
        if manifest.code_version != CODE_VERSION or row is None:
            yield Skipped(f"made by version {manifest.code_version}")
        elif not _is_defined(release, manifest, row, window):
            yield Mistake(f"{release.file}: its bounds, SQL, noise and keys are not those of its hash")
        elif row.is_private and release.number > 1 and set(manifest.public_keys) - named[release.corrected]:
            yield Mistake(f"{release.file}: it names keys that the release which it corrects does not")
        elif release.number == 1 and not _is_of_policy(books, row, window, manifest):
            yield Skipped("made under another policy")
        else:
            yield None


def drawn(manifest: Manifest) -> Mechanism:
    """The noise that a manifest says."""
    return Mechanism(manifest.sigma, manifest.threshold, manifest.nano_rho, manifest.atto_delta)


def _is_defined(release: Release, manifest: Manifest, row: Statistic, window: Window) -> bool:
    keys = tuple(manifest.public_keys)
    row = row.under(keys) if release.number == 1 else row.again(keys)
    spec = Spec(row, window, drawn(manifest), keys, release.number, manifest.why)
    return spec.manifest(manifest.inputs) == manifest


def _is_of_policy(books: Books, row: Statistic, window: Window, manifest: Manifest) -> bool:
    """Whether the policy of today would draw the same for the same keys, in some tier.

    Not asked of corrections: they are drawn with what their days have left.
    """
    share = enabled(books.policy).get(row.name)
    if share is None or tuple(manifest.public_keys) != row.keys_of(window, books.policy):
        return False
    row = row.under(manifest.public_keys)
    return drawn(manifest) in [mechanism(row, nano_rho(share, tier.nano_rho)) for tier in TIERS]


def inputs(books: Books) -> Found:
    """Where the private events still are, the commitment to them is the published one."""
    if not (books.data / KEYS / KEY).exists():
        yield Mistake(f"{books.data / KEYS / KEY} is missing: restore it")
        return
    held: dict[tuple[tuple[str, ...], bool], list[bytes]] = {}
    for release in books.releases:
        if release.manifest is None:
            continue
        days, is_hour = tuple(release.days), isinstance(release.window, Hour)
        if (days, is_hour) not in held:
            held[days, is_hour] = _held(books, days, is_hour)
        name, lines, sealed = release.release_id, held[days, is_hour], release.manifest.inputs
        is_grown = is_hour and begins_with(books.data, name, sealed, lines)
        if is_grown or commitment(books.data, name, b"".join(lines)) == sealed:
            yield None
        elif any(_is_expired(books, day) for day in days):
            yield Skipped("whose inputs are gone: expired")
        elif removed := _removed(books, days):
            yield Skipped(f"whose inputs differ: rows were {' and '.join(removed)} since")
        else:
            yield Mistake(f"{release.file}: its private events are not those it was made from")


def _held(books: Books, days: tuple[str, ...], is_hour: bool) -> list[bytes]:
    """What releases of some days may have sealed: all of it, or, of hours, what their day then grew by."""
    files = [file for day in days for file in batch_files(events_of(books.data, day))]
    if not is_hour:
        return [contents(files)]
    with connect() as database:
        try:
            return consumed(database, files)
        except StoreError:  # a file that was changed by somebody else
            return []


def _removed(books: Books, days: tuple[str, ...]) -> list[str]:
    """What became of rows of some days after they were sealed: erased, expired, cut."""
    with connect() as database:
        try:
            found = [each for day in days for each in manifests(database, events_of(books.data, day))]
        except StoreError:  # a file that was changed by somebody else
            return []
    return sorted({why for each in found for why in (*each.removed, *(["cut"] if each.cut else []))})


def _is_expired(books: Books, day: str) -> bool:
    """Whether a day's records were removed because their retention is over."""
    age = (date_of(books.now_ms) - date.fromisoformat(day)).days
    days = retention_days(books.policy, day, books.now_ms)
    return age > days and not batch_files(events_of(books.data, day))
