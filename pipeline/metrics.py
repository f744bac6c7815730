"""The operator's private view as Prometheus text, for an agent on the same machine to pick up.

Exact counts: for a file that only the operator reads, never for a public address. All are gauges: what is
counted of a worker goes with its counters, some weeks after it ended.
"""

from collections.abc import Iterator, Mapping

from prometheus_client import CollectorRegistry, Gauge, generate_latest

from pipeline.status import Status


def as_prometheus(status: Status) -> str:
    """The status in the text format of Prometheus."""
    registry = CollectorRegistry()
    for name, what, label, values in _metrics(status):
        gauge = Gauge(f"impersonal_{name}", what, [label] if label else [], registry=registry)
        for key, value in values.items():
            (gauge.labels(key) if label else gauge).set(value)
    return generate_latest(registry).decode()


def _metrics(status: Status) -> Iterator[tuple[str, str, str, Mapping[str, float]]]:
    """Name, meaning, label where there is one, and label → value."""
    alive = sum(worker.alive for worker in status.workers)
    spent = {day.day: day.rho for day in status.spending[-1:]}
    waiting = {"": sum(day.waiting_bytes for day in status.days)}
    yield (
        "lost",
        "Events and frames that were to be kept and are gone, by what became of them",
        "reason",
        status.lost,
    )
    yield "lost_total", "Sum of what is lost: 0 is healthy", "", {"": sum(status.lost.values())}
    yield "exposed", "Files that others may read or change: 0 is healthy", "", {"": len(status.exposed)}
    yield (
        "policy_faults",
        "Versions of the policy changed after their first use, and mistakes in it: 0 is healthy",
        "",
        {"": len(status.policy_faults)},
    )
    yield "workers", "Processes of the site", "state", {"alive": alive, "ended": len(status.workers) - alive}
    yield "events", "Events by how far they came in their worker", "state", status.totals
    yield "dropped", "Events that workers dropped", "reason", status.summed("dropped")
    yield "bots", "Requests of programs", "category", status.summed("bots")
    yield (
        "unnamed",
        "Fields refused at capture because their service does not name them",
        "field",
        status.summed("unnamed"),
    )
    yield "declined", "Declared values that were not stored", "reason", status.summed("declined")
    yield "faults", "Faults inside the collector", "type", status.summed("errors")
    yield "frames", "Frames of the logs by what became of them", "outcome", status.outcomes
    yield "waiting_log_bytes", "Log that no run has read yet", "", waiting
    yield (
        "open_days",
        "Days with records that are not sealed",
        "",
        {"": sum(not day.sealed for day in status.days)},
    )
    oldest = {kind: since_ms / 1000 for kind, since_ms in status.oldest.items()}
    yield "oldest_record_seconds", "When the oldest record of a kind was made, Unix time", "kind", oldest
    yield "spent_rho", "Privacy budget that the newest released day has spent", "day", spent
