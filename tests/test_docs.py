"""What can be set, asked or run is documented, and the documents agree with the code."""

import inspect
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

import collector
from collector import Collector
from pipeline.commands import impersonal as cli

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def commands(group: click.Group, name: str = "impersonal") -> Iterator[tuple[str, click.Command]]:
    """Every command that does something, with its full name."""
    for sub_name, command in group.commands.items():
        full_name = f"{name} {sub_name}"
        if isinstance(command, click.Group):
            yield from commands(command, full_name)
        if not isinstance(command, click.Group) or command.invoke_without_command:
            yield full_name, command


@pytest.mark.parametrize(("name", "command"), list(commands(cli)))
def test_every_command_and_flag_explains_itself(name: str, command: click.Command) -> None:
    """A help text with an example, a sentence for each flag, and a place in the README."""
    assert command.help and name in command.help, "an example of its use"
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert parameter.help, parameter.name
    assert name in README


def test_every_argument_of_the_collector_is_documented() -> None:
    """The README's table has a row for each, the docstring a line."""
    arguments = [
        name for name in inspect.signature(Collector.__init__).parameters if name not in ("self", "app")
    ]
    for name in arguments:
        assert re.search(rf"^\| `{name}` \|", README, re.MULTILINE), name
        assert f"{name}:" in (Collector.__init__.__doc__ or ""), name


def test_what_the_package_exports_exists_and_is_explained() -> None:
    """__all__ is true, sorted and documented."""
    assert collector.__all__ == sorted(collector.__all__)
    for name in collector.__all__:
        assert inspect.getdoc(getattr(collector, name)), name


def test_the_changelog_begins_with_the_version() -> None:
    """One version, said once in each place."""
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    first = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert first and first[1] == version


def test_what_security_claims_is_held_by_tests_that_exist() -> None:
    """Every test and every key that SECURITY.md names is there, and no key is left out."""
    text = (ROOT / "SECURITY.md").read_text()
    named = re.findall(r"`(tests/[\w/]+\.py)`", text)
    assert named and all((ROOT / path).is_file() for path in named)
    sources = "".join(
        path.read_text() for path in (*ROOT.glob("collector/*.py"), *ROOT.glob("pipeline/*.py"))
    )
    assert set(re.findall(r"`([\w-]+\.key)`", text)) == set(re.findall(r'"([\w-]+\.key)"', sources))


def test_the_readme_mounts_the_collector_as_it_says() -> None:
    """The Python of the README compiles, and its commands exist."""
    for block in re.findall(r"```python\n(.*?)```", README, re.DOTALL):
        compile(block, "README.md", "exec")
    known = {name for name, _ in commands(cli)}
    for line in re.findall(r"^\$ (impersonal [a-z]+(?: [a-z]+)?)", README, re.MULTILINE):
        assert any(line.startswith(name) for name in known), line
