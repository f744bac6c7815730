"""Pure readers: an ASGI scope and response → one observed value each. No I/O, no state, no exceptions.

`picked`, `is_page_view` and `is_prefetch` run on the event loop; everything else takes raw values and may
wait for the writer thread. The page itself is read in `collector.page`.
"""

import re
from collections.abc import Container, Iterable, Mapping, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any, NamedTuple
from urllib.parse import unquote_to_bytes

from collector.errors import ConfigurationError
from collector.page import decoded, personal

Headers = Mapping[bytes, bytes]
Address = IPv4Address | IPv6Address

# How the lines of one header join. None: only the first line counts. "\n" cannot occur inside a line, so
# whoever reads Sec-GPC still sees each value exactly as it was sent.
_JOINTS: dict[bytes, bytes | None] = {
    b"cookie": b"; ",
    b"x-forwarded-for": b", ",
    b"forwarded": b", ",
    b"sec-gpc": b"\n",
    b"dnt": b"\n",
    b"user-agent": None,
    b"referer": None,
    b"host": None,
    b"accept": None,
    b"sec-purpose": None,
    b"purpose": None,
    b"x-purpose": None,
    b"x-moz": None,
    b"sec-fetch-dest": None,
    b"x-requested-with": None,
    b"hx-request": None,
    b"turbo-frame": None,
    b"service-worker-navigation-preload": None,
}
MAX_JOINED = 16_384  # bytes; the right end is kept, because that is what our own proxies appended


def picked(headers: Iterable[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    """The request headers that the collector reads, in one pass; names are lower-case as ASGI has them."""
    found: dict[bytes, bytes] = {}
    for name, value in headers:
        if name in _JOINTS:
            if name not in found:
                found[name] = value
            elif joint := _JOINTS[name]:
                found[name] = (found[name] + joint + value)[-MAX_JOINED:]
    return found


# ---------- is it a page view?

_PREFETCH = re.compile(rb"prefetch|prerender|preview", re.I)
_PURPOSES = (b"sec-purpose", b"purpose", b"x-purpose", b"x-moz")
# By a service worker: the script reports the page that the worker then shows.
_PRELOAD = b"service-worker-navigation-preload"
# XMLHttpRequest, htmx, Turbo frames.
_PARTIAL_HEADERS = (b"x-requested-with", b"hx-request", b"turbo-frame")
_HTML = frozenset((b"text/html", b"application/xhtml+xml", b"text/html; charset=utf-8"))
# Same list as for access logs (definitions of a page view); documents, archives, installers are downloads.
_ARCHIVES = {"zip", "gz", "tgz", "bz2", "xz", "7z", "rar", "jar"}
_INSTALLERS = {"exe", "msi", "dmg", "pkg", "iso", "deb", "rpm", "apk"}
_DOCUMENTS = {"pdf", "epub", "doc", "docx", "odt", "xls", "xlsx", "ods", "ppt", "pptx", "odp", "csv"}
_MEDIA = {"mp3", "mp4", "webm", "ogg", "avi", "mov"}
DOWNLOAD_EXTENSIONS = frozenset(_ARCHIVES | _INSTALLERS | _DOCUMENTS | _MEDIA)
_IMAGES = {"png", "jpg", "jpeg", "gif", "svg", "ico", "webp", "avif", "bmp"}
_FONTS = {"woff", "woff2", "ttf", "eot", "otf"}
_CODE_AND_DATA = {"css", "js", "mjs", "map", "txt", "xml", "json", "rss", "atom"}
STATIC_EXTENSIONS = DOWNLOAD_EXTENSIONS | _IMAGES | _FONTS | _CODE_AND_DATA


def is_prefetch(headers: Headers) -> bool:
    """Whether the browser fetches ahead of the visitor: prefetch, prerender, Safari's preview.

    Source  Sec-Purpose (Fetch standard), Purpose (older Chromium), X-Purpose (Safari), X-Moz (Firefox)
    """
    # Hardly any request has one, and each has to be asked for all: a loop would take twice as long.
    if b"sec-purpose" in headers or b"purpose" in headers or b"x-purpose" in headers or b"x-moz" in headers:
        return _is_ahead(headers)
    return False


def _is_ahead(headers: Headers) -> bool:
    return any(_PREFETCH.search(headers.get(name, b"")) for name in _PURPOSES)


def is_static(path: str) -> bool:
    """Whether the last segment ends in a static extension, in any letter case."""
    return _extension(path) in STATIC_EXTENSIONS


def is_download(path: str) -> bool:
    """Whether the last segment names an archive, an installer, a document or a recording."""
    return _extension(path) in DOWNLOAD_EXTENSIONS


def _extension(path: str) -> str:
    _, dot, extension = path.rpartition("/")[2].rpartition(".")
    return extension.lower() if dot else ""


def _is_partial(request: Headers) -> bool:
    return any(name in request for name in _PARTIAL_HEADERS)


def _is_shown(status: int) -> bool:
    return status == 304 or (200 <= status < 300 and status not in (204, 205, 206))


def is_page_view(
    method: str, status: int, answer: Iterable[tuple[bytes, bytes]], request: Headers, path: str
) -> bool:
    """Whether a request and its answer show one page to a person (prefetch is asked separately).

    Takes   answer: response headers; request: `picked` headers; path: as sent or decoded, for its extension
    A browser that sends Sec-Fetch-Dest says what it fetched for, and only `document` is a page: frames,
    embeds and fetch() of HTML fragments (`empty`) are not. Without it (plain HTTP, old browsers), a static
    extension or the header of a partial update means no. A 304 rarely has a type: there `document` decides,
    or an Accept that names HTML. An attachment is a download.
    """
    if method != "GET" or (status != 200 and not _is_shown(status)) or _PRELOAD in request:
        return False
    destination = request.get(b"sec-fetch-dest")
    if destination is None:
        if is_static(path) or _is_partial(request):
            return False
    elif destination != b"document":
        return False
    if status == 304:
        return destination is not None or b"text/html" in request.get(b"accept", b"")
    html = False
    for name, value in answer:
        length = len(name)  # first: it costs less than .lower()
        if length == 12 and name.lower() == b"content-type":
            html = value in _HTML or value.partition(b";")[0].strip().lower() in _HTML
        elif length == 19 and name.lower() == b"content-disposition" and _is_attachment(value):
            return False
    return html


def _is_attachment(disposition: bytes) -> bool:
    return disposition.lstrip()[:10].lower() == b"attachment"


# ---------- client address

MAX_HOPS = 32  # entries of a forwarding header that are looked at, from the right
# [v6]:port, v4:port or a bare address; zone ids and ports are dropped, everything else is no address.
_HOP = re.compile(
    rb'"?(?:\[([0-9A-Fa-f:.]{2,45})(?:%[^\]]*)?\](?::\d{1,5})?|([0-9.]{7,15})(?::\d{1,5})?'
    rb'|([0-9A-Fa-f:.]{2,45})(?:%.*)?)"?'
)
_OCTET = r"(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
# An IPv4 address as it is printed: a peer's needs no parsing where no proxy is trusted.
PRINTED_IPV4 = re.compile(rf"(?:{_OCTET}\.){{3}}{_OCTET}")
_FOR = re.compile(rb"(?:^|;)\s*for=([^;]*)", re.I)
_FORWARDING_HEADERS = ("x-forwarded-for", "forwarded")


class Trusted:
    """The proxies whose forwarding header is believed, and which header they write.

    Takes   addresses: IPs, CIDR networks, or "unix" for a peer on a unix socket, which has no address
            header: "x-forwarded-for", or "forwarded" (RFC 7239)
    Raises  ConfigurationError naming the entry
    """

    __slots__ = ("header", "networks", "unix")

    def __init__(self, addresses: Iterable[str] = (), header: str = "x-forwarded-for") -> None:
        if header.lower() not in _FORWARDING_HEADERS:
            raise ConfigurationError(f"proxy header {header!r}: use one of {', '.join(_FORWARDING_HEADERS)}")
        entries = [addresses] if isinstance(addresses, str) else list(addresses)
        self.header = header.lower().encode()
        self.unix = "unix" in entries
        self.networks = tuple(_network(entry) for entry in entries if entry != "unix")

    def __contains__(self, address: Address) -> bool:
        return any(address in network for network in self.networks)


def _network(entry: str) -> IPv4Network | IPv6Network:
    try:
        network = ip_network(entry.strip(), strict=False)
    except (ValueError, AttributeError):
        raise ConfigurationError(
            f'trusted proxy {entry!r} is no IP address or network: write "10.0.0.1", "10.0.0.0/8" or "unix"'
        ) from None
    if network.prefixlen == 0:
        raise ConfigurationError(
            f"trusted proxy {entry!r} trusts everyone, so any client could pick an address: list your proxies"
        )
    if isinstance(network, IPv6Network) and network.prefixlen >= 96:
        mapped = network.network_address.ipv4_mapped  # ::ffff:10.0.0.1, as dual-stack servers print a peer
        return IPv4Network((int(mapped), network.prefixlen - 96)) if mapped else network
    return network


def client_address(client: Sequence[Any] | None, headers: Headers, trusted: Trusted) -> str | None:
    """The visitor's address as compressed text, or None where nothing trustworthy names one.

    Takes   client: scope["client"]; headers: `picked`
    From the peer leftwards through the header, the first address that is not a trusted proxy wins; what
    stands left of it was sent by the client and is never read. A hop that is reached and is no address ends
    in None rather than in its neighbour. If every hop is trusted, the leftmost one is the answer: the request
    was born inside the trusted networks (a health check, an office beside the proxy).
    """
    peer = client[0] if client else None
    if not trusted.networks and isinstance(peer, str) and PRINTED_IPV4.fullmatch(peer):
        return peer
    address = _address(peer.encode("ascii", "replace")) if isinstance(peer, str) else None
    if address is None and not (trusted.unix and _is_unix(peer)):
        return None
    if address is None or address in trusted:
        line = headers.get(trusted.header)
        for hop in reversed(line.rsplit(b",", MAX_HOPS) if line else ()):
            address = _address(_named(hop, trusted.header))
            if address is None or address not in trusted:
                break
    return None if address is None else str(address)


def _is_unix(peer: object) -> bool:
    return not peer or (isinstance(peer, str) and peer.startswith(("/", "unix:")))


def _named(hop: bytes, header: bytes) -> bytes:
    """The node one entry names: the entry itself, or the `for` parameter of RFC 7239."""
    if header == b"forwarded":
        named = _FOR.search(hop)
        return named[1].strip() if named else b""
    return hop.strip()


def _address(text: bytes) -> Address | None:
    match = _HOP.fullmatch(text)
    if match is None:
        return None
    try:
        address = ip_address((match[1] or match[2] or match[3]).decode())
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


# ---------- source

MAX_VALUE = 64  # characters of a campaign value
_MAX_QUERY = 8_192  # bytes of a query string that are read
_LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_HOST = re.compile(
    rf"(?:{_LABEL}\.)+[a-z](?:[a-z0-9-]{{0,61}}[a-z0-9])"
)  # the last label is no number: no IP


class Campaign(NamedTuple):
    """Where a visit says it comes from; None where nothing usable was said."""

    source: str | None = None
    medium: str | None = None
    campaign: str | None = None


def campaign(query_string: bytes, allow: Container[str]) -> Campaign:
    """The allow-listed campaign parameters; of the rest of the query only that somebody paid for the click.

    Takes   allow: of utm_source, utm_medium, utm_campaign, source, ref; others have no effect
    Gives   lower-cased (they are compared so), at most MAX_VALUE characters; the first of repeated names
    The source is utm_source, else source, else ref. A value with control characters, or one that looks like
    an e-mail address, a token or a number of somebody, counts as not sent. A utm_campaign of digits only may
    stay: the campaign numbers of advertising platforms look like that. A link that such a platform tagged by
    itself has no medium, and an id of the click, which names the visitor and is not read: its medium is cpc.
    """
    sent: dict[str, str] = {}
    is_paid = False
    for part in query_string[:_MAX_QUERY].split(b"&"):
        name, _, value = part.partition(b"=")
        key = name.decode("latin-1")
        if key in _CAMPAIGN_NAMES and key in allow and key not in sent:
            sent[key] = _value(value, key == "utm_campaign") or ""
        elif key in _CLICK_IDS and value:
            is_paid = True
    if is_paid and "utm_medium" in allow and "utm_medium" not in sent:
        sent["utm_medium"] = _PAID
    source = sent.get("utm_source") or sent.get("source") or sent.get("ref")
    return Campaign(source or None, sent.get("utm_medium") or None, sent.get("utm_campaign") or None)


_CAMPAIGN_NAMES = frozenset(("utm_source", "utm_medium", "utm_campaign", "source", "ref"))
_CLICK_IDS = frozenset(("gclid", "gbraid", "wbraid", "msclkid"))  # Google's and Microsoft's auto-tagging
_PAID = "cpc"


def _value(raw: bytes, digits_allowed: bool) -> str | None:
    text = unquote_to_bytes(raw.replace(b"+", b" ")).decode("utf-8", "replace").strip(" ").lower()
    if not text.isprintable() or "\ufffd" in text:
        return None
    if not (digits_allowed and text.isdecimal() and len(text) <= 20) and personal(decoded(text)):
        return None
    return text[:MAX_VALUE].rstrip()


def referrer_host(referer: bytes | str, own_hosts: Iterable[str], host: bytes = b"") -> str | None:
    """The host a visitor came from, or None: nothing sent, the site itself, an IP address, no public name.

    Takes   own_hosts: lower-case; host: the request's own Host, so that a site under an undeclared name is
            not its own referrer (who forges it hides only their own referrer)
    Gives   lower-case ASCII (IDNA as xn--), without user, port, trailing dot and a leading "www."
    """
    text = (referer.decode("latin-1") if isinstance(referer, bytes) else referer)[:_MAX_QUERY].lower()
    name = _bare(text) if text.startswith(("http://", "https://")) else ""
    if len(name) > 253 or not _HOST.fullmatch(name):
        return None
    if name in map(_without_www, own_hosts) or name == _bare("//" + host.decode("latin-1").lower()):
        return None
    plain = ".".join(label for label in name.split(".") if not label.startswith("xn--"))
    return None if personal(plain) else name


def _bare(url: str) -> str:
    """The host of `…//user@host:port/…`, without "www."."""
    authority = re.split(r"[/?#\\]", url.partition("//")[2], maxsplit=1)[0]
    return _without_www(authority.rpartition("@")[2].partition(":")[0].rstrip("."))


def _without_www(name: str) -> str:
    return name.removeprefix("www.")
