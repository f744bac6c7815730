"""Chromium, and somebody who uses it."""

import contextlib
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import BrowserContext, ConsoleMessage, Error

from tests.browser.site import Site

CHROMIUM = "/usr/bin/chromium"
FLAGS = [
    "--no-sandbox",
    "--headless",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP *.localhost 127.0.0.1, MAP elsewhere.example 127.0.0.1",
]


@contextlib.contextmanager
def running(profile: Path, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Chromium as its users start it, with a new profile."""
    if shutil.which(CHROMIUM) is None:
        reason = "the browser tests need Chromium: apt-get install chromium"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    process = subprocess.Popen(
        [CHROMIUM, *FLAGS, f"--user-data-dir={profile}", *arguments], stderr=subprocess.PIPE, text=True
    )
    try:
        yield process
    finally:
        process.terminate()
        process.communicate()


class Visitor:
    """A fresh profile with one tab; the page must neither fail nor say a word on the console."""

    def __init__(self, context: BrowserContext, site: Site) -> None:
        self.context = context
        self.site = site
        self.noise: list[str] = []
        context.on("weberror", lambda error: self.noise.append(str(error.error)))
        context.on("console", self._heard)
        self.page = context.new_page()

    def _heard(self, message: ConsoleMessage) -> None:
        self.noise.append(message.text)

    def open(self, path: str, referer: str | None = None) -> None:
        """Load a page of the site, as from its address or from a link elsewhere."""
        self.page.goto(self.site.origin + path, referer=referer)

    def run(self, script: str) -> Any:
        """Run a script in the page; None where the page is left meanwhile."""
        try:
            return self.page.evaluate(script)
        except Error as error:
            if "context was destroyed" not in error.message:
                raise
            return None

    def reports(self, kind: str, count: int) -> list[dict[str, Any]]:
        """The reports of one kind, once there are `count` of them."""
        return self.site.wait_for(kind, count, self.page.wait_for_timeout)

    def settle(self) -> None:
        """Wait until what the page has reported so far has arrived: a report of our own comes after it."""
        before = self._settled()
        self.run("impersonal('settled')")
        deadline = time.monotonic() + 5
        while self._settled() == before:  # not any event: the page's own may still be on their way
            assert time.monotonic() < deadline, self.site.reports
            self.page.wait_for_timeout(20)
        self.page.wait_for_timeout(60)

    def _settled(self) -> int:
        return sum(body.get("n") == "settled" for body in self.site.bodies("event"))
