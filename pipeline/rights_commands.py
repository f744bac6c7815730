"""The `rights` commands."""

import click

from pipeline.register_commands import accesses, receipt, transfer, transfers


@click.group()
def rights() -> None:
    """What visitors are entitled to, and what was done with their records."""


rights.add_command(receipt)
rights.add_command(transfer)
rights.add_command(transfers)
rights.add_command(accesses)
