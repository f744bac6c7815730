"""A token bucket per client address, in memory only."""

import time
from collections import OrderedDict
from ipaddress import IPv6Address

BURST = 60.0  # events at once
PER_S = 10.0  # events a second after that
CLIENTS = 4096
UNKNOWN = 50.0
"""What all without an address may do together: as much as so many clients.

Behind a socket whose proxy is not trusted these are all visitors. Of what a visitor may do most seldom, to
erase, it is 100 a second: about what a disk stores (measured: 90 to 120). So it takes as much to lock others
out by this limit as without one.
"""


class RateLimit:
    """Allows each address BURST events, refilled at PER_S; unknown addresses share one bucket of UNKNOWN."""

    def __init__(self, burst: float = BURST, per_s: float = PER_S, clients: int = CLIENTS) -> None:
        self._burst = burst
        self._per_s = per_s
        self._clients = clients
        self._buckets: OrderedDict[str | bytes | None, tuple[float, float]] = OrderedDict()

    def allows(self, address: str | None) -> bool:
        """Take one token of an address; the least recently seen address is forgotten first."""
        now_s = time.monotonic()
        client = _network(address)
        clients = UNKNOWN if client is None else 1.0
        burst = self._burst * clients
        tokens, seen_s = self._buckets.pop(client, (burst, now_s))
        tokens = min(burst, tokens + (now_s - seen_s) * self._per_s * clients)
        allowed = tokens >= 1
        self._buckets[client] = (tokens - allowed, now_s)
        if len(self._buckets) > self._clients:
            self._buckets.popitem(last=False)
        return allowed


def _network(address: str | None) -> str | bytes | None:
    """Whoever has one IPv6 address has the 2**64 of its network."""
    return IPv6Address(address).packed[:8] if address and ":" in address else address
