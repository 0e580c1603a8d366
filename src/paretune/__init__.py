"""Makes deep-learning models smaller, faster and better, and proves it.

Names are imported when they are first used, so that `import paretune` costs nothing.

Example:
    >>> import paretune
    >>> paretune.Target(threads=2).runtime
    'onnxruntime'
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from paretune.api import (
        apply,
        attribute,
        certify,
        compare,
        export,
        labels,
        load,
        load_frontier,
        measure,
        optimize,
        pick,
        why,
        write_report,
    )
    from paretune.catalog import read_recipe, recipe, write_recipe
    from paretune.core.budget import Budget
    from paretune.core.errors import ParetuneError
    from paretune.core.loaders import Loaders
    from paretune.core.recipe import Recipe
    from paretune.core.study import Study
    from paretune.core.target import Target
    from paretune.core.task import Held, Task
    from paretune.frontier import Frontier
    from paretune.options import Options

__version__ = "0.1.0"

_HOME = {
    "Budget": "core.budget",
    "Frontier": "frontier",
    "Held": "core.task",
    "Loaders": "core.loaders",
    "Options": "options",
    "ParetuneError": "core.errors",
    "Recipe": "core.recipe",
    "Study": "core.study",
    "Target": "core.target",
    "Task": "core.task",
    "apply": "api",
    "attribute": "api",
    "certify": "api",
    "compare": "api",
    "export": "api",
    "labels": "api",
    "load": "api",
    "load_frontier": "api",
    "measure": "api",
    "optimize": "api",
    "pick": "api",
    "read_recipe": "catalog",
    "recipe": "catalog",
    "why": "api",
    "write_recipe": "catalog",
    "write_report": "api",
}

__all__ = [
    "Budget",
    "Frontier",
    "Held",
    "Loaders",
    "Options",
    "ParetuneError",
    "Recipe",
    "Study",
    "Target",
    "Task",
    "apply",
    "attribute",
    "certify",
    "compare",
    "export",
    "labels",
    "load",
    "load_frontier",
    "measure",
    "optimize",
    "pick",
    "read_recipe",
    "recipe",
    "why",
    "write_recipe",
    "write_report",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'paretune' has no attribute {name!r}")
    return getattr(importlib.import_module(f"paretune.{_HOME[name]}"), name)
