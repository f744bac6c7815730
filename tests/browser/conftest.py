"""One browser and one server for the tests of this package; a site and a profile of its own for each."""

import itertools
import re
import socket
import threading
from collections.abc import Iterator

import pytest
import uvicorn
from playwright.sync_api import Browser, sync_playwright

from tests.browser.site import Site, Sites
from tests.browser.visitor import Visitor, running


# One per package: Playwright keeps an event loop running in the thread, which other tests cannot share.
@pytest.fixture(scope="package")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """One real browser. Playwright's own way to start one switches off what is tested here.

    Pages of its default context are hidden and lose the focus as a person's do; those of a new context are
    always visible and focused.
    """
    attached = ("--remote-debugging-port=0", "--no-startup-window")
    with running(tmp_path_factory.mktemp("profile"), *attached) as process:
        assert process.stderr is not None
        address = next(found[0] for line in process.stderr if (found := re.search(r"ws://\S+", line)))
        threading.Thread(target=process.stderr.read).start()
        with sync_playwright() as playwright:
            yield playwright.chromium.connect_over_cdp(address, no_defaults=True)


@pytest.fixture(scope="package")
def new_site() -> Iterator[Iterator[Site]]:
    """Sites without end, each on an origin of its own that the browser trusts as it trusts https."""
    sites = Sites()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        config = uvicorn.Config(sites.app, log_level="critical", ws="none", lifespan="off")
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        hosts = (f"site{number}.localhost:{listener.getsockname()[1]}" for number in itertools.count())
        yield (sites.by_host.setdefault(host, Site(f"http://{host}")) for host in hosts)
        server.should_exit = server.force_exit = True
        thread.join()


@pytest.fixture
def site(new_site: Iterator[Site]) -> Site:
    """The test's own site."""
    return next(new_site)


@pytest.fixture
def visitor(chromium: Browser, site: Site) -> Iterator[Visitor]:
    """A visitor of the site; at the end the page must have been silent."""
    context = chromium.new_context(viewport={"width": 800, "height": 600})
    person = Visitor(context, site)
    yield person
    context.close()
    assert person.noise == []


@pytest.fixture
def tab(chromium: Browser, site: Site) -> Iterator[Visitor]:
    """The same with a tab of the browser's own window, which other tabs can hide."""
    person = Visitor(chromium.contexts[0], site)
    yield person
    for page in person.context.pages:
        page.close()
    assert person.noise == []
