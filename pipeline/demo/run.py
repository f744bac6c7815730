"""Simulate → collect → publish → compare → serve."""

from collections import Counter
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from rich.console import Console

from collector import ConfigurationError, load
from collector.record import now_ms
from collector.simulate import Outcome, Person, Step, browse, plan, tell
from pipeline.demo import evidence, report
from pipeline.demo.content import SITE
from pipeline.demo.evidence import Hits
from pipeline.demo.place import fresh
from pipeline.demo.server import serving
from pipeline.rights.requests import Watch
from pipeline.run import run_once
from pipeline.terminal import progress

_WIDTH = 120  # characters, where the output is no terminal
_WEEK = timedelta(days=7)
_LOOK_S = 0.5


class Demo:
    """One demo over one data directory."""

    def __init__(self, data: Path, *, visitors: int, days: int, seed: int, start: date | None = None) -> None:
        """Prepare; nothing is touched yet.

        Takes   visitors: people a day; start: the first day, a Monday; the last full ISO week's where None
        Raises  ConfigurationError for another day
        """
        self._data = data
        self._visitors = visitors
        self._days = days
        self._seed = seed
        self._start = start or last_full_week(datetime.now(UTC).date())
        if self._start.weekday() != 0:
            raise ConfigurationError(f"{self._start} is no Monday: lists are published for whole ISO weeks")
        self._console = Console(highlight=False)
        if not self._console.is_terminal:
            self._console = Console(highlight=False, width=_WIDTH)

    @property
    def _end(self) -> date:
        """The Sunday on which the last simulated week ends."""
        return self._start + _WEEK * -(-self._days // 7) - timedelta(days=1)

    def run(self, *, serve: bool, keep_logs: bool = False) -> None:
        """Run it all, and keep the site up until Ctrl-C where `serve`.

        Takes   keep_logs: end after the visits, with the logs as the collector wrote them
        Raises  ConfigurationError, PolicyError, the pipeline's errors
        """
        with fresh(self._data):
            steps = plan(SITE, self._start, days=self._days, visitors=self._visitors, seed=self._seed)
            report.show_speed(self._console, self._collect(steps))
            if keep_logs:
                return
            people = evidence.people_of(steps)
            logs = evidence.searches(self._data, people)
            self._publish()
            self._report(steps, people, logs)
            if serve:
                self._serve()

    def _collect(self, steps: list[Step]) -> Outcome:
        """Let everybody visit the site; when this returns, all that is recorded is on disk."""
        with serving(self._data, steps[0].at_s * 1000) as site, progress() as tell_progress:

            def done(count: int) -> None:
                tell_progress(f"visits to {site.url}", count, len(steps))

            return browse(site.url, steps, site.set_clock, done)

    def _publish(self) -> None:
        """Run the pipeline as if it were three o'clock on the Monday after."""
        monday = datetime.combine(self._end + timedelta(days=1), datetime.min.time(), UTC)
        now_ms = int((monday + timedelta(hours=3)).timestamp() * 1000)
        with progress() as tell_progress:
            run_once(self._data, load(self._data / "policy.toml"), lambda: now_ms, tell_progress)

    def _report(self, steps: list[Step], people: list[Person], logs: list[Hits]) -> None:
        console, data, truth = self._console, self._data, tell(steps)
        cells = report.compare(data / "published", truth, self._start, self._end)
        report.show_totals(console, cells, truth)
        report.show_lists(console, cells)
        report.show_coverage(console, cells)
        report.show_smallness(console, truth)
        found = evidence.records_by_kind(data, people)
        report.show_collected(console, truth, Counter(person.kind for person in people), found)
        report.show_accounts(console, data)
        after = evidence.searches(data, people)
        report.show_searches(console, logs, after, evidence.ids_without_a_grant(people))

    def _serve(self) -> None:
        """Keep the site up on the real clock until Ctrl-C."""
        data, visitors = self._data, Watch(self._data)
        with serving(data) as site:
            self._console.print(
                f"\nThe site is up at {site.url}\n"
                "Open it, accept or refuse, and watch from another terminal:\n\n"
                f"  impersonal status --data {data}\n"
                f"  impersonal report --by page --from {self._start} --to {self._end} --data {data}\n\n"
                "Ctrl-C ends it."
            )
            try:
                while site.process.is_alive():
                    site.process.join(_LOOK_S)
                    visitors.look(now_ms)  # as `impersonal run --watch` does
                raise ConfigurationError("the site ended by itself: look at what it printed above")
            except KeyboardInterrupt:
                pass
        self._console.print("The site has ended; everything it recorded is on disk.")


def last_full_week(today: date) -> date:
    """The Monday of the last ISO week that is over."""
    return today - timedelta(days=today.weekday()) - _WEEK
