"""Published files for tests, made as the door makes them."""

from datetime import date, timedelta
from pathlib import Path

from pipeline import publish
from pipeline.windows import Window

BINS = (
    *("0-3 s", "3-10 s", "10-30 s", "30-60 s", "60-120 s", "120-300 s"),
    *("300-600 s", "600-1200 s", "1200-1800 s", "1800+ s"),
)
"""The keys of the histogram of durations."""


def put(
    published: Path,
    statistic: str,
    window: Window,
    values: dict[str | None, int],
    sigma: float = 20.0,
    private: tuple[str, ...] = (),
) -> None:
    """Publish one release as the door does; intervals of thresholded cells are 30 down, 50 up."""
    cells = [
        publish.Cell(
            statistic,
            key,
            window.name,
            window.start,
            window.end,
            value,
            value - (30.0 if key in private else 1.96 * sigma),
            value + (50.0 if key in private else 1.96 * sigma),
            sigma,
            key in private,
        )
        for key, value in values.items()
    ]
    place = publish.place(published, f"{statistic}/{window.name}/{window.start}")
    publish.write(place, publish.encode(cells))


def days(first: date, count: int) -> list[Window]:
    return [Window("day", first + timedelta(n)) for n in range(count)]
