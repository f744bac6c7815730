"""The walls of the house: who may import whom, and what a web worker never loads."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

ROOT = Path(__file__).parent.parent
PACKAGES = ("collector", "pipeline")

CONTRACT = (
    "collector.policy",
    "collector.policy_file",
    "collector.record",
    "collector.enrich",
    "collector.capture",
    "collector.page",
    "collector.errors",
    "collector.declared",
    "collector.answers",
    "collector.rights",
    "collector.standings",
    "collector.words",
    "collector.policy_text",
    "collector.consent",
)
ANSWERS_PEOPLE = (
    "query",
    "segments",
    "charts",
    "server",
    "report",
    "released",
    "rates",
    "caveats",
    "consistency",
    "published",
)
PRIVATE_STORE = (
    "counting",
    "ingest",
    "store",
    "days",
    "run",
    "release",
    "ledger",
    "noise",
    "spec",
    "commitment",
    "rights",
    "chain",
    "proofs",
    "transfers",
    "transfer_gate",
    "accesses",
    "permissions",
    "processing",
    "retention",
    "terms",
    "status",
    "access_log",
    "log_days",
    "log_events",
    "audit",
)


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {
    module_name(path): ast.parse(path.read_text())
    for package in PACKAGES
    for path in sorted((ROOT / package).rglob("*.py"))
}


def imports(module: str) -> Iterator[str]:
    """Every module of the two packages that a module imports, wherever in it the import stands."""
    for node in ast.walk(MODULES[module]):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} imports relatively: spell the package out"
            names = [f"{node.module}.{alias.name}" for alias in node.names] + [str(node.module)]
        else:
            continue
        known = [name for name in names if name in MODULES]
        yield from (name for name in known if name not in PACKAGES or known == [name])


def test_the_walk_sees_the_house() -> None:
    """The walk below finds imports at all: the record is read by ingest."""
    assert "collector.record" in set(imports("pipeline.ingest"))


def test_the_collector_never_imports_the_pipeline() -> None:
    """Wall 1: nothing of the pipeline is reachable from a web worker."""
    for module in MODULES:
        if module.startswith("collector"):
            assert not [name for name in imports(module) if name.startswith("pipeline")], module


def test_the_pipeline_reads_the_contract_only() -> None:
    """Wall 1, other side: of the collector the pipeline imports policy, record, enrich and errors.

    The demo is a site as well: it mounts the collector and drives its simulator.
    """
    for module in MODULES:
        if module.startswith("pipeline"):
            foreign = {name for name in imports(module) if name.startswith("collector")}
            if module.startswith("pipeline.demo"):
                foreign = {name for name in foreign if not name.startswith("collector.simulate")}
                foreign -= {"collector", "collector.banner"}  # the tag has the name of its module
            assert foreign <= set(CONTRACT), module


def test_what_answers_people_reads_published_files_only() -> None:
    """Wall 2: query and its like reach neither the private store nor the ledger, by any path."""
    for module in MODULES:
        if module.split(".")[1:2] and module.split(".")[1] in ANSWERS_PEOPLE:
            reached, todo = set[str](), [module]
            while todo:
                for name in imports(todo.pop()):
                    if name not in reached:
                        reached.add(name)
                        todo.append(name)
            assert not {name for name in reached if set(name.split(".")) & set(PRIVATE_STORE)}, module


def test_there_is_one_door_to_publishing() -> None:
    """Only release draws noise for, charges and publishes a statistic; spec asks what noise will cost.

    The audit looks at the noise itself, for its distribution and for seeds, and can do without it.
    """
    allowed_by = {
        "pipeline.noise": {"pipeline.spec", "pipeline.audit.sampler"},
        "pipeline.publish": set[str](),
    }
    for inner, allowed in allowed_by.items():
        importers = {module for module in MODULES if inner in set(imports(module))}
        assert importers == {"pipeline.release"} | allowed, inner


def test_no_import_runs_in_a_circle() -> None:
    """The modules can be put in an order in which each needs only earlier ones."""
    TopologicalSorter({module: set(imports(module)) for module in MODULES}).prepare()


def test_a_web_worker_loads_no_analytics() -> None:
    """`import collector` pulls in none of duckdb, pandas, numpy, opendp, nor geoip2's HTTP clients."""
    heavy = ("duckdb", "pandas", "numpy", "opendp", "geoip2", "aiohttp", "requests", "click", "rich")
    code = f"import sys, collector; print([name for name in {heavy!r} if name in sys.modules])"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert loaded.stdout.strip() == "[]"


def test_a_command_loads_no_web_framework() -> None:
    """`import collector` leaves Starlette, asyncio and the templates to who mounts it."""
    loaded = subprocess.run(
        [sys.executable, "-c", "import sys, collector; print(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert not {"starlette.requests", "starlette.responses", "asyncio", "jinja2"} & set(loaded.stdout.split())
