"""What a visitor declares about themselves: checked by its type, never for its truth."""

from collections.abc import Mapping
from datetime import date

from collector.errors import DeclarationError
from collector.policy import Attribute

Value = str | int | bool
"""A declared value as it is stored: a date is its ISO text."""

MAX_TEXT = 200  # characters
MAX_INTEGER = 2**53 - 1  # what JSON readers keep exactly


def checked(attribute: Attribute, value: object) -> Value:
    """A value the host declares, as it is stored.

    Raises  DeclarationError naming what fits
    """
    if isinstance(value, date) and attribute.type == "date":
        return value.isoformat()[:10]
    if isinstance(value, bool):
        fits = attribute.type == "boolean"
    elif isinstance(value, int):
        fits = attribute.type == "integer" and abs(value) <= MAX_INTEGER
    else:
        fits = isinstance(value, str) and _is_text(attribute, value)
    if not fits:
        raise _misfit(attribute)
    assert isinstance(value, str | int)  # noqa: S101 - the branches above left nothing else
    return value


def read(attribute: Attribute, text: str) -> Value:
    """A value as a form carries it.

    Raises  DeclarationError naming what fits
    """
    text = text.strip()
    if attribute.type == "boolean":
        words: Mapping[str, bool] = {"true": True, "false": False}
        if text not in words:
            raise _misfit(attribute)
        return words[text]
    if attribute.type == "integer":
        try:
            return checked(attribute, int(text[:32]))
        except ValueError:
            raise _misfit(attribute) from None
    return checked(attribute, text)


def _is_text(attribute: Attribute, text: str) -> bool:
    if attribute.type == "choice":
        return text in attribute.options
    if attribute.type == "date":
        try:
            return date.fromisoformat(text).isoformat() == text
        except ValueError:
            return False
    return attribute.type == "text" and 0 < len(text.strip()) <= MAX_TEXT and text.isprintable()


def _misfit(attribute: Attribute) -> DeclarationError:
    fitting = {
        "text": f"1 to {MAX_TEXT} printable characters",
        "choice": " or ".join(attribute.options),
        "integer": "a whole number",
        "boolean": "true or false",
        "date": "a date like 2026-01-31",
    }[attribute.type]
    return DeclarationError(f"{attribute.name} does not fit: give {fitting}")
