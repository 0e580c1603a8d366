"""Every command as one call: what `paretune` does, from Python."""

from paretune.api._attribute import attribute
from paretune.api._files import compare, measure
from paretune.api._labels import SECONDS as LABEL_SECONDS
from paretune.api._labels import labels, write_labels
from paretune.api._plan import plan, read_recipes
from paretune.api._search import apply, optimize
from paretune.api._study import (
    certified,
    certify,
    export,
    load,
    load_frontier,
    pick,
    write_report,
    writing,
)
from paretune.api._why import explained, why

__all__ = [
    "LABEL_SECONDS",
    "apply",
    "attribute",
    "certified",
    "certify",
    "compare",
    "explained",
    "export",
    "labels",
    "load",
    "load_frontier",
    "measure",
    "optimize",
    "pick",
    "plan",
    "read_recipes",
    "why",
    "write_labels",
    "write_report",
    "writing",
]
