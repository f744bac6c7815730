"""The named SQL steps of the pipeline: one file each, its grain in the first line."""

from functools import cache
from importlib.resources import files


@cache
def text(name: str) -> str:
    """The text of one step, for example `counting.visits`."""
    return files("pipeline.sql").joinpath(f"{name}.sql").read_text(encoding="utf-8")
