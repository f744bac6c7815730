"""What a site that only mounts the middleware installs and imports."""

import os
import resource
import subprocess
import sys
import venv
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.benchmarks.table import Row

ROOT = Path(__file__).parents[2]
MIB = 1024 * 1024


def size(directory: Path) -> float:
    """MiB of a directory's files."""
    return sum(path.stat().st_size for path in directory.rglob("*") if path.is_file()) / MIB


def installed(*packages: str) -> float:
    """MiB of a fresh environment with these packages, bytecode included."""
    with TemporaryDirectory() as directory:
        venv.create(directory, with_pip=False)
        python = Path(directory) / "bin" / "python"
        uv = Path(sys.prefix) / "bin" / "uv"
        command = [
            str(uv),
            "pip",
            "install",
            "--quiet",
            "--compile-bytecode",
            "--python",
            str(python),
            *packages,
        ]
        subprocess.run(command, check=True)
        return size(next(Path(directory).glob("lib/python*/site-packages")))


def imports_s(*modules: str) -> list[float]:
    """Seconds of CPU to start an interpreter and import some modules, of each the best of 25 in turns.

    With bytecode, which installers write and an editable install has after its first run: kept aside here, or
    an environment that forbids it would measure the compiler.
    """
    best_s = dict.fromkeys(modules, float("inf"))
    with TemporaryDirectory() as bytecode:
        environment = os.environ | {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": bytecode}
        for _ in range(25):
            for each in modules:
                before = resource.getrusage(resource.RUSAGE_CHILDREN)
                command = [sys.executable, "-c", f"import {each}"]
                subprocess.run(command, check=True, cwd=ROOT, env=environment)
                after = resource.getrusage(resource.RUSAGE_CHILDREN)
                spent_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
                best_s[each] = min(best_s[each], spent_s)
    return list(best_s.values())


def rows() -> list[Row]:
    """Import time and installed size, beside starlette."""
    framework, own = "starlette.applications", "collector"
    base, alone, both = imports_s(framework, own, f"{framework}, {own}, {own}.routes")
    starlette = installed("starlette")
    light = installed(str(ROOT)) - starlette
    located = installed(f"{ROOT}[geo]") - starlette
    return [
        Row(
            "import collector (interpreter included; target ≤ 150 ms)",
            f"{alone * 1000:.0f} ms",
            "import starlette.applications",
            alone / base,
        ),
        Row("the same in a site that runs Starlette", f"+{(both - base) * 1000:.0f} ms"),
        Row("installed beside starlette (target ≤ 20 MiB)", f"{light:.1f} MiB"),
        Row("the same with geoip2 (target ≤ 35 MiB)", f"{located:.1f} MiB"),
    ]
