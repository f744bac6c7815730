"""What a site that only mounts the middleware installs and imports."""

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


def import_s(module: str) -> float:
    """Seconds to start an interpreter and import a module, best of seven."""
    code = (
        "import subprocess, sys, time\n"
        "best = 9.0\n"
        "for _ in range(7):\n"
        "    start = time.perf_counter()\n"
        f"    subprocess.run([sys.executable, '-c', 'import {module}'], check=True)\n"
        "    best = min(best, time.perf_counter() - start)\n"
        "print(best)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    return float(run.stdout)


def rows() -> list[Row]:
    """Import time and installed size, beside starlette."""
    base = import_s("starlette.applications")
    own = import_s("collector")
    starlette = installed("starlette")
    light = installed(str(ROOT)) - starlette
    located = installed(f"{ROOT}[geo]") - starlette
    return [
        Row(
            "import collector (interpreter included; target ≤ 150 ms)",
            f"{own * 1000:.0f} ms",
            "import starlette.applications",
            own / base,
        ),
        Row("installed beside starlette (target ≤ 20 MiB)", f"{light:.1f} MiB"),
        Row("the same with geoip2 (target ≤ 35 MiB)", f"{located:.1f} MiB"),
    ]
