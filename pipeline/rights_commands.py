"""`impersonal rights`: what an operator does for a visitor who writes a letter, and retention at once."""

import secrets
from collections.abc import Mapping
from pathlib import Path

import click
import msgspec

from collector.errors import ConfigurationError
from collector.policy_file import load
from collector.record import COLUMNS, DAY_MS, Record, now_ms
from collector.rights import Rights, receipt_of
from pipeline import terminal
from pipeline.boundary import interruptible
from pipeline.options import POLICY, Subject, data_option, format_option, reference_argument
from pipeline.register_commands import accesses, receipt, transfer, transfers

TOMBSTONE_DAYS = 760
"""The longest that a policy may keep a record: no copy of the logs that may still exist is older."""

_PLACES = {
    "declared": "declared values",
    "logs": "records in the logs",
    "events": "private events",
    "quarantine": "frames in quarantine",
    "outbox": "answers not yet fetched",
    "files": "files rewritten for that",
}
_RETAINED = (
    "Published statistics stay as they are. Each counts a bounded part of a visitor's day, and with noise: "
    "from all of them together nobody can tell with confidence whether this visitor was there (GUARANTEE.md)."
    "\nThe proof of the visitor's choices and of this erasure, and to whom records were handed, stays under "
    "a one-way mark for controller.proof_days; nothing of what was recorded is in it."
)


@click.group()
def rights() -> None:
    """Erase, hand out and expire what is held about visitors.

    A visitor does it alone on the privacy page; these are for a letter. REFERENCE is what that page shows:
    the visitor's pseudonym, 32 hex digits; for what was declared by who is signed in, account- and 32 hex
    digits. Ask for it, since nothing else here says who somebody is.
    """


@rights.command()
@reference_argument
@data_option
def erase(reference: Subject, data: Path) -> None:
    """Erase everything that is held about a visitor, now and for good.

    From the first moment on nothing is collected under the reference any more, whatever cookie comes. Then
    it is overwritten in the logs, and removed from private events, quarantine and declared information. Old
    logs that are put back revive nothing. Says how much was removed where. Of an account, what it declared:
    nothing else is kept under it, and whoever is signed in may declare anew.

    \b
    impersonal rights erase 5f0c1e7a9b3d4f60818283a4b5c6d7e8
    impersonal rights erase account-5f0c1e7a9b3d4f60818283a4b5c6d7e8
    """
    from pipeline.accesses import record  # noqa: PLC0415
    from pipeline.rights.requests import carry_out  # noqa: PLC0415
    from pipeline.store import exclusive  # noqa: PLC0415

    held, number, asked_ms = _held(data), secrets.token_hex(16), now_ms()
    subject = reference.pseudonym
    record(data, now_ms, "rights erase", subject, 0)  # first: what follows may have to wait for a run
    if reference.is_account:
        erased = held.erase_account(subject, receipt_of(number), asked_ms)
        click.echo(f"Erased: {erased:,} declared values of the account")
        return
    held.erase(subject, receipt_of(number), asked_ms, asked_ms + TOMBSTONE_DAYS * DAY_MS)
    click.echo("From now on nothing is collected under this reference")
    with interruptible(), exclusive(data):  # where a run is at work, the next one does the rest
        carry_out(data, now_ms)
    receipt = held.receipt(receipt_of(number))
    click.echo(f"Erased: {_in_words(receipt.counts if receipt else {})}")
    click.echo(_RETAINED)


@rights.command()
@reference_argument
@format_option("json", "csv")
@click.option(
    "--to",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write this file, for its owner only, instead of printing.",
)
@data_option
def access(reference: Subject, form: str, to: Path | None, data: Path) -> None:
    """Hand out everything that is held about a visitor.

    As JSON: declared information with its history, every record of logs and private events, the choices that
    are proven (also of records that are gone) and to whom records were handed. As CSV: the records alone.

    It is the visitor's own copy (GDPR, article 15): give it to nobody but the visitor. The access is recorded
    in the register that `impersonal rights accesses` lists. Records for anybody else, whoever asks, go
    through `impersonal rights transfer`, which asks for recipient and ground.

    \b
    impersonal rights access 5f0c1e7a9b3d4f60818283a4b5c6d7e8 --to answer.json
    """
    from pipeline.accesses import record  # noqa: PLC0415
    from pipeline.rights.access import choices_of, records_of, transfers_of  # noqa: PLC0415
    from pipeline.store import exclusive, replace_private  # noqa: PLC0415

    held, subject = _held(data), reference.pseudonym
    with interruptible(), exclusive(data):
        records = records_of(data, subject)
    record(data, now_ms, "rights access", subject, len(records))
    if form == "csv":
        text = terminal.as_csv([_row(record) for record in records])
    else:
        found = {
            "reference": reference.reference,
            "made_ms": now_ms(),
            "declared": held.declared(subject),
            "history": held.history(subject),
            "records": records,
            "choices": choices_of(data, subject),
            "transfers": transfers_of(data, subject),
        }
        text = terminal.as_json(msgspec.to_builtins(found))
    if to:
        replace_private(to, f"{text}\n")
        click.echo(f"Wrote {len(records):,} records to {to}")
    else:
        click.echo(text)


@rights.command()
@data_option
def expire(data: Path) -> None:
    """Remove everything whose retention is over, as every `impersonal run` does.

    Row by row and field by field, as the purposes of each record end; of rights.sqlite, what its attributes
    and proof_days say. Logs that no run has read are read first, for the proofs of consent in them; but what
    no run has counted is counted no more: where `impersonal run` works, let it come first. The oldest record
    of each kind stands in `impersonal status`.

    \b
    impersonal rights expire
    """
    from pipeline.run import let_go  # noqa: PLC0415
    from pipeline.store import exclusive  # noqa: PLC0415

    policy = load(data / POLICY)
    with interruptible(), exclusive(data):
        wrong = _read_choices(data)
        found = let_go(data, policy, now_ms, is_counted=False)
    for line in list(terminal.expired_lines(found)) or ["Nothing is over its retention"]:
        click.echo(line)
    if wrong:
        raise wrong


def _read_choices(data: Path) -> Exception | None:
    """Keep the proofs of all choices in the logs; give back what went wrong, to be said after retention."""
    from pipeline import proofs  # noqa: PLC0415
    from pipeline.boundary import is_expected  # noqa: PLC0415
    from pipeline.ingest import ingest  # noqa: PLC0415

    try:
        ingest(data, now_ms, lambda *_: None)
        proofs.keep(data)
    except Exception as error:
        if not is_expected(error):
            raise
        return error
    return None


def _held(data: Path) -> Rights:
    if not data.is_dir():
        raise ConfigurationError(f"{data} does not exist: name the site's data directory with --data")
    return Rights(data)


def _in_words(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{counts.get(place, 0):,} {words}" for place, words in _PLACES.items())


def _row(record: Record) -> dict[str, object]:
    values = {name: getattr(record, name) for name, _ in COLUMNS}
    return values | {"purposes": "+".join(record.purposes)}


rights.add_command(receipt)
rights.add_command(transfer)
rights.add_command(transfers)
rights.add_command(accesses)
