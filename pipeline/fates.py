"""What may become of an event that is not kept: one row per reason, in words for the operator.

An event meets its fate twice: in a worker (DROPS), and as a frame of the logs when they are read (FRAMES).
"""

from collections.abc import Mapping
from dataclasses import dataclass

UNACCOUNTED = "unaccounted"
LATE = "late"
DUPLICATE = "duplicate"


@dataclass(frozen=True)
class Fate:
    """One reason."""

    name: str
    is_loss: bool
    """Whether something is gone that was to be kept."""
    words: str
    """What it means, and where something can be done, what."""


def _by_name(*rows: Fate) -> Mapping[str, Fate]:
    return {row.name: row for row in rows}


DROPS = _by_name(
    Fate("bot", False, "visits of crawlers and other programs"),
    Fate("cross_origin", False, "events that came from pages of another site"),
    Fate(
        "rate",
        False,
        "events above the rate of one address; if most are dropped, the proxy is missing in trusted_proxies",
    ),
    Fate("body", False, "events with a body that was too long or did not come"),
    Fate("malformed", False, "events that beacon.js does not send like that"),
    Fate("withdrawn", False, "carried a cookie from before its visitor withdrew"),
    Fate("erased", False, "carried the cookie of a visitor who was erased"),
    Fate("no_download", False, "clicks on links that are no downloads"),
    Fate("queue_full", True, "came faster than the disk took them: look at its load and its speed"),
    Fate(
        "quota", True, "came while the logs were at their quota: let `impersonal run` read them, or raise it"
    ),
    Fate("too_long", True, "would have made a record over 8 KiB: send shorter properties"),
    Fate("not_durable", True, "choices that the disk did not store; these visitors were asked to try again"),
    Fate(
        "error", True, "met a fault of the collector itself: please report it, with the faults listed above"
    ),
    Fate(UNACCOUNTED, True, "were in memory when their worker was killed or its machine failed"),
)
"""By name: why a worker dropped an event, or what became of the events it died with."""

FRAMES = _by_name(
    Fate(DUPLICATE, False, "reported twice by a browser and counted once"),
    Fate("erased", False, "of visitors who were erased"),
    Fate("expired", False, "kept for as long as their purposes allow, and removed then"),
    Fate(LATE, True, "came after their day was sealed: is a worker's clock wrong, or did it hang for hours?"),
    Fate("torn", True, "cut off by a kill, a full disk or a loss of power"),
    Fate("checksum", True, "changed after they were written: check the disk, and who else may write there"),
    Fate("malformed", True, "are no records of this program"),
    Fate("version", True, "written by a newer collector: update what runs `impersonal run`"),
    Fate("wrong_day", True, "lie in the directory of another day: was it renamed?"),
)
"""By name: why a frame of the logs became no row of the private events."""
