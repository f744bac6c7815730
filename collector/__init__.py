"""First-party collection that asks first: mount `Collector`, and the published policy is what happens.

policy → consent → capture → writer [enrich → record → sink]
"""

from collector.banner import banner
from collector.declarations import alter, declare, declared
from collector.errors import ConfigurationError, DeclarationError, ImpersonalError, PolicyError
from collector.middleware import Collector, granted, must_ask
from collector.policy import Policy
from collector.policy_file import load
from collector.sinks import LocalFiles, MemorySink, Sink

__all__ = [
    "Collector",
    "ConfigurationError",
    "DeclarationError",
    "ImpersonalError",
    "LocalFiles",
    "MemorySink",
    "Policy",
    "PolicyError",
    "Sink",
    "alter",
    "banner",
    "declare",
    "declared",
    "granted",
    "load",
    "must_ask",
]
