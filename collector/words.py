"""The words visitors read, in their language: one TOML file a language under browser/words.

Another language is one more file with the same keys; what it leaves out is said in English. A file may be of
one region alone, as pt-br.toml.
"""

import re
import tomllib
from collections.abc import Iterator, Mapping
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

ENGLISH = "en"
_WANTED = re.compile(r"\s*([A-Za-z]{1,8}(?:-[A-Za-z0-9]{1,8})*)\s*(?:;\s*q=([01](?:\.\d{0,3})?))?\s*")
_MOST_WANTED = 16  # entries of Accept-Language that are looked at


class Words:
    """The sentences of one language, by dotted key."""

    def __init__(self, language: str, said: Mapping[str, str], english: Mapping[str, str]) -> None:
        self.language = language
        self._said = said
        self._english = english

    def __call__(self, key: str, **values: object) -> str:
        """A sentence with its values in place of {names}. Raises KeyError for a key that English lacks."""
        text = self._said.get(key) or self._english[key]
        return text.format_map(values) if values else text

    def get(self, key: str, otherwise: str) -> str:
        """A sentence that not every name has, for example one for each field."""
        return self._said.get(key) or self._english.get(key) or otherwise


def languages() -> tuple[str, ...]:
    """The languages there are words in, English first."""
    return tuple(sorted(_all(), key=lambda language: (language != ENGLISH, language)))


def words(language: str) -> Words:
    """The words of a language; English for one there are none in."""
    known = _all()
    found = language if language in known else ENGLISH
    return Words(found, known[found], known[ENGLISH])


@cache
def _all() -> Mapping[str, Mapping[str, str]]:
    directory = Path(__file__).with_name("browser") / "words"
    return {
        file.stem.lower(): dict(_flat(tomllib.loads(file.read_text("utf-8"))))
        for file in directory.glob("*.toml")
    }


def _flat(table: Mapping[str, Any], prefix: str = "") -> Mapping[str, str]:
    """Nested tables as dotted keys."""
    found: dict[str, str] = {}
    for name, value in table.items():
        if isinstance(value, dict):
            found |= _flat(value, f"{prefix}{name}.")
        else:
            found[prefix + name] = value
    return found


@lru_cache(maxsize=1024)
def _preferred(header: str) -> str:
    known = _all()
    wanted = []
    for place, entry in enumerate(header.split(",")[:_MOST_WANTED]):
        if match := _WANTED.fullmatch(entry):
            wanted.append((-float(match[2] or 1), place, match[1].lower()))
    spoken = (found for weight, _, tag in sorted(wanted) if weight for found in _narrowest_first(tag))
    return next((language for language in spoken if language in known), ENGLISH)


def _narrowest_first(tag: str) -> Iterator[str]:
    """pt-br, then pt (RFC 4647, 3.4)."""
    while tag:
        yield tag
        tag = tag.rpartition("-")[0]


def preferred(accept_language: str) -> str:
    """The language that a browser's Accept-Language likes best among those there are words in."""
    return _preferred(accept_language) if len(accept_language) <= 256 else ENGLISH
