"""Nothing calls home: not the collector, not the pipeline, not the libraries they stand on."""

import os
import subprocess
import sys
from pathlib import Path

from tests.faults.conftest import compiled
from tests.pipeline.test_cli import CODE, site, visits, week

CONTROL = """
import socket
with socket.socket() as opened:
    opened.connect_ex(("127.0.0.1", 9))
"""
COLLECT = """
import asyncio, sys
from collector import Collector
from tests.asgi import get, post
from tests.collector.test_middleware import SITE
from tests.policies import EXEMPT

site = Collector(SITE, policy=EXEMPT, data=sys.argv[1])
get(site, "/product/7", headers=[("x-forwarded-for", "9.9.9.9"), ("referer", "https://search.example/")])
kind = [("content-type", "application/json")]
assert post(site, "/_impersonal/consent", b'{"act": "grant"}', kind).status == 200
site.writer.stop()
assert site.writer.counters()["written"] == 2
"""


def test_no_process_tries_to_reach_a_network(compiler: None, tmp_path: Path) -> None:
    """Collecting, and every command that works on a site: not one connection, and a real one is seen."""
    count = tmp_path / "tries"
    preloaded = compiled(Path(__file__).with_name("outbound.c"), tmp_path)
    environment = os.environ | {"LD_PRELOAD": str(preloaded), "OUTBOUND": str(count)}

    def tries(code: str, *arguments: str | Path) -> int:
        count.write_bytes(b"")
        command = [sys.executable, "-c", code, *map(str, arguments)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return count.stat().st_size

    assert tries(CONTROL) == 1
    data = site(tmp_path / "data", shares="{}")
    visits(data, days=2)
    assert tries(COLLECT, data) == 0
    for command in (["policy", "check"], ["run"], ["report", *week()], ["status"]):
        assert tries(CODE, *command, "--data", data) == 0, command
