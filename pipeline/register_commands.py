"""The commands of `rights` about consents, transfers and accesses."""

from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import click

from collector.policy_file import load
from collector.record import instant_of, now_ms
from pipeline import terminal
from pipeline.boundary import FAILED, interruptible
from pipeline.errors import ProofError
from pipeline.options import (
    POLICY,
    Reference,
    Subject,
    data_option,
    format_option,
    language_option,
    reference_argument,
)

_DAY = click.DateTime(["%Y-%m-%d"])
_GROUNDS = ("necessary", "consent", "law", "sale", "breach")  # as in transfer_gate.GROUNDS


class _Instant(click.ParamType[int]):
    """A UTC instant, as milliseconds."""

    name = "instant"

    def convert(self, value: str | int, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Milliseconds since 1970."""
        if isinstance(value, int):
            return value
        try:
            found = datetime.fromisoformat(value)
        except ValueError:
            self.fail("use an instant like 2026-11-24 or 2026-11-24T13:00:00Z", param, ctx)
        return round(found.replace(tzinfo=found.tzinfo or UTC).timestamp() * 1000)


@click.command()
@reference_argument
@click.option(
    "--at", type=_Instant(), help="The instant it is about, UTC, like 2026-11-24T13:00:00Z.  [default: now]"
)
@language_option
@data_option
def receipt(reference: Subject, at: int | None, language: str, data: Path) -> None:
    """Print what a visitor had consented to at an instant, under which version, and by which act.

    JSON-LD in DPV terms with the fields of ISO/IEC TS 27560 and those that Kazakhstan's law 94-V, article 8,
    asks for. Proofs are written by `impersonal run` and kept for controller.proof_days; REFERENCE is the
    pseudonym that the privacy page shows. The access is recorded. A choice is made in a browser, so an
    account has none.

    \b
    impersonal rights receipt 0123456789abcdef0123456789abcdef
    impersonal rights receipt 0123456789abcdef0123456789abcdef --at 2026-11-24T13:00:00Z
    """
    from collector.words import words  # noqa: PLC0415
    from pipeline import accesses, kept_policy, proofs  # noqa: PLC0415
    from pipeline.consent_receipt import receipt as made  # noqa: PLC0415

    if reference.is_account:
        raise ProofError(
            "an account makes no choices, its browsers do: name the reference that the privacy page shows "
            "for the browser"
        )
    loaded, subject = load(data / POLICY), reference.pseudonym
    found = proofs.of(data, subject)
    accesses.record(data, now_ms, "rights receipt", subject, len(found))
    at_ms = now_ms() if at is None else at
    told = made(loaded, kept_policy.kept(data), found, subject, at_ms, words(language))
    click.echo(terminal.as_json(told))


@click.command()
@click.option("--recipient", required=True, help="Who receives the records, as the policy names them.")
@click.option(
    "--ground",
    type=click.Choice(_GROUNDS),
    required=True,
    help="Which case of the policy's clause 3.3 it is.",
)
@click.option("--purpose", help="Only what was recorded for this purpose.")
@click.option("--reference", default="", help="The order, contract or case, in your words; law needs one.")
@click.option("--from", "start", type=_DAY, help="First UTC day.  [default: the first there is]")
@click.option("--until", "end", type=_DAY, help="Last UTC day.  [default: the last there is]")
@click.option("--subject", type=Reference(), help="One visitor's or account's reference; breach needs one.")
@click.option(
    "--to",
    type=click.Path(dir_okay=False, path_type=Path),
    required=True,
    help="A new file outside the data directory, for its owner only: one JSON object a line.",
)
@data_option
def transfer(
    recipient: str,
    ground: str,
    purpose: str | None,
    reference: str,
    start: datetime | None,
    end: datetime | None,
    subject: Subject | None,
    to: Path,
    data: Path,
) -> None:
    """Hand records of visitors to a third party: what the ground covers, and a line in the register.

    \b
    necessary  what rests on a contract, where the policy names the recipient for it
    consent    what a visitor granted, where the version then, the one agreed to and the one now name the
               recipient for it
    law        everything that is held; needs --reference, the order
    sale       what the version then names the recipient, or "acquirer", for
    breach     one visitor's records that do not rest on consent; needs --subject

    Never taken: visitors who erased, purposes that were withdrawn or refused or are over their retention, and
    what needs a consent that has lapsed (13 months after it was given) or that no proof shows. Fields and
    times are cut to what the purposes may use. Published statistics need no gate: they are impersonal, copy
    published/ as you like.

    \b
    impersonal rights transfer --recipient Couriers --ground necessary --to couriers.jsonl
    impersonal rights transfer --recipient Court --ground law --reference "order 12/2026" --to court.jsonl
    """
    from pipeline.transfer_gate import Order  # noqa: PLC0415
    from pipeline.transfers import transfer as hand_over  # noqa: PLC0415

    loaded = load(data / POLICY)
    order = Order(
        recipient,
        ground,
        purpose,
        reference,
        start.date() if start else date.min,
        end.date() if end else date.max,
        subject.pseudonym if subject else None,
    )
    with interruptible():
        done = hand_over(data, loaded, now_ms, order, to)
    click.echo(
        f"Transfer {done.number} to {recipient}: {done.records:,} records of {done.subjects:,} visitors"
    )


@click.command()
@format_option("table", "json", "csv")
@data_option
def transfers(form: str, data: Path) -> int:
    """List what was handed to whom on which ground, and verify the register.

    Each line is chained to the one before: a line that was changed, taken out or moved is named, with exit
    status 1. Keep the last line's hash elsewhere to tell a register that was written anew. Lines are kept
    for controller.proof_days.

    \b
    impersonal rights transfers
    impersonal rights transfers --format json
    """
    from pipeline import transfers as register  # noqa: PLC0415

    rows = [_transfer_row(told) for told in register.listed(data)]
    shown = ("number", "at", "state", "recipient", "ground", "records", "subjects", "user")
    return _show(rows, register.faults(data), form, shown)


@click.command()
@format_option("table", "json", "csv")
@data_option
def accesses(form: str, data: Path) -> int:
    """List which operator's commands looked at single records, and verify the register.

    Who the records were about stands there as a one-way mark. Lines are chained and kept like transfers;
    exit status 1 where one was changed, taken out or moved.

    \b
    impersonal rights accesses
    impersonal rights accesses --format csv
    """
    from pipeline import chain  # noqa: PLC0415

    with chain.opened(data) as database:
        lines = chain.lines(database, "access")
        faults = chain.faults(database, "access")
    rows = [
        {"number": line.number, "at": instant_of(line.at_ms), **line.entry, "hash": line.hash}
        for line in lines
    ]
    return _show(rows, faults, form, ("number", "at", "command", "count", "subject", "user"))


def _transfer_row(told: dict[str, Any]) -> dict[str, Any]:
    names = ("recipient", "ground", "purpose", "reference", "from", "to", "subject", "records", "subjects")
    state = "completed" if told["completed"] else "not completed"
    lists = {name: " ".join(told[name]) for name in ("purposes", "versions")}
    rest = {name: told[name] for name in ("user", "sha256", "hash")}
    about = {name: told[name] for name in names}
    return {
        "number": told["number"],
        "at": instant_of(told["at_ms"]),
        "state": state,
        **about,
        **lists,
        **rest,
    }


def _show(rows: list[dict[str, Any]], faults: list[str], form: str, shown: tuple[str, ...]) -> int:
    """Print a register and what is wrong with it; give back the exit status."""
    if form == "json":
        click.echo(terminal.as_rows(rows))
    elif form == "csv":
        click.echo(terminal.as_csv(rows))
    elif rows:
        click.echo(terminal.as_columns(rows, shown))
        click.echo(f"Newest line, to keep elsewhere: {rows[-1]['number']} {rows[-1]['hash']}")
    else:
        click.echo("Nothing yet")
    for fault in faults:
        click.echo(f"impersonal: {fault}; compare with a copy kept elsewhere", err=True)
    return FAILED if faults else 0
