"""Who else could read or change what lies in the data directory.

Everything there is for its owner only, but for what says nothing about anyone: the published statistics and
the policy may be read by all, and changed by nobody else either.
"""

import os
import shlex
import stat
from collections.abc import Iterator
from pathlib import Path

import msgspec

from pipeline.options import POLICY
from pipeline.published import PUBLISHED

_READ = stat.S_IRGRP | stat.S_IROTH
_WRITE = stat.S_IWGRP | stat.S_IWOTH


class Exposure(msgspec.Struct, frozen=True):
    """One file or directory that is not its owner's alone."""

    path: str
    problem: str
    remedy: str


def exposures(data: Path) -> list[Exposure]:
    """Every file and directory that others may read or change, or that is not the owner's of `data`; by path.

    A file that goes away meanwhile is none. A link counts as what it leads to and is not entered.
    """
    owner = data.stat().st_uid
    found: list[Exposure] = []
    for path in (data, *_below(data)):
        try:
            known = path.stat()
        except FileNotFoundError:
            continue
        found += _of(path, known, owner, is_public=_is_public(path.relative_to(data)))
    return found


def _below(data: Path) -> Iterator[Path]:
    for directory, directories, files in os.walk(data):
        directories.sort()
        yield from (Path(directory, name) for name in sorted((*directories, *files)))


def _is_public(path: Path) -> bool:
    return path.parts[:1] in ((PUBLISHED,), (POLICY,))


def _of(path: Path, known: os.stat_result, owner: int, is_public: bool) -> Iterator[Exposure]:
    if known.st_uid != owner:
        problem = f"belongs to user {known.st_uid}, the data directory to {owner}"
        yield Exposure(str(path), problem, f"chown {owner} {shlex.quote(str(path))}")
    mode = stat.S_IMODE(known.st_mode)
    acts = {"read": mode & _READ and not is_public, "changed": mode & _WRITE}
    if opened := [act for act, may in acts.items() if may]:
        wanted = "go-w" if is_public else "go-rwx"
        problem = f"can be {' and '.join(opened)} by others (mode {mode:04o})"
        yield Exposure(str(path), problem, f"chmod {wanted} {shlex.quote(str(path))}")
