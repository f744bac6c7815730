"""Which goals and steps of funnels a page, or an event, is: by the acts that the policy names."""

from collections.abc import Iterable, Iterator

from collector.policy import Budget

Act = tuple[str, str]
"""view and a page as the purpose sees it, or event and its name."""


def reached(acts: Iterable[Act], budget: Budget) -> Iterator[tuple[str, str, str]]:
    """Each act with each goal that it reaches."""
    for kind, name in acts:
        for goal, act in budget.goals.items():
            if _is(act, kind, name):
                yield kind, name, goal


def steps(acts: Iterable[Act], budget: Budget) -> Iterator[tuple[str, str, str, int, str]]:
    """Each act with each step that it is: the funnel, the number of the step, and its key."""
    keys = iter(budget.steps)
    of_funnels = [
        (funnel, number, act, next(keys))
        for funnel, listed in budget.funnels.items()
        for number, act in enumerate(listed, 1)
    ]
    for kind, name in acts:
        for funnel, number, act, key in of_funnels:
            if _is(act, kind, name):
                yield kind, name, funnel, number, key


def _is(act: str, kind: str, name: str) -> bool:
    """Whether a page or an event is what the policy names."""
    if not act.startswith("/"):
        return kind == "event" and name == act
    begins = act.removesuffix("*")
    return kind == "view" and (name.startswith(begins) if begins != act else name == act)
