"""The `policy` commands: what is enforced, as people read it, and what it changes."""

import html
import re
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import click

from collector import policy_text
from collector.errors import ConfigurationError, PolicyError
from collector.policy import Policy, Version
from collector.policy_file import load
from collector.policy_text import Section
from collector.record import now_ms
from collector.words import words
from pipeline import terminal
from pipeline.options import POLICY, data_option, format_option, language_option

_MARKUP = re.compile(r"([\\`*_\[\]<>#|])")


@click.group()
def policy() -> None:
    """The privacy policy that is enforced."""


@policy.command()
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path), required=False)
@data_option
def check(file: Path | None, data: Path) -> int:
    """Say everything that is wrong with a policy, or what it means.

    FILE is DIR/policy.toml unless given. Prints each mistake with its line and remedy and exits 1, or prints
    the versions, the purposes and the noise (σ) that every published statistic gets. A version that was
    changed after `impersonal run` first met it in DIR is a mistake: its text stands in consents.

    \b
    impersonal policy check
    impersonal policy check new-policy.toml
    """
    source = file or data / POLICY
    loaded = load(source)
    from pipeline import check as statistics  # noqa: PLC0415
    from pipeline import kept_policy  # noqa: PLC0415

    if found := statistics.mistakes(loaded) + kept_policy.changed(loaded, kept_policy.kept(data)):
        raise PolicyError([f"{source}: {mistake}" for mistake in found])
    for line in terminal.policy_lines(loaded, now_ms()):
        click.echo(line)
    return 0


@policy.command()
@click.option("--version", "version_id", metavar="ID", help="Which one.  [default: the one in force]")
@language_option
@format_option("md", "html")
@data_option
def show(version_id: str | None, language: str, form: str, data: Path) -> None:
    """Print a version of the policy as prose, in the order of its clauses.

    \b
    impersonal policy show > policy.md
    impersonal policy show --version 2 --language kk --format html > policy.html
    """
    loaded = load(data / POLICY)
    version = _version(loaded, version_id) if version_id else loaded.in_force(now_ms()) or loaded.versions[0]
    said = words(language)
    told = policy_text.sections(loaded, version, said)
    click.echo(_SHOWN[form](policy_text.title(loaded, said), told, language))


@policy.command()
@language_option
@data_option
def history(language: str, data: Path) -> None:
    """List the versions of the policy with their dates, and what each changes, in words.

    \b
    impersonal policy history
    impersonal policy history --language ru
    """
    loaded = load(data / POLICY)
    said = words(language)
    for older, version in pairwise((None, *loaded.versions)):
        assert version is not None  # noqa: S101 - only the first has none before it
        summary = version.summed_up_in(language)
        click.echo(
            said(
                "policy.version",
                id=version.id,
                modified=version.modified,
                effective=version.effective,
                summary=summary,
            )
        )
        for line in policy_text.changes(older, version, said) if older else ():
            click.echo(f"  {line}")


@policy.command()
@click.argument("older", metavar="A")
@click.argument("newer", metavar="B")
@language_option
@data_option
def diff(older: str, newer: str, language: str, data: Path) -> None:
    """Say in words what version B changes against version A; nothing where they ask and promise the same.

    \b
    impersonal policy diff 1 2
    impersonal policy diff 1 2 --language kk
    """
    loaded = load(data / POLICY)
    for line in policy_text.changes(_version(loaded, older), _version(loaded, newer), words(language)):
        click.echo(line)


@policy.command()
@format_option("md", "json")
@data_option
def register(form: str, data: Path) -> None:
    """Print the record of processing activities (GDPR, article 30), from the configuration as it runs.

    Purposes, grounds, categories, recipients, retention, transfers abroad and the measures taken: read from
    policy.toml, from what bounds the statistics, and from the data directory.

    \b
    impersonal policy register > register.md
    impersonal policy register --format json
    """
    from pipeline import processing  # noqa: PLC0415

    found = processing.register(load(data / POLICY), data, now_ms())
    click.echo(terminal.as_json(found) if form == "json" else processing.as_markdown(found))


def _version(loaded: Policy, version_id: str) -> Version:
    version = loaded.version(version_id)
    if version is None:
        known = ", ".join(version.id for version in loaded.versions)
        raise ConfigurationError(f"the policy has no version {version_id}: name one of {known}")
    return version


def _as_markdown(heading: str, told: Sequence[Section], _language: str) -> str:
    return "\n\n".join(_markdown_lines(heading, told))


def _markdown_lines(heading: str, told: Sequence[Section]) -> Iterator[str]:
    yield f"# {_plain(heading)}"
    for section in told:
        yield f"## {_plain(section.title)}"
        yield from map(_plain, section.paragraphs)


def _plain(text: str) -> str:
    """Text that Markdown shows as it is."""
    return _MARKUP.sub(r"\\\1", text)


def _as_html(heading: str, told: Sequence[Section], language: str) -> str:
    shown = html.escape(heading)
    lines = [
        f'<!doctype html>\n<html lang="{language}">',
        f'<meta charset="utf-8">\n<title>{shown}</title>\n<h1>{shown}</h1>',
    ]
    for section in told:
        lines.append(f"<h2>{html.escape(section.title)}</h2>")
        lines += [f"<p>{html.escape(paragraph)}</p>" for paragraph in section.paragraphs]
    return "\n".join((*lines, "</html>"))


_SHOWN = {"md": _as_markdown, "html": _as_html}
