"""The console script: one boundary between what users can cause, said in a line, and bugs."""

import os
import sys
from collections.abc import Sequence

from collector.errors import PolicyError
from pipeline.boundary import FAILED, in_a_line, interruptible, is_expected

EXTRA = ("click", "rich", "duckdb", "pandas", "numpy", "opendp", "prometheus_client")
"""Packages that a site which only mounts the middleware does not install."""


def main() -> None:
    """Run the command line and leave with its exit status."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Run one command; the exit status is 0 done, 1 refused or failed, 2 wrong usage."""
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="replace")  # type: ignore[union-attr]  # σ on a terminal without it
    try:
        from pipeline.commands import invoke  # noqa: PLC0415 - what it imports may not be installed

        with interruptible():
            status = invoke(arguments)
        sys.stdout.flush()
    except ModuleNotFoundError as error:
        if str(error.name).split(".", maxsplit=1)[0] not in EXTRA:
            raise
        return _fail(f'{error.name} is not installed: pip install "impersonal[pipeline]"')
    except BrokenPipeError:
        # The reader has gone (`| head`); at exit Python would flush into nothing and complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except KeyboardInterrupt:
        return _fail("stopped; nothing is half done, the next run goes on from here")
    except PolicyError as error:
        return _fail(*error.mistakes)
    except Exception as error:
        if not is_expected(error):
            raise
        return _fail(in_a_line(error))
    return status


def _fail(*lines: str) -> int:
    for line in lines:
        print(f"impersonal: {line}", file=sys.stderr)
    return FAILED
