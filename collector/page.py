"""The page a request is about: its canonical path, or the app's own route template.

Pure: raw values in, text out, no exceptions. Placeholders in braces ({email}, {token}, {number}, {cut},
{path}) are ours alone: a brace that a visitor sends is written %7B, so nobody can forge one.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import pairwise
from typing import Any
from urllib.parse import quote, unquote, unquote_to_bytes

import msgspec

MAX_PATH = 512  # characters of a canonical path, and of a route template
_MAX_RAW = 2_048  # bytes of a path that are read at all
_ABSOLUTE = re.compile(rb"[A-Za-z][A-Za-z0-9+.-]*://[^/?#]*")
_VISIBLE = "-._~!$&'()*+,;=:@"  # what a path segment may hold in clear (pchar, RFC 3986)
_CUT = "{cut}"


def page_path(raw_path: bytes | None, path: str, root_path: str = "") -> str:
    """The canonical page: ASCII, no query, at most MAX_PATH characters, nothing that looks personal.

    Takes   raw_path: scope["raw_path"], preferred; path, root_path: as they were before the app ran
    | sent                               | page          | why                                              |
    |------------------------------------|---------------|--------------------------------------------------|
    | /a?x=1, /a#x                       | /a            | queries only by allow-list: `capture.campaign`   |
    | http://evil/x                      | /x            | absolute form; h11 passes it on as it is         |
    | /x or /api/x, root_path /api       | /api/x        | servers differ; the root appears exactly once    |
    | %7E, %c3%a9, %2F, %0A, %zz         | ~ %C3%A9 %2F %0A %25zz | one spelling of what an app sees as one |
    | //a///b, /a/./b, /a/x/../b         | /a/b          | proxies and browsers do the same                 |
    | /a and /a/                         | both kept     | frameworks serve one and redirect the other      |
    | u@example.org, u%2540x, u＠x       | {email}       | react@18.2.0 and @handle stay                    |
    | UUID, JWT, ≥ 16 hex, ≥ 20 random   | {token}       | also sid=…, token=… and the like in a segment    |
    | all after reset, invite, verify, … | {token}       | where it holds a digit or a capital              |
    | ≥ 7 digits, phone, card, IP        | {number}      | dates and years stay                             |
    | more than MAX_PATH                 | …/{cut}       | cut between segments                             |
    A random word of small letters, or one under 20 characters, cannot be told from a name and stays: a site
    that puts people's names or short keys in its paths should grant the page level `route`.
    """
    segments, directory, too_long = _read(raw_path, path, root_path)
    return _bounded(_scrubbed(segments), directory, too_long)


def place(raw_path: bytes | None, path: str, root_path: str = "") -> str:
    """Where in the site a page lies: `page_path` with nothing blanked, which no record may hold."""
    segments, _, _ = _read(raw_path, path, root_path)
    return "/" + "/".join(segments)


def _read(raw_path: bytes | None, path: str, root_path: str) -> tuple[list[str], bool, bool]:
    """Canonical segments, whether they name a directory, and whether the last ones are missing."""
    raw = raw_path or _quoted(path)
    raw = re.split(rb"[?#]", raw[: _MAX_RAW + 1], maxsplit=1)[0]
    too_long = len(raw) > _MAX_RAW
    raw = _ABSOLUTE.sub(b"", raw, count=1) if _ABSOLUTE.match(raw) else raw
    segments, directory = _segments(raw)
    if too_long:
        segments[-1:] = []  # half a segment could hide what its other half gives away
    root, _ = _segments(_quoted(root_path))
    if segments[: len(root)] != root:
        segments = root + segments
        directory = directory and bool(raw)
    return segments, directory, too_long


def _quoted(text: str) -> bytes:
    return quote(text, safe="/" + _VISIBLE, errors="surrogatepass").encode()


def _segments(raw: bytes) -> tuple[list[str], bool]:
    """Canonical segments, dots resolved, and whether the path names a directory (ends in a slash)."""
    kept: list[str] = []
    part = b""
    for part in raw.split(b"/"):
        decoded = unquote_to_bytes(part) if b"%" in part else part
        if decoded == b"..":
            kept[-1:] = []
        elif decoded not in (b"", b"."):
            kept.append(quote(decoded, safe=_VISIBLE))
    return kept, unquote_to_bytes(part) in (b"", b".", b"..")


def _bounded(segments: Iterable[str], directory: bool, cut: bool) -> str:
    page, room = "", MAX_PATH - len(_CUT) - 2
    for segment in segments:
        if len(page) + 1 + len(segment) > room:
            cut = True
            break
        page += "/" + segment
    if cut:
        return f"{page}/{_CUT}"
    return page + "/" if directory or not page else page


# ---------- what looks personal

_WORD = re.compile(r"[a-z]{1,19}")
_WORDS = re.compile(r"[a-z]{1,19}(?:[-_.][a-z]{1,19})*")  # an ordinary slug: nothing to look for
# What follows one of these is a key that somebody was sent; compared without separators.
_KEYED = {"reset", "resetpassword", "passwordreset", "setpassword", "verify", "verifyemail", "verification"}
_KEYED |= {"confirm", "confirmation", "confirmemail", "activate", "activation", "invite", "invites"}
_KEYED |= {"invitation", "unsubscribe", "magic", "magiclink", "token", "otp"}
_VERSION = re.compile(r"v?\d+(?:\.\d+){0,2}")
_TOKEN = re.compile(
    r"eyJ[\w-]{6,}"  # JSON Web Token
    r"|[0-9a-f]{8}(?:-?[0-9a-f]{4}){3}-?[0-9a-f]{12}"  # UUID
    r"|(?<![0-9a-z])(?=\d*[a-f])(?=[a-f]*\d)[0-9a-f]{16,}"
    r"|(?<![0-9a-z])(?=[0-9a-z]{20})[a-z]*\d+[a-z]"  # one piece, with a digit amid its letters
    r"|[0-9a-z]{41,}"  # no word is that long
    r"|(?:token|key|secret|password|passwd|pwd|sid|session|sessionid|auth|sig|signature|code|otp)=.",
    re.I | re.ASCII,
)
_RUN = re.compile(r"[\w+/=-]{20,}", re.ASCII)
# Random text changes between digits, small and capital letters every 2–3 characters, slugs hardly ever do.
_CHANGE = re.compile(r"(?<=[a-z])(?=[A-Z0-9])|(?<=[A-Z])(?=[0-9])|(?<=[0-9])(?=[A-Za-z])")
_DATE = re.compile(
    r"(?<!\d)(?:19|20)\d\d(?:([-._]?)(?:0[1-9]|1[0-2])\1(?:0[1-9]|[12]\d|3[01])|)(?!\d)"
)  # a year, 2026-11-24 or 20261124
_NUMBER = re.compile(r"\d{7,}|(?:\d[ ().+_-]{0,2}){9,}")  # account; phone, card
_ADDRESS = re.compile(
    r"(?<![\d.])(?:\d{1,3}\.){3}\d{1,3}(?![\d.])"  # IPv4
    r"|(?<![0-9a-z:])(?:(?:[0-9a-f]{1,4}:){3,}|(?:(?:[0-9a-f]{1,4}:)+|:):[0-9a-f]{1,4}(?![0-9a-z]))",  # IPv6
    re.I,
)


def _scrubbed(segments: Iterable[str]) -> Iterator[str]:
    keyed = False
    for segment in segments:
        if _WORDS.fullmatch(segment):
            yield segment
        else:
            text = decoded(segment)
            yield personal(text) or ("{token}" if keyed and re.search(r"[0-9A-Z]", text) else segment)
        keyed = keyed or re.sub(r"[-_.]", "", segment.lower()) in _KEYED


def decoded(text: str) -> str:
    """Percent-decoded until nothing changes, three times at most."""
    for _ in range(3):
        if "%" not in text:
            break
        text = unquote(text)
    return text


def personal(text: str) -> str | None:
    """The placeholder for text that looks like somebody's e-mail address, token or number, else None."""
    if _WORD.fullmatch(text) and "eyj" not in text:  # nothing below but _TOKEN's first could match
        return None
    if _has_email(text):
        return "{email}"
    if _TOKEN.search(text) or any(map(_looks_random, _RUN.findall(text))):
        return "{token}"
    return "{number}" if _ADDRESS.search(text) or _NUMBER.search(_DATE.sub("x", text)) else None


def _has_email(text: str) -> bool:
    sides = re.split("[@＠﹫]", text)
    return any(
        left and right and not left[-1].isspace() and right[0].isalnum() and not _VERSION.fullmatch(right)
        for left, right in pairwise(sides)
    )


def _looks_random(run: str) -> bool:
    changes = len(_CHANGE.findall(run))
    return changes >= 4 and changes * 6 >= len(run)


# ---------- route

_PARAMETER = re.compile(r"\{(\w+)(?::[^{}]*)?\}")


class Routed(msgspec.Struct, gc=False):
    """What a framework wrote into the scope while routing."""

    template: str  # "/item/{id}"
    whole: bool  # the template covers mounts and prefixes too
    parameters: Mapping[str, Any]  # of all levels
    mounted: str  # root_path after routing


def routed(scope: Mapping[str, Any]) -> Routed | None:
    """What `route_template` needs, read when the response starts; None where the framework tells nothing.

    Starlette ≥ 1.10 and FastAPI leave scope["route"], Litestar scope["path_template"]; Quart and Django none.
    """
    whole = scope.get("path_template")
    template = whole or getattr(scope.get("route"), "path_format", None)
    if not isinstance(template, str):
        return None
    return Routed(template, bool(whole), scope.get("path_params") or {}, scope.get("root_path") or "")


def route_template(result: Routed | None, path: str, root_path: str = "") -> str | None:
    """The page as the app's own route table names it: /org/{org}/item/{id}, mounts included; None if unknown.

    Takes   path, root_path: decoded, as they were before the app ran
    Starlette and FastAPI tell the innermost template and every level's parameters. The template is laid over
    the end of the path; in what is left in front (mounts, router prefixes) values turn back into names. Where
    the two do not fit, the answer is None, never a guess that could carry a visitor's text. What lies below a
    mount without routes of its own (static files) is {path}.
    """
    if result is None:
        return None
    template, whole, parameters = result.template, result.whole, result.parameters
    tail, parts, root = _parts(template), _parts(path), _parts(root_path)
    if parts[: len(root)] != root:
        parts = root + parts
    rest = tail[-1:] if tail and tail[-1] == "{path}" and "path" not in parameters else []
    if rest:
        tail, parts = tail[:-1], _parts(result.mounted)
    if whole and _parts(result.mounted) != root:  # below another framework's mount, whose parameters are gone
        return None
    front = root if whole else _front(parts, tail, parameters)
    if front is None:
        return None
    names = "/".join([*front, *(_PARAMETER.sub(r"{\1}", part) for part in tail), *rest])
    page = f"/{names}/" if names and template.endswith("/") else f"/{names}"
    return page if page.isprintable() and len(page) <= MAX_PATH else None


def _parts(path: str) -> list[str]:
    return [part for part in path.split("/") if part]


def _front(parts: list[str], tail: list[str], parameters: Mapping[str, Any]) -> list[str] | None:
    """What stands before the innermost template, values replaced by names; None if the two do not fit."""
    end = len(parts)
    for part in reversed(tail):
        covered = _parts(_PARAMETER.sub(lambda name: str(parameters.get(name[1], "")), part))
        start = end - len(covered)
        if start < 0 or ("{" not in part and parts[start:end] != covered):
            return None
        end = start
    inner = set(_PARAMETER.findall("/".join(tail)))
    outer = {str(value): name for name, value in parameters.items() if name not in inner}
    front = []
    for part in reversed(parts[:end]):
        name = outer.pop(part, None)
        front.append(f"{{{name}}}" if name else next(_scrubbed([_quoted(part).decode()])))
    # A value that is not found as it stands (007 → 7) could still be there in another spelling.
    changed = any(not isinstance(parameters[name], str) for name in outer.values())
    return None if changed else front[::-1]
