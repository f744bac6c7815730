"""The soak itself does not rot: a quarter of a minute of it."""

import os
import shutil
import subprocess
import sys

import pytest


@pytest.mark.skipif(
    shutil.which("cc") is None and os.environ.get("CI") != "true",
    reason="a disk that fails on demand needs a C compiler: apt-get install gcc libc6-dev",
)
def test_a_short_soak_keeps_what_it_promised() -> None:
    """Random faults under traffic, killed runs, and a day that closes: nothing that was written is lost."""
    run = subprocess.run(
        [sys.executable, "-m", "tests.soak", "--minutes", "0.25"], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert "written and lost: 0" in run.stdout
