"""A minimal HTTP/1.1 client: the machine is for the site, not for its visitors.

It knows what the demo's site answers with: a length, chunks, or no body at all.
"""

import socket
from dataclasses import dataclass
from urllib.parse import urlsplit

from collector.errors import ConfigurationError

_TIMEOUT_S = 10.0
_READ_BYTES = 65_536
_LAST_CHUNK = b"\r\n0\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Answer:
    """The part of a response that a simulated visitor looks at."""

    status: int
    cookies: tuple[str, ...]
    """The values of its Set-Cookie lines."""


class Connection:
    """One kept-alive connection; requests on it are answered in order, one at a time."""

    def __init__(self, url: str) -> None:
        """Connect. Raises ConfigurationError where nobody listens."""
        parts = urlsplit(url)
        self.host = parts.netloc
        try:
            self._socket = socket.create_connection((parts.hostname or "", parts.port or 80), _TIMEOUT_S)
        except OSError as error:
            raise ConfigurationError(f"{url} cannot be reached ({error}): start the site first") from None
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def close(self) -> None:
        """Hang up."""
        self._socket.close()

    def send(self, request: bytes) -> Answer:
        """Send one request and read its whole answer.

        Raises  ConfigurationError where the site hangs up or stays silent
        """
        self._socket.sendall(request)
        data = self._more(b"")
        while (end := data.find(b"\r\n\r\n")) < 0:
            data = self._more(data)
        head = data[: end + 2]
        lower = head.lower()
        if length := _value(lower, b"content-length"):
            while len(data) < end + 4 + int(length):
                data = self._more(data)
        elif _value(lower, b"transfer-encoding"):
            while not data.endswith(_LAST_CHUNK):
                data = self._more(data)
        cookies: tuple[str, ...] = ()
        if b"\r\nset-cookie:" in lower:
            lines = head.decode("latin-1").split("\r\n")
            cookies = tuple(line[11:].strip() for line in lines if line[:11].lower() == "set-cookie:")
        return Answer(int(head[9:12]), cookies)

    def _more(self, data: bytes) -> bytes:
        try:
            chunk = self._socket.recv(_READ_BYTES)
        except OSError:
            chunk = b""
        if not chunk:
            raise ConfigurationError("the site hung up on its visitors: read what it wrote to stderr")
        return data + chunk


def _value(head: bytes, name: bytes) -> bytes:
    start = head.find(b"\r\n" + name + b":")
    return head[start + len(name) + 3 :].partition(b"\r\n")[0].strip() if start >= 0 else b""
