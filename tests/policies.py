"""Policies for tests, written as a site would write them."""

from datetime import date

from collector.policy import Budget, Controller, Policy, Purpose, Service, Version

EVERYTHING = {
    "cookie": "long-lived",
    "browser": "family+major",
    "time": "second",
    "page": "path",
    "ip": "network",
}


def purpose(
    name: str,
    fields: dict[str, str] | None = None,
    *,
    access: str = "consent",
    basis: str = "consent",
    default: str = "refused",
    retention_days: int = 90,
    recipients: tuple[str, ...] = (),
) -> Purpose:
    """A purpose that needs consent unless told otherwise."""
    return Purpose(
        name, access, basis, default, f"For {name}.", retention_days, recipients, dict(fields or {})
    )


NECESSARY = purpose("necessary", access="exempt", basis="contract", default="granted")


def measured(fields: dict[str, str], default: str = "granted") -> Purpose:
    """Statistics under a measurement exemption, opt-out honoured."""
    return purpose("statistics", fields, access="exempt", basis="legitimate_interests", default=default)


def version(
    *purposes: Purpose,
    version_id: str = "v1",
    effective: date = date(2026, 1, 1),
    services: tuple[Service, ...] = (),
) -> Version:
    """One version of a policy."""
    return Version(
        version_id,
        effective,
        effective,
        f"Version {version_id}.",
        {purpose.name: purpose for purpose in purposes},
        {service.name: service for service in services},
    )


def policy(*versions: Version, pages: tuple[str, ...] = ("/",), tier: str = "medium") -> Policy:
    """A policy of these versions."""
    return Policy(
        Controller("Example", "privacy@example.org", ("example.org",)), versions, Budget(tier, {}, pages)
    )


CONSENTED = policy(version(NECESSARY, purpose("statistics", EVERYTHING), purpose("advertising", EVERYTHING)))
"""Everything may be collected, after consent."""

EXEMPT = policy(
    version(
        NECESSARY,
        measured({"cookie": "daily", "browser": "family", "time": "minute", "page": "path", "ip": "country"}),
        purpose("advertising", EVERYTHING),
    )
)
"""Coarse statistics without asking, the rest after consent."""

BY_DAY = policy(
    version(
        NECESSARY,
        purpose("statistics", EVERYTHING | {"cookie": "daily"}),
        purpose("advertising", EVERYTHING),
    )
)
"""Everything after consent; statistics alone know visitors by the day's pseudonym."""
