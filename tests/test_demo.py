"""The demo, run as a user runs it: the real command, a real site on loopback, a real browser."""

import base64
import json
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import duckdb
import httpx
import pytest
from playwright.sync_api import sync_playwright
from scipy.stats import binom

from collector.record import FIELDS, decode, frames
from pipeline.demo.disk import found_on_disk

COMMAND = Path(sys.executable).with_name("impersonal")
SAMPLES = Path(__file__).parent.parent / "sample_logs"
AGENT = "Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0"


def demo(*arguments: str | Path) -> "subprocess.CompletedProcess[str]":
    command = [COMMAND, "demo", *arguments]
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=300)


def records_of(logs: Path) -> list[dict[str, object]]:
    """Every record under a directory of logs; a damaged frame fails."""
    found = []
    for segment in sorted(logs.rglob("*.log")):
        for frame in frames(segment.read_bytes()):
            assert frame.payload is not None, (segment, frame)
            decode(frame.payload)
            found.append(json.loads(frame.payload))
    return found


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A demo's data directory and what it reported."""
    data = tmp_path_factory.mktemp("demo") / "data"
    done = demo("--no-serve", "--visitors", "200", "--days", "2", "--start", "2026-11-16", "--data", data)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return data, done.stdout


def test_published_intervals_hold_the_truth(finished: tuple[Path, str]) -> None:
    """As many intervals hold the truth as promised, give or take a chance of one in a million."""
    found = re.search(r"([\d,]+) of ([\d,]+) published intervals hold the truth", finished[1])
    assert found is not None
    inside, cells = (int(number.replace(",", "")) for number in found.groups())
    assert cells > 300
    assert binom.cdf(inside, cells, 0.95) > 1e-6
    assert binom.sf(inside - 1, cells, 0.95) > 1e-6


def test_every_record_is_accounted_for(finished: tuple[Path, str]) -> None:
    """Each kind of visitor left exactly the records due, and nothing forbidden stands on the disk."""
    _, _, collected = finished[1].partition("What was collected, and why")
    assert "✗" not in collected
    for kind in ("refuses", "ignores the bar", "sends GPC", "sends DNT", "bot: ai"):
        assert re.search(rf"^ {kind} +\d+ +\d+ +\d+ +\d+ ✓", collected, re.MULTILINE), kind
    assert re.search(r"raw addresses +\d+ +0 ✓ +0 ✓", collected)
    assert re.search(r"raw user agents +\d+ +0 ✓ +0 ✓", collected)
    accounts = re.search(r"([\d,]+) accepted = ([\d,]+) written \+ 0 dropped \+ 0 queued", collected)
    assert accounts is not None
    assert accounts[1] == accounts[2]


def test_totals_and_lists_are_published(finished: tuple[Path, str]) -> None:
    """Seven days of totals, the empty ones too, and one week of each list."""
    published = finished[0] / "published"
    assert len(list((published / "visitors").glob("day-*.parquet"))) == 7
    for statistic in ("pages", "entry_pages", "countries", "browsers", "devices"):
        assert [file.name for file in (published / statistic).iterdir()] == ["week-2026-11-16.parquet"]


def test_a_foreign_directory_is_left_alone(tmp_path: Path) -> None:
    """What no demo made is not emptied: one line says so, and the exit status is 1."""
    (tmp_path / "thesis.txt").write_text("years of work")
    done = demo("--no-serve", "--data", tmp_path)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "name another place with --data" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_start_that_is_no_monday_is_refused(tmp_path: Path) -> None:
    """Lists are published for whole ISO weeks: another first day is refused before anything is touched."""
    done = demo("--no-serve", "--start", "2026-11-17", "--data", tmp_path / "data")
    assert (done.returncode, done.stdout) == (1, "")
    assert "is no Monday" in done.stderr
    assert not (tmp_path / "data").exists()


RANDOM = ("id", "visitor")


def without_chance(records: list[dict[str, object]]) -> Counter[str]:
    return Counter(
        json.dumps({key: value for key, value in record.items() if key not in RANDOM}, sort_keys=True)
        for record in records
    )


def test_a_seed_makes_the_same_records(tmp_path: Path) -> None:
    """Two demos of one seed write the same logs but for random identifiers, and these are the sample logs."""
    made = "--keep-logs --visitors 100 --days 2 --seed 1 --start 2026-11-16"
    assert f"impersonal demo {made}\n" in (SAMPLES / "README.md").read_text()
    done = demo(*made.split(), "--data", tmp_path / "data")
    assert done.returncode == 0, done.stderr
    records = records_of(tmp_path / "data" / "logs")
    samples = records_of(SAMPLES / "logs")
    assert without_chance(records) == without_chance(samples)
    visitors = {record["visitor"] for record in records if "visitor" in record}
    assert visitors.isdisjoint(record.get("visitor") for record in samples)


def test_sample_logs_are_small_and_described() -> None:
    """The samples take less than 300 kB, and their README has every field's row as FIELDS has it."""
    assert sum(path.stat().st_size for path in SAMPLES.rglob("*") if path.is_file()) < 300_000
    text = (SAMPLES / "README.md").read_text()
    for field in FIELDS:
        assert f"| `{field.name}` | {field.type} | {field.category}: {field.level} | {field.doc} |" in text
    described = set(re.findall(r"^\| `(\w+)`", text, re.MULTILINE))
    assert {key for record in records_of(SAMPLES / "logs") for key in record} <= described


def test_the_search_finds_what_is_there(tmp_path: Path) -> None:
    """An address is found as text, hex and base64, inside compressed Parquet, SQLite and file names."""
    address = "203.0.113.77"
    encoded = base64.b64encode(f"x{address}y".encode())
    hidden = [address.encode(), address.encode().hex().encode(), encoded]
    for number, content in enumerate(hidden):
        (tmp_path / f"{number}.bin").write_bytes(b"\0" * number + content)
    (tmp_path / f"of-{address}").touch()
    duckdb.execute(f"COPY (SELECT '{address}' AS a) TO '{tmp_path}/p.parquet' (COMPRESSION zstd)")
    with sqlite3.connect(tmp_path / "s.sqlite") as database:
        database.execute("CREATE TABLE t (a)")
        database.execute("INSERT INTO t VALUES (?)", [address])
    database.close()
    found = found_on_disk(tmp_path, [address, "203.0.113.78"])
    assert set(found) == {address}
    for file in list(tmp_path.iterdir()):
        alone = tmp_path / "alone"
        alone.mkdir()
        file.rename(alone / file.name)
        assert found_on_disk(alone, [address]), file.name
        (alone / file.name).unlink()
        alone.rmdir()


class Serving:
    """A demo whose site is up."""

    def __init__(self, data: Path) -> None:
        self.data = data
        arguments = ["--visitors", "20", "--days", "1", "--data", str(data)]
        self.process = subprocess.Popen(
            [COMMAND, "demo", *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None
        self.url = self.said = ""
        for line in self.process.stdout:
            self.said += line
            if found := re.search(r"The site is up at (http://127\.0\.0\.1:\d+)", line):
                self.url = found[1]
            if "Ctrl-C" in line:
                return
        raise AssertionError(self.process.communicate()[1])

    def written(self) -> int:
        """Records written here, as `impersonal status` says."""
        command: list[str | Path] = [COMMAND, "status", "--data", self.data, "--format", "json"]
        said = subprocess.run(command, check=True, capture_output=True, timeout=60).stdout
        return int(json.loads(said)["totals"]["written"])

    def wait_for(self, records: int) -> None:
        """Wait until so many records are written."""
        ends_s = time.monotonic() + 60
        while self.written() < records:
            assert time.monotonic() < ends_s, f"{self.written()} of {records} written within a minute"
            time.sleep(0.1)

    def stop(self) -> tuple[str, str]:
        """Ctrl-C; what it printed then."""
        self.process.send_signal(signal.SIGINT)
        return self.process.communicate(timeout=60)


@pytest.fixture(scope="module")
def serving(finished: tuple[Path, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    """A demo where another one was, which keeps its site up until the tests of this module are done."""
    data = tmp_path_factory.mktemp("serving") / "data"
    shutil.copytree(finished[0], data)
    (data / "events" / "stale").write_text("of the former demo")
    running = Serving(data)
    yield running
    if running.process.poll() is None:
        running.stop()


def is_up(url: str) -> bool:
    """Whether anybody answers."""
    try:
        httpx.get(url)
    except httpx.TransportError:
        return False
    return True


def client(serving: Serving) -> httpx.Client:
    return httpx.Client(base_url=serving.url, headers={"user-agent": AGENT, "sec-fetch-site": "same-origin"})


def test_a_second_demo_starts_anew(serving: Serving) -> None:
    """A former demo's directory is emptied and used again."""
    assert (serving.data / "events").is_dir()
    assert not (serving.data / "events" / "stale").exists()
    assert "So few visitors vanish in the noise" in serving.said


def test_the_site_answers_as_a_site_does(serving: Serving) -> None:
    """Pages under a strict CSP, one of them streamed; an API, an asset, a redirect, a shop, a 404."""
    pages = (
        "/",
        "/articles",
        "/articles/dew-point",
        "/clouds",
        "/clouds/cirrus",
        "/almanac",
        "/about",
        "/shop",
    )
    with client(serving) as browser:
        for page in (*pages, "/shop/product/1", "/shop/basket", "/privacy"):
            answer = browser.get(page)
            assert (answer.status_code, answer.headers["content-type"][:9]) == (200, "text/html"), page
            assert answer.headers["content-security-policy"].startswith("default-src 'none'")
            assert "unsafe" not in answer.headers["content-security-policy"]
        assert "content-length" not in browser.get("/almanac").headers
        assert len(browser.get("/api/observations").json()) == 12
        assert browser.get("/blog").headers["location"] == "/articles"
        assert browser.get("/static/style.css").status_code == 200
        for missing in ("/nowhere", "/articles/lost", "/shop/product/99", "/shop/basket?product=99"):
            assert browser.get(missing).status_code == (200 if "basket" in missing else 404)
        answer = browser.post("/shop/basket", data={"product": "2"})
        assert answer.headers["location"] == "/shop/basket?product=2"


def test_the_banner_works_without_a_script(serving: Serving) -> None:
    """The form asks until a choice is made, accepting makes records, and the privacy page takes it back."""
    with client(serving) as browser:
        assert "impersonal-banner" in browser.get("/about", headers={"referer": "https://example.org/a"}).text
        before = serving.written()
        answer = browser.post(
            "/_impersonal/consent", data={"act": "grant", "u": "/about", "r": "https://example.org/"}
        )
        assert (answer.status_code, answer.headers["location"]) == (303, "/about")
        # The cookies are Secure and no ordinary jar sends them over plain HTTP.
        jar = "; ".join(line.partition(";")[0] for line in answer.headers.get_list("set-cookie"))
        held = {"cookie": jar}
        assert "impersonal-banner" not in browser.get("/about", headers=held).text
        assert checked(browser.get("/privacy", headers=held).text) == [
            "necessary",
            "statistics",
            "improvement",
        ]
        serving.wait_for(before + 3)  # the choice, the page it was made on, the page it led back to
        withdraw = {"act": "withdraw", "purposes": "statistics", "back": "/privacy"}
        answer = browser.post("/_impersonal/consent", data=withdraw, headers=held)
        jar = "; ".join(line.partition(";")[0] for line in answer.headers.get_list("set-cookie"))
        assert checked(browser.get("/privacy", headers={"cookie": jar}).text) == ["necessary", "improvement"]


def checked(page: str) -> list[str]:
    """The purposes that the privacy page shows as switched on."""
    return re.findall(r'name="purposes" value="(\w+)"\s+checked', page)


def test_a_visitor_tells_and_sees_it_on_the_privacy_page(serving: Serving) -> None:
    """The answer to the site's question is stored with consent only, and the privacy page shows it."""
    with client(serving) as browser:
        assert browser.post("/about", data={"age_band": "25-44"}).headers["location"] == "/about#age"
        assert "You have not told us." in browser.get("/about").text
        answer = browser.post("/_impersonal/consent", data={"act": "grant"})
        jar = "; ".join(line.partition(";")[0] for line in answer.headers.get_list("set-cookie"))
        for told in ("25-44", "no age"):
            browser.post("/about", data={"age_band": told}, headers={"cookie": jar})
        assert "You told us: 25-44." in browser.get("/about", headers={"cookie": jar}).text
        assert "<option selected>25-44" in browser.get("/privacy", headers={"cookie": jar}).text


def test_words_from_the_address_are_escaped(serving: Serving) -> None:
    """What a visitor writes into the address stands in the page as text."""
    with client(serving) as browser:
        text = browser.get("/about?utm_source=%22%3E<b>x").text
        assert "<b>x" not in text


def test_the_banner_works_in_a_browser(serving: Serving) -> None:
    """One click on Accept: the banner goes, the page's view is written, and the console stays silent."""
    said: list[str] = []
    before = serving.written()
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        page = chromium.new_page(user_agent=AGENT)
        page.set_default_timeout(15_000)
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.goto(f"{serving.url}/clouds")
        with page.expect_response("**/_impersonal/consent") as choice:
            page.click("text=Accept")
        assert choice.value.status == 200
        page.wait_for_selector("text=Your choice is stored.")
        page.click("main >> text=Cumulus")
        page.wait_for_url("**/clouds/cumulus")
        page.goto(f"{serving.url}/privacy")
        assert page.is_checked("#purpose-statistics")
        page.click("text=Withdraw all")
        page.wait_for_selector("text=Your settings are saved")
        assert not page.is_checked("#purpose-statistics")
        chromium.close()
    serving.wait_for(before + 4)  # the choice, the page it was made on, the cloud, the withdrawal
    assert said == []


def test_two_demos_do_not_share_a_directory(serving: Serving) -> None:
    """While a demo runs, another one on its directory is refused and empties nothing."""
    done = demo("--no-serve", "--data", serving.data)
    assert done.returncode == 1
    assert "a demo is running" in done.stderr
    assert (serving.data / "published").is_dir()


def test_ctrl_c_ends_it_with_everything_on_disk(serving: Serving) -> None:
    """SIGINT ends the demo with status 0; the view of a moment ago is in the log and the site is gone.

    The last test of this site.
    """
    last = "/articles/reading-clouds"
    with client(serving) as browser:
        accepted = browser.post("/_impersonal/consent", json={"act": "grant"})
        jar = "; ".join(line.partition(";")[0] for line in accepted.headers.get_list("set-cookie"))
        browser.get(last, headers={"cookie": jar})
    out, err = serving.stop()
    assert (serving.process.returncode, err) == (0, "")
    assert "everything it recorded is on disk" in out
    views = [record["path"] for record in records_of(serving.data / "logs") if record["kind"] == "view"]
    assert views.count(last) == 1
    assert not is_up(serving.url)


SERVED = """
import sys
from pathlib import Path
from pipeline.demo.place import fresh
from pipeline.demo.server import serving
with fresh(Path(sys.argv[1])), serving(Path(sys.argv[1])) as site:
    print(site.url, flush=True)
    site.process.join()
"""


def test_the_site_does_not_outlive_a_killed_demo(tmp_path: Path) -> None:
    """A demo that is killed leaves no site behind: it sees its pipe close, writes and ends."""
    command = [sys.executable, "-c", SERVED, str(tmp_path / "data")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        assert is_up(url)
        process.kill()
        assert process.stdout.read() == "", "the site, which holds the other end as well, is gone"
    assert not is_up(url)


def test_the_last_full_week_ended_before_today() -> None:
    """Without --start the demo lives in the last ISO week that is over, on Mondays and Sundays alike."""
    from pipeline.demo.run import last_full_week

    assert last_full_week(date(2026, 11, 23)) == date(2026, 11, 16)
    assert last_full_week(date(2026, 11, 22)) == date(2026, 11, 9)
