"""Threads of the collector's own, for calls that wait for the disk."""

from collections.abc import Callable
from functools import partial
from typing import TypeVar

import anyio
import anyio.to_thread

AT_ONCE = 4  # calls, of one worker

T = TypeVar("T")


class Threads:
    """Runs what waits for the disk beside the event loop, not in the threads that the host's handlers use."""

    def __init__(self) -> None:
        self._limiter: anyio.CapacityLimiter | None = None

    async def run(self, act: Callable[..., T], *arguments: object, **named: object) -> T:
        """The result of a call made in a thread."""
        if self._limiter is None:  # made inside a running loop
            self._limiter = anyio.CapacityLimiter(AT_ONCE)
        return await anyio.to_thread.run_sync(partial(act, *arguments, **named), limiter=self._limiter)
