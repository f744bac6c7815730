"""What a page loads from the collector: the packaged browser files, ready to serve."""

import hashlib
import re
import string
from importlib.resources import files


def _served(source: str) -> bytes:
    """`beacon.js` without comment lines and white space, each `$name` a letter that the source leaves free.

    Safe only for a source that keeps the rules written in its head; the browser tests run what this returns.
    """
    source = re.sub(r"^\s*//.*$", "", source, flags=re.MULTILINE)
    source = re.sub(r"(?<![\w$])\s+|\s+(?![\w$])", "", source)
    free = [letter for letter in string.ascii_letters if not re.search(rf"\b{letter}\b", source)]
    letters = dict(zip(dict.fromkeys(re.findall(r"\$\w+", source)), free, strict=False))
    return re.sub(r"\$\w+", lambda name: letters[name[0]], source).encode("ascii")


BEACON: bytes = _served(files(__package__).joinpath("beacon.js").read_text("utf-8"))
BEACON_ETAG = f'"{hashlib.sha256(BEACON).hexdigest()[:16]}"'

PRIVACY_CSS: bytes = files(__package__).joinpath("privacy.css").read_bytes()
PRIVACY_CSS_ETAG = f'"{hashlib.sha256(PRIVACY_CSS).hexdigest()[:16]}"'
