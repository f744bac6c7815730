"""The `demo` command."""

from datetime import datetime
from pathlib import Path

import click


@click.command()
@click.option("--no-serve", is_flag=True, help="End after the report instead of keeping the site up.")
@click.option(
    "--visitors", type=click.IntRange(1, 100_000), default=2000, show_default=True, help="People a day."
)
@click.option(
    "--days", type=click.IntRange(1, 28), default=7, show_default=True, help="Days, from a Monday on."
)
@click.option("--seed", type=int, default=1, show_default=True, help="The same seed, the same visitors.")
@click.option(
    "--start",
    type=click.DateTime(["%Y-%m-%d"]),
    help="First day, a Monday.  [default: of the last full ISO week]",
)
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    default=Path("demo-data"),
    show_default=True,
    help="Where; emptied, if a former demo made it.",
)
@click.option(
    "--keep-logs", is_flag=True, help="End after the visits, with the logs as the collector wrote them."
)
def demo(
    no_serve: bool,
    visitors: int,
    days: int,
    seed: int,
    start: datetime | None,
    data: Path,
    keep_logs: bool,
) -> None:
    """Simulate a week on a small real site, publish its statistics, and leave the site running.

    Everything stays on this machine: the site listens on the loopback only.

    \b
      impersonal demo                                  then open the site it names and click
      impersonal demo --no-serve --visitors 50 --days 2
    """
    # Starts fast where it is not run: the site, the simulator and rich are imported here.
    from pipeline.demo.run import Demo  # noqa: PLC0415

    Demo(data, visitors=visitors, days=days, seed=seed, start=start.date() if start else None).run(
        serve=not no_serve, keep_logs=keep_logs
    )
