"""Options that several commands take."""

from collections.abc import Callable
from pathlib import Path

import click

from collector.words import ENGLISH, languages

POLICY = "policy.toml"
"""The policy's name in the data directory."""


def data_option(command: Callable[..., object]) -> Callable[..., object]:
    """`--data DIR`, as every command takes it."""
    return click.option(
        "--data",
        type=click.Path(file_okay=False, path_type=Path),
        envvar="IMPERSONAL_DATA",
        default=Path("data"),
        show_default=True,
        help="The site's data directory; also $IMPERSONAL_DATA.",
    )(command)


def format_option(*formats: str) -> Callable[[Callable[..., object]], Callable[..., object]]:
    """`--format`, as every command that prints rows takes it."""
    return click.option(
        "--format",
        "form",
        type=click.Choice(formats),
        default=formats[0],
        show_default=True,
        help="For people, or for programs.",
    )


def language_option(command: Callable[..., object]) -> Callable[..., object]:
    """`--language`, as the commands take it that print what visitors read."""
    return click.option(
        "--language",
        type=click.Choice(languages()),
        default=ENGLISH,
        show_default=True,
        help="Of the text.",
    )(command)
