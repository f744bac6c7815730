"""The soak itself does not rot: a few seconds of it."""

import subprocess
import sys


def test_a_short_soak_keeps_what_it_promised(compiler: None) -> None:
    """Random faults under traffic, killed runs, and a day that closes: nothing that was written is lost."""
    command = [sys.executable, "-m", "tests.soak", "--minutes", "0.1", "--workers", "2"]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    assert "written and lost: 0" in run.stdout
