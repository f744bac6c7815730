"""Disks that fail."""

import ctypes
import errno
import mmap
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.faults.host import Host


class Disk(ctypes.Structure):
    """What faulty_disk.c is told, and what it counts."""

    _fields_ = [
        (name, ctypes.c_int)
        for name in ("write_error", "sync_error", "stalled", "fail_at", "failed_syncs", "repeated_syncs")
    ]
    write_error: int
    sync_error: int
    stalled: int
    fail_at: int
    failed_syncs: int
    repeated_syncs: int
    environment: dict[str, str]


@pytest.fixture(scope="session")
def compiler() -> None:
    """Skips where there is none."""
    if shutil.which("cc") is None and os.environ.get("CI") != "true":
        pytest.skip("what is preloaded needs a C compiler: apt-get install gcc libc6-dev")


@pytest.fixture(scope="session")
def shim(compiler: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """faulty_disk.c, compiled."""
    return compiled(Path(__file__).with_name("faulty_disk.c"), tmp_path_factory.mktemp("shim"))


def compiled(source: Path, directory: Path) -> Path:
    """A library to preload, built in a directory."""
    built = directory / f"{source.stem}.so"
    subprocess.run(["cc", "-Wall", "-O1", "-shared", "-fPIC", "-o", built, source, "-ldl"], check=True)
    return built


def attached(shim: Path, path: Path) -> Disk:
    """A disk in good health, told through a file."""
    path.write_bytes(bytes(ctypes.sizeof(Disk)))
    told = told_by(path)
    told.environment = {"LD_PRELOAD": str(shim), "FAULTY_DISK": str(path)}
    return told


def told_by(path: Path) -> Disk:
    """The structure in a file, shared with the shim."""
    with path.open("r+b") as file:
        return Disk.from_buffer(mmap.mmap(file.fileno(), 0))


@pytest.fixture
def disk(shim: Path, tmp_path: Path) -> Iterator[Disk]:
    """A disk in good health, to be worsened."""
    told = attached(shim, tmp_path / "disk")
    yield told
    told.stalled = 0


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Host]]:
    """Starts sites, and ends them."""
    started: list[Host] = []

    def start(data: Path = tmp_path / "data", **options: object) -> Host:
        host = Host(data, **options)  # type: ignore[arg-type]
        started.append(host)
        return host

    yield start
    for host in started:
        host.end()


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Callable[..., Path]]:
    """Mounts a megabyte of its own, with the options given; skips where that is not permitted."""
    place = tmp_path / "small"
    place.mkdir()

    def mounted(*options: str) -> Path:
        made = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", ",".join(("size=1m", *options)), "impersonal-test", place],
            capture_output=True,
            check=False,
        )
        if made.returncode and os.environ.get("CI") != "true":
            pytest.skip("mounting a filesystem needs root")
        assert made.returncode == 0, made.stderr
        return place

    yield mounted
    subprocess.run(["umount", "--lazy", place], capture_output=True, check=False)


def fill(place: Path) -> Path:
    """Take every byte that is left; gives the file to remove."""
    filler = place / "filler"
    with filler.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError as error:
            assert error.errno == errno.ENOSPC
    return filler
