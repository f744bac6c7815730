"""Log files as people keep them: plain, .gz or .zst, or standard input; each known by how it begins."""

import gzip
import io
import re
import sys
import zlib
from collections.abc import Iterable, Iterator
from hashlib import blake2b
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from collector.errors import ImpersonalError

STDIN = "-"
PREFIX_BYTES = 4096  # of the decompressed log: about twenty lines, and no two logs have twenty in common
READ_BYTES = 1024 * 1024  # read at a time
_ZSTD_BYTES = 4096  # compressed, at a time: what becomes of them still fits into memory
_GZIP_MAGIC, _ZSTD_MAGIC = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
_NAME = re.compile(r"access-log-(?P<length>\d+)-(?P<digest>[0-9a-f]{64})")


class LogFileError(ImpersonalError):
    """A log file cannot be read to its end."""


class LogFile:
    """One log and its beginning.

    Raises  LogFileError, OSError, when it is entered and when it is read
    """

    def __init__(self, name: str) -> None:
        """Name a file, or standard input by "-"."""
        self.name = "standard input" if name == STDIN else Path(name).name
        self.size = 0 if name == STDIN else Path(name).stat().st_size
        """Bytes on disk; 0 where nobody knows."""
        self.done = 0
        """Bytes of it that are read."""
        self.head = b""
        """Its first READ_BYTES, decompressed."""
        self._path = name

    def __enter__(self) -> Self:
        raw: Any = sys.stdin.buffer if self._path == STDIN else Path(self._path).open("rb")
        self._raw = raw
        try:
            self._stream = self._decompressed(raw.peek(4)[:4])
            self.head = self._read()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._raw is not sys.stdin.buffer:
            self._raw.close()

    def _decompressed(self, magic: bytes) -> Any:
        if magic.startswith(_GZIP_MAGIC):
            return gzip.open(self._raw)
        return io.BufferedReader(_Zstd(self._raw), READ_BYTES) if magic == _ZSTD_MAGIC else self._raw

    def _read(self) -> bytes:
        try:
            block: bytes = self._stream.read(READ_BYTES)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise LogFileError(
                f"{self.name} is cut or damaged ({error}): nothing was imported, give a whole copy"
            ) from None
        self.done = self._raw.tell() if self.size else self.done + len(block)
        return block

    def chunks(self, start: int) -> Iterator[tuple[int, bytes]]:
        """The log from an offset on, in whole lines: where a chunk begins, and its bytes.

        A line longer than READ_BYTES is damage and comes in pieces.
        """
        end, rest, block = 0, b"", self.head
        while block:
            skipped, end = start - end, end + len(block)
            if end > start:
                rest += block[max(0, skipped) :]
                cut = rest.rfind(b"\n") + 1 or (len(rest) if len(rest) >= READ_BYTES else 0)
                if cut:
                    yield end - len(rest), rest[:cut]
                rest = rest[cut:]
            block = self._read()
        if rest:
            yield end - len(rest), rest


class _Zstd(io.RawIOBase):
    """The decompressed bytes of zstd frames; unlike the package's own reader it notices a cut file."""

    def __init__(self, raw: Any) -> None:
        try:
            import zstandard  # noqa: PLC0415 - only who has such logs needs it
        except ImportError:
            raise LogFileError('.zst needs zstandard: pip install "impersonal[pipeline]"') from None
        self._raw = raw
        self._error = zstandard.ZstdError
        self._new_frame = zstandard.ZstdDecompressor().decompressobj
        self._frame = self._new_frame()
        self._is_whole = True  # no frame is begun and not ended
        self._left = b""  # compressed
        self._ready = b""  # decompressed

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill a buffer, or a part of it."""
        while not self._ready and (block := self._left or self._raw.read(_ZSTD_BYTES)):
            self._decompress(block)
        if not self._ready and not self._is_whole:
            raise EOFError("its last frame is not whole")
        count = min(len(buffer), len(self._ready))
        buffer[:count] = self._ready[:count]
        self._ready = self._ready[count:]
        return count

    def _decompress(self, block: bytes) -> None:
        try:
            self._ready = self._frame.decompress(block)
        except self._error as error:
            raise EOFError(str(error)) from None
        self._is_whole, self._left = self._frame.eof, b""
        if self._is_whole:
            self._left, self._frame = self._frame.unused_data, self._new_frame()


def name_of(head: bytes, key: bytes) -> str:
    """What a log is known by: a keyed hash of its beginning, whatever its file is called.

    Keyed, because a log of one line has so few possible contents that its hash could be tried out.
    """
    prefix = head[:PREFIX_BYTES]
    return f"access-log-{len(prefix)}-{blake2b(prefix, key=key, digest_size=32).hexdigest()}"


def is_name(text: str) -> bool:
    """Whether a manifest speaks of a log by this, rather than of a collector's segment."""
    return bool(_NAME.fullmatch(text))


def known_as(head: bytes, key: bytes, names: Iterable[str]) -> list[str]:
    """Those of the names by which a log was known, when it was shorter perhaps."""
    found = []
    for name in names:
        match = _NAME.fullmatch(name)
        if match and (length := int(match["length"])) <= len(head) and name == name_of(head[:length], key):
            found.append(name)
    return found
