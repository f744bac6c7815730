"""Options that several commands take."""

import re
from collections.abc import Callable
from pathlib import Path

import click

from collector.words import ENGLISH, languages

_PSEUDONYM = re.compile(r"[0-9a-f]{32}")

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


class Reference(click.ParamType[str]):
    """A visitor's pseudonym, as the privacy page shows it."""

    name = "reference"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The pseudonym in lower case."""
        text = value.strip().lower()
        if not _PSEUDONYM.fullmatch(text):
            self.fail("use the visitor's pseudonym: 32 hex digits, as the privacy page shows it", param, ctx)
        return text


def reference_argument(command: Callable[..., object]) -> Callable[..., object]:
    """REFERENCE, as the commands take it that are about one visitor."""
    return click.argument("reference", type=Reference())(command)


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
