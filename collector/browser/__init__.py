"""What a page loads from the collector: the packaged browser files, ready to serve."""

import re
import string
from importlib.resources import files


def _served(source: str) -> bytes:
    """`beacon.js` without comment lines and white space, each `$name` one capital letter.

    Safe only for a source that keeps the rules written in its head; the browser tests run what this returns.
    """
    source = re.sub(r"^\s*//.*$", "", source, flags=re.MULTILINE)
    source = re.sub(r"(?<![\w$])\s+|\s+(?![\w$])", "", source)
    letters = dict(zip(dict.fromkeys(re.findall(r"\$\w+", source)), string.ascii_uppercase, strict=False))
    return re.sub(r"\$\w+", lambda name: letters[name[0]], source).encode("ascii")


BEACON: bytes = _served(files(__package__).joinpath("beacon.js").read_text("utf-8"))
