"""The banner by itself, for pages that carry its script alone because they come from a cache."""

from starlette.requests import Request
from starlette.responses import Response

from collector.banner import make
from collector.observer import Observer
from collector.web import NO_STORE

_FRAMED = {"content-security-policy": "frame-ancestors 'none'", "x-content-type-options": "nosniff"}


class Fragments:
    """Serves the banner to pages that carry its script alone, because they come from a cache."""

    def __init__(self, observer: Observer) -> None:
        self._observer = observer

    async def show(self, request: Request) -> Response:
        """The banner as HTML; 204 where nothing is to be asked."""
        language = request.query_params.get("language")
        root_path = request.scope.get("root_path", "")
        made = make(self._observer, request.scope, root_path, language, names_page=False)
        headers = NO_STORE | _FRAMED
        return (
            Response(made, media_type="text/html", headers=headers) if made else Response(None, 204, headers)
        )
