"""Clause 5.1: what others could read or change in the data directory is named, with its remedy."""

import json
import os
import subprocess
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from pipeline.metrics import as_prometheus
from pipeline.permissions import exposures
from pipeline.status import as_json, in_words, read_status

PLACES = ("logs", "events", "keys", "status", "published", "outbox")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data directory as it should be, with a file in each of its directories."""
    data = tmp_path / "data"
    for place in PLACES:
        (data / place).mkdir(mode=0o700, parents=True)
        make(data / place / "file")
    data.chmod(0o700)
    make(data / "rights.sqlite")
    return data


def make(path: Path, mode: int = 0o600) -> Path:
    path.touch()
    path.chmod(mode)
    return path


def test_a_directory_that_is_its_owners_alone_is_well(data: Path) -> None:
    """Nothing to name; published statistics and the policy may be read by all."""
    make(data / "published" / "head.json", 0o644)
    make(data / "policy.toml", 0o644)
    (data / "published").chmod(0o755)
    assert exposures(data) == []
    assert "The data directory is its owner's alone." in list(in_words(read_status(data)))


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602, 0o660, 0o666])
@pytest.mark.parametrize("place", ["logs/file", "keys/file", "rights.sqlite", "events"])
def test_any_bit_for_others_is_found_and_the_remedy_helps(data: Path, place: str, mode: int) -> None:
    """Reading or changing, by group or world, of files and directories; the command that is named ends it."""
    path = data / place
    path.chmod(mode | 0o100 * path.is_dir())
    [found] = exposures(data)
    assert (found.path, found.remedy) == (str(path), f"chmod go-rwx {path}")
    subprocess.run(found.remedy.split(), check=True)
    assert exposures(data) == []


@pytest.mark.parametrize("name", ["policy.toml", "published"])
def test_what_is_public_may_not_be_changed_by_others(data: Path, name: str) -> None:
    """Who could change the policy could widen what is collected."""
    path = data / name
    path.touch()
    path.chmod(0o777)
    [found] = exposures(data)
    assert "can be changed by others (mode 0777)" in found.problem
    assert found.remedy == f"chmod go-w {path}"


def test_the_directory_itself_is_looked_at(data: Path) -> None:
    """It is first; names of visitors' days are not for others either."""
    data.chmod(0o755)
    assert exposures(data)[0].path == str(data)


def test_a_file_of_another_user_is_found(data: Path) -> None:
    """As a run by root leaves it: the site could not read it."""
    if os.getuid():  # only root can give files away
        owner = (data / "logs" / "file").stat().st_uid
        assert owner == data.stat().st_uid
        return
    os.chown(data / "logs" / "file", 12345, -1)
    [found] = exposures(data)
    assert found.problem == "belongs to user 12345, the data directory to 0"
    assert found.remedy == f"chown 0 {data / 'logs' / 'file'}"


def test_status_says_so_in_every_form(data: Path) -> None:
    """In words with the remedy, for a program, for a monitor; and it is not well."""
    (data / "keys" / "file").chmod(0o644)
    status = read_status(data)
    assert not status.is_well and status.lost == {}
    assert f"  {data}/keys/file can be read by others (mode 0644): chmod go-rwx {data}/keys/file" in list(
        in_words(status)
    )
    [exposed] = json.loads(json.dumps(as_json(status)))["exposed"]
    assert exposed["path"] == f"{data}/keys/file"
    samples = {
        sample.name: sample.value
        for family in text_string_to_metric_families(as_prometheus(status))
        for sample in family.samples
    }
    assert samples["impersonal_exposed"] == 1


def test_many_are_counted_not_listed(data: Path) -> None:
    """A data directory copied with the wrong umask does not fill the screen."""
    for n in range(25):
        make(data / "logs" / f"{n}", 0o644)
    assert "  and 5 more" in list(in_words(read_status(data)))
