"""Children of a process that has loaded everything: one that is to be killed costs a fork, not an import."""

import os
import subprocess
import sys
from collections.abc import Callable


def alone(act: Callable[..., None], *arguments: object, environment: dict[str, str] | None = None) -> str:
    """Call a function with texts, in a process of its own that has no other thread; gives what it printed."""
    code = f"import sys; from {act.__module__} import {act.__name__} as act; act(*sys.argv[1:])"
    command = [sys.executable, "-c", code, *map(str, arguments)]
    known = os.environ | (environment or {})
    return subprocess.run(command, env=known, stdout=subprocess.PIPE, text=True, check=True).stdout


def forked(act: Callable[[], object]) -> int:
    """Begin something in a forked process; gives that one's id."""
    child = os.fork()
    if child:
        return child
    try:
        act()
        os._exit(0)
    except BaseException:
        sys.excepthook(*sys.exc_info())
    os._exit(1)


def ended(child: int) -> int:
    """Wait for a forked process; minus the signal that ended it, 0, or 1 for an exception."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
