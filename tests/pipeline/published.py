"""Published files for tests, made as the door makes them."""

from datetime import date, timedelta
from pathlib import Path

from pipeline import publish
from pipeline.published import place
from pipeline.spec import Mechanism, Spec
from pipeline.statistics import STATISTICS
from pipeline.windows import Window


def put(
    published: Path,
    statistic: str,
    window: Window,
    values: dict[str | None, int],
    sigma: float = 20.0,
    private: tuple[str, ...] = (),
    why: str = "",
) -> None:
    """Publish one release as the door does, or its correction, which has a reason.

    Intervals of thresholded cells are 30 down, 50 up.
    """
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
    number = 2 if why else 1
    spec = Spec(STATISTICS[statistic], window, Mechanism(sigma, None, 1, 0), tuple(values), number, why)
    publish.write(place(published, spec.release_id), publish.encode(cells, spec.manifest("")))


def days(first: date, count: int) -> list[Window]:
    return [Window("day", first + timedelta(n)) for n in range(count)]
