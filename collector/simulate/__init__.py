"""Seeded visitors who use a real site over real HTTP, and the truth about what they did.

    steps = plan(site, monday, days=7, visitors=1000, seed=1)
    outcome = browse(url, steps, set_clock)        # real requests, in the order of the simulated clock
    truth = tell(steps)                            # what an honest collector must have kept, and no more

The truth is counted from the visitors' own plans: nothing of the collector's code takes part in it.
"""

from collector.simulate.browse import Outcome, browse
from collector.simulate.people import KINDS, ONE_PURPOSE, Person
from collector.simulate.plan import STRAY_SESSION, Site, Step, plan
from collector.simulate.truth import Truth, tell

__all__ = [
    "KINDS",
    "ONE_PURPOSE",
    "STRAY_SESSION",
    "Outcome",
    "Person",
    "Site",
    "Step",
    "Truth",
    "browse",
    "plan",
    "tell",
]
