"""The policy as its readers see it: the version in force, every version with its dates, and gpc.json."""

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from collector.policy import Policy, Version
from collector.policy_text import changes, sections
from collector.record import Clock, date_of
from collector.visitor_pages import Places, answer_page, language_of


class PolicyPage:
    """Answers `policy` and `gpc.json`."""

    def __init__(self, policy: Policy, clock: Clock, places: Places) -> None:
        self._policy = policy
        self._clock = clock
        self._places = places

    async def show(self, request: Request) -> Response:
        """The version in force, or the one that ?version= names, and the history of all."""
        words = language_of(request)
        in_force = self._policy.in_force(self._clock())
        wanted = request.query_params.get("version", "")
        version = self._policy.version(wanted) or in_force or self._policy.versions[0]
        return answer_page(
            request,
            "policy",
            self._places,
            words,
            page="policy",
            version=version,
            in_force=in_force,
            today=date_of(self._clock()),
            sections=sections(self._policy, version, words),
            history=[
                (each, changes(older, each, words) if older else [])
                for older, each in reversed(_pairs(self._policy.versions))
            ],
        )

    async def gpc(self, request: Request) -> Response:
        """That Global Privacy Control is honoured (W3C, GPC 5: a GPC support resource)."""
        version = self._policy.in_force(self._clock())
        if version is None:
            return Response(status_code=404)
        made = {"gpc": True, "lastUpdate": version.effective.isoformat()}
        return JSONResponse(made, headers={"cache-control": "public, max-age=3600"})


def _pairs(versions: tuple[Version, ...]) -> list[tuple[Version | None, Version]]:
    """Every version with the one before it."""
    return list(zip((None, *versions), versions, strict=False))
