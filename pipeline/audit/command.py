"""The `audit` commands."""

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from collector.policy_file import load
from collector.record import now_ms
from pipeline import terminal
from pipeline.boundary import FAILED, interruptible
from pipeline.options import POLICY, data_option, format_option

if TYPE_CHECKING:
    from pipeline.audit.attacks import Finding
    from pipeline.audit.verify import Verified


@click.group(invoke_without_command=True)
@click.option("--quick", is_flag=True, help="Under a minute, with wider intervals, instead of some minutes.")
@click.option(
    "--html",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write the findings to this file as well, with plots.",
)
@format_option("table", "json")
@data_option
@click.pass_context
def audit(context: click.Context, quick: bool, html: Path | None, form: str, data: Path) -> int:
    """Try the attacks that must fail, on your configuration and synthetic visitors.

    Reads the policy only, never the records of a visitor. Each attack is printed with its bound and what was
    measured, beside a control in which it must succeed. Exit status 1 where a bound is exceeded or a control
    missed. `impersonal audit verify` recomputes your own releases.

    \b
    impersonal audit --quick
    impersonal audit --html audit.html
    impersonal audit verify
    """
    if context.invoked_subcommand:
        return 0
    loaded = load(data / POLICY)
    from pipeline.audit import attacks, page  # noqa: PLC0415 - loads the engine and what computes the noise
    from pipeline.audit.site import FULL, QUICK  # noqa: PLC0415

    started_s = time.monotonic()
    with interruptible(), terminal.progress() as progress:
        found = list(attacks.attack(loaded, QUICK if quick else FULL, progress))
    click.echo(terminal.as_json([each.as_row() for each in found]) if form == "json" else _table(found))
    if html:
        effort = f"{'A quick' if quick else 'The full'} audit, {time.monotonic() - started_s:.0f} s."
        html.write_text(page.render(found, f"Audit of {loaded.controller.name}", effort), encoding="utf-8")
    return _complain(
        [f"{each.attack.key}: {each.result.verdict}: {_why(each)}" for each in found if _is_bad(each)]
    )


def _is_bad(finding: "Finding") -> bool:
    return finding.result.verdict != "held"


def _why(finding: "Finding") -> str:
    result = finding.result
    return result.control if result.is_held else result.measured


def _table(found: "Sequence[Finding]") -> str:
    """The findings as lines: what was tried, what came out and what was allowed."""
    lines = []
    for each in found:
        lines += [
            f"{each.result.verdict.upper():14}  {each.attack.title}: {each.attack.tries}",
            f"{'':14}    measured  {each.result.measured}",
            f"{'':14}    bound     {each.attack.bound}",
            f"{'':14}    control   {each.result.control}",
        ]
    held = sum(not _is_bad(each) for each in found)
    return "\n".join([*lines, f"{held} of {len(found)} attacks failed, as they must"])


@audit.command()
@format_option("table", "json")
@data_option
def verify(form: str, data: Path) -> int:
    """Recompute your own releases: bytes, contents, costs, caps and the chain of all of them.

    One line per check. Exit status 1 where something does not agree, with a line that names the file.

    \b
    impersonal audit verify
    impersonal audit verify --data /var/lib/shop --format json
    """
    loaded = load(data / POLICY)
    from pipeline.audit import verify as recomputed  # noqa: PLC0415

    with interruptible(), terminal.progress() as progress:
        found = recomputed.verify(data, loaded, now_ms(), progress)
    if form == "json":
        click.echo(terminal.as_json([each.as_row() for each in found]))
    else:
        click.echo(
            _checks(found) if found else "Nothing is released yet: `impersonal run` releases what is due"
        )
    return _complain([mistake for each in found for mistake in each.mistakes])


def _checks(found: "Sequence[Verified]") -> str:
    return terminal.aligned([each.as_words() for each in found], right=0)


def _complain(mistakes: Sequence[str]) -> int:
    for mistake in mistakes:
        print(f"impersonal: {mistake}", file=sys.stderr)
    return FAILED if mistakes else 0
