"""Says in words why an ONNX artifact isn't its source, as far as it can be told."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from paretune.core.target import Arrays


@dataclass(frozen=True)
class Graphs:
    """What can be looked into.

    Attributes:
        artifact: the ONNX graph that was written, its names still whole.
        source: gives a float graph that names its values alike: for a quantized
            artifact the one that it was made from, for a float one a fresh export.
            None from it means that there is none.
    """

    artifact: Any
    source: Callable[[], Any]

    @cached_property
    def float_source(self) -> Any:
        return self.source()


def most(graphs: Graphs, inputs: Arrays) -> str:
    """Of an artifact whose layers are all well by themselves, the least good one."""
    from paretune.infrastructure.formats import _layers

    errors = _layers.local_errors(graphs.artifact, graphs.float_source, inputs)
    worst = max(errors, key=lambda e: e.error)
    return (
        "each of its layers by itself is off by no more than rounding explains, most "
        f"of all {worst.name}: {worst.error:.2g} of its size"
    )


def explain(graphs: Graphs, inputs: Arrays, got: Arrays, limit: float) -> str:
    """Why an artifact's outputs aren't its source's, as far as it can be told.

    Args:
        graphs: of the artifact.
        inputs: on which the outputs differ.
        got: the artifact's outputs, from the runtime that serves it.
        limit: of max |a - b| / max |a|.
    """
    try:
        return _explained(graphs, inputs, got, limit)
    except Exception:  # what was found must be said, whether or not it is understood
        return ""


def _explained(graphs: Graphs, inputs: Arrays, got: Arrays, limit: float) -> str:
    from paretune.infrastructure.formats import _layers

    twin = graphs.float_source
    if twin is None:
        return ""
    if found := _layers.first_divergence(graphs.artifact, twin, inputs, limit):
        return str(found)
    names = list(got)
    calm = _layers.observed(graphs.artifact, inputs, names)
    used = _layers.observed(graphs.artifact, inputs, names, optimised=True)
    same = "a fresh export has the same values everywhere"
    if name := _differing(calm, used, limit):
        return f"{same}, but the runtime's optimisations change output {name!r}"
    if name := _differing(used, got, limit):
        return (
            f"{same}, but output {name!r} of the file isn't that of the graph that was "
            "written"
        )
    return f"{same}, so it is the exporter or the runtime that differs from torch"


def _differing(wanted: Arrays, got: Arrays, limit: float) -> str | None:
    for name in wanted.keys() & got.keys():
        a, b = wanted[name].astype(np.float64), got[name].astype(np.float64)
        if not np.abs(b - a).max(initial=0.0) <= limit * np.abs(a).max(initial=0.0):
            return name
    return None
