"""Runs one function in a process of its own, which may fork, be killed or have its noise replaced."""

from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


def in_a_process(function: Callable[P, T], *arguments: P.args, **options: P.kwargs) -> T:
    """What the function returns there. Started afresh: a fork would take this one's threads for its own."""
    with ProcessPoolExecutor(1, get_context("spawn")) as process:
        return process.submit(function, *arguments, **options).result()
