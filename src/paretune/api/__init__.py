"""Every command as one call: what `paretune` does, from Python."""

from paretune.api._files import compare, measure
from paretune.api._search import apply, optimize
from paretune.api._study import (
    certified,
    certify,
    export,
    load,
    pick,
    write_report,
    writing,
)
from paretune.api._why import explained, why

__all__ = [
    "apply",
    "certified",
    "certify",
    "compare",
    "explained",
    "export",
    "load",
    "measure",
    "optimize",
    "pick",
    "why",
    "write_report",
    "writing",
]
