"""Erasing from the logs: a frame is overwritten where it lies, also in a segment that is still written.

A filler is a whole frame of the same length whose payload is spaces. Offsets stay as they are, so neither
the worker that appends nor what is known of consumed bytes notices.
"""

import os
import stat
import zlib
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.store import Segment, find_segments, is_alive

_OVERHEAD = 11  # of a frame: 0x1E, 8 hex digits, space, 0x0A


def overwrite(data: Path, subjects: Collection[str]) -> Counter[str]:
    """Overwrite the frames of these pseudonyms in every segment, and sync; subject → frames.

    The caller holds `store.exclusive`. Raises OSError; called again, it does the rest.
    """
    found: Counter[str] = Counter()
    for segment in find_segments(data) if subjects else ():
        found += _overwrite(data, segment, subjects)
    return found


def is_filler(payload: bytes | None) -> bool:
    """Whether a frame was overwritten."""
    return payload is not None and payload != b"" and not payload.strip(b" ")


def holding(content: bytes, subject: str) -> Iterator[tuple[int, int]]:
    """Where the frames that name a subject begin and end, whole ones and torn ones."""
    wanted = subject.encode()
    at = content.find(wanted)
    while at >= 0:
        start = max(content.rfind(b"\x1e", 0, at), content.rfind(b"\n", 0, at) + 1)
        ends = (content.find(b"\n", at) + 1, content.find(b"\x1e", at))
        end = min((each for each in ends if each > 0), default=len(content))
        yield start, end
        at = content.find(wanted, end)


def _overwrite(data: Path, segment: Segment, subjects: Collection[str]) -> Counter[str]:
    content = segment.path.read_bytes()
    if not content.endswith(b"\n") and _is_open(data, segment):
        content = content[: content.rfind(b"\n") + 1]  # the rest is being written, and by somebody else
    places = {subject: list(holding(content, subject)) for subject in subjects}
    if any(places.values()):
        with _opened(segment.path) as descriptor:
            for start, end in (place for found in places.values() for place in found):
                os.pwrite(descriptor, _filler(end - start), start)
            os.fdatasync(descriptor)
    return Counter({subject: len(found) for subject, found in places.items() if found})


def _is_open(data: Path, segment: Segment) -> bool:
    return bool(segment.path.stat().st_mode & stat.S_IWUSR) and is_alive(data, segment.worker)


def _filler(size: int) -> bytes:
    payload = b" " * (size - _OVERHEAD)
    return b"\x1e%08x %b\n" % (zlib.crc32(payload), payload)


@contextmanager
def _opened(path: Path) -> Iterator[int]:
    """A segment to be written in, whose mode stays as it is: read-only says that it is sealed."""
    mode = stat.S_IMODE(path.stat().st_mode)
    is_sealed = not mode & stat.S_IWUSR
    if is_sealed:
        path.chmod(mode | stat.S_IWUSR)
    try:
        descriptor = os.open(path, os.O_WRONLY)
    finally:
        if is_sealed:
            path.chmod(mode)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
