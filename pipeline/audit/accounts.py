"""Checks of all releases together: what they cost, what days spent, their chain, and when they were made."""

from collections import Counter
from collections.abc import Iterator

from pipeline.audit.released import Books
from pipeline.audit.said import Mistake, Skipped
from pipeline.ledger import LEDGER
from pipeline.published import HEAD, START, head_of
from pipeline.spec import cost
from pipeline.statistics import ATTO_DELTA_PER_DAY
from pipeline.windows import TIERS

Found = Iterator[Mistake | Skipped | None]


def costs(books: Books) -> Found:
    """OpenDP's map of each release's bounds and σ gives what its manifest says and what was charged."""
    for release in books.releases:
        made = release.manifest
        if made is None or not made.sigma > 0:
            continue
        due = cost(made.l0, made.l2, made.linf, made.sigma, made.threshold)
        if not due == (made.nano_rho, made.atto_delta) == release.charged:
            yield Mistake(
                f"{release.file} costs ρ = {due[0] / 1e9:g}, {release.charged[0] / 1e9:g} was charged "
                f"and its manifest says {made.nano_rho / 1e9:g}; δ in 1e-18: {due[1]}, {release.charged[1]}, "
                f"{made.atto_delta}"
            )
        else:
            yield None


def caps(books: Books) -> Found:
    """No day spent more than its cap or the guarantee, and all of it for releases that are known."""
    due: Counter[str] = Counter()
    for release in books.releases:
        if release.paid_by == release.release_id:
            due.update(dict.fromkeys(release.days, release.charged[0]))
    guarantee = max(tier.nano_rho for tier in TIERS), ATTO_DELTA_PER_DAY
    for day in sorted(due):
        spent, cap = books.ledger.spent(day), books.ledger.cap(day)
        if any(
            part > most for part, most in (*zip(spent, cap, strict=True), *zip(cap, guarantee, strict=True))
        ):
            yield Mistake(f"{books.data / LEDGER}: {day} spent ρ = {spent[0] / 1e9:g} of {cap[0] / 1e9:g}")
        elif spent[0] != due[day]:
            yield Mistake(
                f"{books.data / LEDGER}: {day} spent ρ = {spent[0] / 1e9:g}, its releases {due[day] / 1e9:g}"
            )
        else:
            yield None


def chain(books: Books) -> Found:
    """The hash of each release over itself and the one before, from the first to the published head."""
    head = START
    for release in books.releases:
        head, kept = head.after(release.release_id, release.stored), books.ledger.head(head.number + 1)
        yield None if kept == head else Mistake(f"{release.file}: the ledger's chain breaks here")
        # The next one is judged by itself.
        head = kept
    published = head_of(books.published)
    if published == books.ledger.head():
        yield None
    else:
        yield Mistake(
            f"{books.published / HEAD} knows of {published.number} releases and ends otherwise than the "
            f"ledger, which has {len(books.releases)}"
        )


def closed(books: Books) -> Found:
    """No window is open now, so none can have been open when it was released, or a clock was wrong."""
    for release in books.releases:
        if release.window is None:
            yield Mistake(f"{release.file}: no window is called like this")
        elif not release.window.is_closed(books.now_ms):
            yield Mistake(f"{release.file}: {release.window.end} is not over yet; check the clock")
        else:
            yield None
