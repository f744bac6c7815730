"""What a page loads from the collector: the packaged browser files, ready to serve."""

import hashlib
import re
import string
from collections.abc import Callable
from functools import cached_property
from pathlib import Path


def _served(source: str) -> bytes:
    """A script without comment lines and white space, each `$name` a letter that the source leaves free.

    Safe only for a source that keeps the rules written in the head of beacon.js; the browser tests run what
    this returns.
    """
    source = re.sub(r"^\s*//.*$", "", source, flags=re.MULTILINE)
    source = re.sub(r"(?<![\w$])\s+|\s+(?![\w$])", "", source)
    taken = set(re.findall(r"\b[A-Za-z]\b", source))
    free = [letter for letter in string.ascii_letters if letter not in taken]
    letters = dict(zip(dict.fromkeys(re.findall(r"\$\w+", source)), free, strict=False))
    return re.sub(r"\$\w+", lambda name: letters[name[0]], source).encode("ascii")


def _packed(source: str) -> bytes:
    """A style sheet without comments, and white space only where it tells words apart."""
    source = re.sub(r"/\*.*?\*/|\s+", " ", source, flags=re.DOTALL)
    return re.sub(r"\s*([{};,])\s*|(?<=:) ", r"\1", source).strip().encode("ascii")


class File:
    """A file as it is served: read at once, made ready when it is first asked for, in a few milliseconds."""

    def __init__(self, name: str, media_type: str, ready: Callable[[str], bytes]) -> None:
        self.media_type = media_type
        self._source = Path(__file__).with_name(name).read_text("utf-8")
        self._ready = ready

    @cached_property
    def content(self) -> bytes:
        """What is sent."""
        return self._ready(self._source)

    @cached_property
    def etag(self) -> str:
        """Of its content."""
        return f'"{hashlib.sha256(self.content).hexdigest()[:16]}"'


FILES = {
    **{name: File(name, "text/javascript", _served) for name in ("beacon.js", "banner.js")},
    **{name: File(name, "text/css", _packed) for name in ("banner.css", "privacy.css")},
}
