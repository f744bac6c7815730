"""HTML from templates: every value is escaped where it is put in."""

from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jinja2 import Environment


@cache
def _environment() -> "Environment":
    # Imported with the first page: a worker starts without it.
    from jinja2 import Environment, PackageLoader, StrictUndefined  # noqa: PLC0415

    return Environment(
        loader=PackageLoader("collector.browser"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def render(template: str, **values: object) -> str:
    """The template browser/templates/<template>.html with its values.

    Raises  jinja2.UndefinedError for a value that is missing
    """
    return _environment().get_template(f"{template}.html").render(values)


def warm() -> None:
    """Load the engine now rather than with the first page: some 50 ms."""
    _environment()
