"""Options that several commands take."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import click

from collector.rights import ACCOUNT
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


class Subject(NamedTuple):
    """Who a command is about."""

    pseudonym: str
    """32 hex digits."""
    is_account: bool
    """Whether it is a signed-in user's, who has declared values and no records."""

    @property
    def reference(self) -> str:
        """As the privacy page shows it."""
        return f"{ACCOUNT}{self.pseudonym}" if self.is_account else self.pseudonym


class Reference(click.ParamType[Subject]):
    """A visitor's pseudonym, or an account's, as the privacy page shows it."""

    name = "reference"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> Subject:
        """The pseudonym in lower case."""
        text = value.strip().lower()
        pseudonym = text.removeprefix(ACCOUNT)
        if not _PSEUDONYM.fullmatch(pseudonym):
            self.fail(
                "use the visitor's reference as the privacy page shows it: 32 hex digits, for an account "
                f"{ACCOUNT} before them",
                param,
                ctx,
            )
        return Subject(pseudonym, pseudonym != text)


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
