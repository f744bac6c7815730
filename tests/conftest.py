"""Settings for every test."""

from hypothesis import settings

# A shared machine pauses tests; time is measured in the benchmarks.
settings.register_profile("tests", deadline=None)
settings.load_profile("tests")
