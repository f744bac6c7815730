"""The banner: what a visitor is asked, from the policy's own text, as HTML that needs no script.

It is a form with two equal buttons and, one click away, a box for each purpose; where only what cannot be
refused has widened, one button that keeps what was chosen. banner.js spares the reload and makes a choice
safe to repeat. No box is ticked but those of purposes that this visitor granted before and that ask for no
more now.
"""

from collections.abc import Mapping
from functools import lru_cache
from html import escape
from typing import Any
from urllib.parse import quote, quote_plus, urlsplit

from collector import capture
from collector.consent import Decision, Reason
from collector.observer import ROOT_KEY, Observer, Scope, observer_of
from collector.pages import render
from collector.policy import Purpose
from collector.words import Words, preferred, words

SHOWN = "impersonal.banner"
"""The scope's mark of a page that carries the banner already: it is not injected once more."""

# Of a form's body at most 4096 bytes are read; a longer page is told by the form's own referrer.
_MOST_QUOTED = 2000
_PAGE = "<!-- page -->"  # where the template leaves room; no value can hold it, as values are escaped
_SIGNALS = {Reason.GPC: "Sec-GPC", Reason.DNT: "DNT"}


class Html(str):
    """HTML that Jinja2, Django and MarkupSafe put in as it is."""

    __slots__ = ()

    def __html__(self) -> "Html":
        return self


def banner(scope: Scope, language: str | None = None) -> Html:
    """The banner for the visitor of a request, or nothing where there is nothing to ask.

    Takes   scope: the request's ASGI scope; in a template {{ banner(request.scope) }} is the whole tag
            language: of the words, like "kk"; left out, the one that the browser likes best
    Gives   HTML, not to be escaped again: a stylesheet, a script and a form under the collector's own path
    Raises  ConfigurationError where no Collector is mounted around the app
    """
    observer = observer_of(scope)
    made = make(observer, scope, scope.get(ROOT_KEY, ""), language)
    if made:
        scope[SHOWN] = True
    return made


def make(
    observer: Observer, scope: Scope, root_path: str, language: str | None, *, names_page: bool = True
) -> Html:
    """The banner for a request that arrived under `root_path`.

    Takes   names_page: whether the request is for the page that shows it, which the form then carries
    """
    decision = observer.decide(capture.picked(scope["headers"]), observer.clock())
    if not decision.ask:
        return Html()
    spoken = words(language.lower() if language else preferred(_header(scope, b"accept-language")))
    path = quote(root_path) + observer.path
    html = _rendered(_Question(decision), path, spoken.language)
    return Html(html.replace(_PAGE, _page(scope) if names_page else ""))


class _Question:
    """A decision, as far as what is asked depends on it: equal ones are asked in the same words."""

    def __init__(self, decision: Decision) -> None:
        assert decision.version is not None  # noqa: S101 - without a version nothing is asked
        self.version = decision.version
        self.consented = decision.consented
        self.granted = decision.granted
        self.allowed = decision.choice.granted if decision.choice else frozenset[str]()
        self.widened = decision.widened
        self.reason = decision.reason
        self.is_told = decision.tells
        before = decision.consented and decision.consented.id
        self._key = (decision.version.id, before, self.granted, self.allowed, self.reason, self.is_told)

    def __hash__(self) -> int:
        return hash(self._key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Question) and self.version is other.version and self._key == other._key

    @property
    def signal(self) -> str:
        """The header by which the browser has spoken for its user; empty for none."""
        return _SIGNALS.get(self.reason, "")

    def is_kept(self, purpose: Purpose) -> bool:
        """Whether the visitor granted it before, and it asks for no more than then."""
        return purpose.name in self.allowed - self.widened

    def is_on(self, purpose: Purpose) -> bool:
        """Whether it holds although the visitor never granted it."""
        return purpose.refusable and purpose.name in self.granted and purpose.name not in self.allowed


@lru_cache(maxsize=256)
def _rendered(question: _Question, path: str, language: str) -> str:
    """The banner but for the page it stands on. Versions, languages and past choices are few."""
    say = words(language)
    version = question.version
    refusable = [purpose for purpose in version.purposes.values() if purpose.refusable]
    return render(
        "banner",
        say=say,
        path=path,
        page=_PAGE,
        signal=question.signal,
        version=version.id if question.consented else "",
        is_told=question.is_told,
        summary=version.summed_up_in(language),
        modified=version.modified,
        on=", ".join(
            say(f"banner.purpose.{purpose.name}") for purpose in refusable if question.is_on(purpose)
        ),
        choices=[_purpose(purpose, question, say) for purpose in refusable],
        always=[
            _purpose(purpose, question, say) for purpose in version.purposes.values() if not purpose.refusable
        ],
    )


def _purpose(purpose: Purpose, question: _Question, say: Words) -> Mapping[str, Any]:
    """What the banner says of one purpose."""
    recorded = [
        say(f"banner.level.{category}.{level}")
        for category, level in purpose.fields.items()
        if level != "none"
    ]
    note = say("banner.on") if question.is_on(purpose) else ""
    if purpose.name in question.widened:
        note = say("banner.before")
    return {
        "name": purpose.name,
        "title": say(f"banner.purpose.{purpose.name}"),
        "text": purpose.said_in(say.language),
        "note": note,
        "is_kept": question.is_kept(purpose),
        "records": ", ".join(recorded) or say("banner.nothing"),
        "kept": say("banner.days", days=purpose.retention_days),
        "declared": " ".join(
            attribute.said_in(say.language)
            for attribute in question.version.declared.values()
            if attribute.purpose == purpose.name
        ),
        "recipients": ", ".join(purpose.recipients) or say("banner.nobody"),
    }


def _page(scope: Scope) -> str:
    """The page and where its visitor came from, as hidden fields: by them a granted view is counted.

    There is no value for `once` among them, as the privacy page has one. The page is the host's, and whatever
    its headers say a shared cache may hand it to many: neighbours behind one address would get one id. A page
    of our own in between would take a click more. So without the script a choice on a banner that is sent
    twice is two.
    """
    page = scope.get("raw_path") or quote(scope["path"]).encode()
    query = scope.get("query_string", b"")
    shown = (page + (b"?" + query if query else b"")).decode("latin-1")
    fields = {"u": shown if len(quote_plus(shown)) <= _MOST_QUOTED else "", "r": _source(scope)}
    return "".join(
        f'<input type="hidden" name="{name}" value="{escape(value)}">' for name, value in fields.items()
    )


def _source(scope: Scope) -> str:
    """The origin of another site that linked here; nothing more of its address is passed on."""
    try:
        source = urlsplit(_header(scope, b"referer"))
    except ValueError:
        return ""
    is_foreign = source.scheme in ("http", "https") and source.netloc != _header(scope, b"host")
    return f"{source.scheme}://{source.netloc.rpartition('@')[2][:256]}/" if is_foreign else ""


def _header(scope: Scope, name: bytes) -> str:
    return next((value.decode("latin-1") for key, value in scope["headers"] if key == name), "")
