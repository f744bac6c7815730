"""Nothing calls home: not the collector, not the pipeline, not the libraries they stand on."""

import json
import os
import socket
from collections.abc import Callable
from functools import partial
from pathlib import Path

from collector import Collector
from pipeline import cli
from tests.asgi import get, post
from tests.collector.test_middleware import SITE
from tests.faults.conftest import compiled
from tests.forks import alone, ended, forked
from tests.pipeline.test_cli import site, visits, week
from tests.policies import EXEMPT


def reach_out() -> None:
    """What must be seen."""
    with socket.socket() as opened:
        opened.connect_ex(("127.0.0.1", 9))


def collect(data: str) -> None:
    """A page and a consent, recorded."""
    mounted = Collector(SITE, policy=EXEMPT, data=data)
    get(
        mounted,
        "/product/7",
        headers=[("x-forwarded-for", "9.9.9.9"), ("referer", "https://search.example/")],
    )
    kind = [("content-type", "application/json")]
    assert post(mounted, "/_impersonal/consent", b'{"act": "grant"}', kind).status == 200
    mounted.writer.stop()
    assert mounted.writer.counters()["written"] == 2


def command(*arguments: str) -> None:
    """`impersonal`, as from the command line."""
    assert cli.run(arguments) == 0, arguments


def everything(data: str) -> None:
    """Each thing that works on a site, in a process of its own; prints how often each tried a network."""
    counted = Path(os.environ["OUTBOUND"])
    tries = {"imports": counted.stat().st_size}

    def count(name: str, act: Callable[[], None]) -> None:
        counted.write_bytes(b"")
        assert ended(forked(act)) == 0, name
        tries[name] = counted.stat().st_size

    count("reach out", reach_out)
    count("collect", partial(collect, data))
    for arguments in (["policy", "check"], ["run"], ["report", *week()], ["status"]):
        count(arguments[0], partial(command, *arguments, "--data", data))
    print("\n" + json.dumps(tries))


def test_no_process_tries_to_reach_a_network(compiler: None, tmp_path: Path) -> None:
    """Imports, collecting, and every command that works on a site: no connection, and a real one is seen."""
    count = tmp_path / "tries"
    count.write_bytes(b"")
    preloaded = compiled(Path(__file__).with_name("outbound.c"), tmp_path)
    data = site(tmp_path / "data", shares="{}")
    visits(data, days=2)
    said = alone(everything, data, environment={"LD_PRELOAD": str(preloaded), "OUTBOUND": str(count)})
    tries = json.loads(said.splitlines()[-1])
    assert tries.pop("reach out") == 1
    assert tries == dict.fromkeys(("imports", "collect", "policy", "run", "report", "status"), 0)
