"""Where an ONNX artifact parts from its source, and whether rounding explains it.

For each layer of a quantized graph, fed with the float graph's own values:

- A value within a quantizer's range is at most half a step from what it becomes, and
  what the range cuts off is at most `CUT` of the whole.
- In each output channel the error is at most `EXPLAINED` times that of plain rounding
  at the same step sizes (`formats/_rounding.py`). Plain rounding itself has 1.0 times
  its error; rounding each weight at random up or down has twice; what a technique adds
  (equalisation, better rounding, corrected biases) is there to lower it. A wrong
  weight, scale or bias is seen as soon as it does more than rounding would.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from paretune.core.target import Arrays
from paretune.measurement._layerwise import (
    FLOAT,
    Wrong,
    beside_gain,
    gain,
    misshapen,
    of_layer,
    of_rounding,
    whole,
)
from paretune.measurement._samples import count, rows

if TYPE_CHECKING:
    from paretune.infrastructure.formats._rounding import Comparison, Rounding

HIDDEN = 0.5  # of a squared error is left without factors, if they are what it is
RISE = 1.01  # of squared errors: the order of additions
SMALL = 1e-4  # a squared error of 1 % is none where weights have 4 bits
SAMPLES = 32
VALUES = 2**24  # of a graph at once, all samples together


@dataclass(frozen=True)
class Look:
    """What was seen layer by layer.

    Attributes:
        wrong: the first layer in topological order whose own error rounding doesn't
            explain.
        layers: how many could be judged.
    """

    wrong: Wrong | None
    layers: int


@dataclass(frozen=True)
class _Seen:
    """All layers, with some values larger by known factors.

    Attributes:
        gains: the factors of the channels, by value.
        roundings: of activations.
        compared: the layers.
        errors: squared and relative, by value; what its own factors would explain is
            left out, but for outputs, which have none.
    """

    gains: dict[str, np.ndarray]
    roundings: list[Rounding]
    compared: list[Comparison]
    errors: dict[str, float]


def look(artifact: Any, source: Any, inputs: Arrays) -> Look:
    """Holds each layer of a quantized graph against what rounding explains.

    A layer whose channels are larger by some factor is none the worse if the layers
    that read it take the factor back: the factors are handed on, and must be undone
    before the outputs. If that isn't enough, factors that rounding hides are looked
    for too.

    Args:
        artifact: a quantized ONNX graph.
        source: the float graph that it was made from.
        inputs: by name; at most `SAMPLES` are looked at, fewer if values are large.
    """
    from paretune.infrastructure.formats import _rounding

    inputs = _few(source, inputs)
    outputs = {o.name for o in source.graph.output}

    def see(gains: dict[str, np.ndarray]) -> _Seen | None:
        try:
            seen = _rounding.compare(artifact, source, inputs, gains)
        except Exception:  # a graph that can't be taken apart, for whatever reason
            return None
        errors = {
            layer.output: (whole if layer.output in outputs else beside_gain)(layer)
            for layer in seen[1]
            if layer.mapped
        }
        return _Seen(gains, *seen, errors)

    start = see({})
    if start is None:
        with contextlib.suppress(Exception):
            return Look(_other_shape(artifact, source, inputs), 0)
        return Look(None, 0)
    fixed = {*inputs, *outputs}
    wrong = _search(see, start, inputs, fixed)
    if wrong:
        wrong = _search(see, start, inputs, fixed, wrong)
    return Look(wrong, len(start.errors))


def _search(
    see: Callable[[dict[str, np.ndarray]], _Seen | None],
    start: _Seen,
    inputs: Arrays,
    fixed: set[str],
    first: Wrong | None = None,
) -> Wrong | None:
    """The first wrong layer, unless factors are found with which none is wrong.

    Where rounding explains much, as with weights of 4 bits, a layer passes with or
    without its factor, and the one that takes it back is found wrong in its place. So
    such a hidden factor is tried, and kept if the error of the layers that read
    the value falls. It stays open while they show no error with or without it, as
    pooling does; if nothing ever shows, or something is wrong, all goes back to where
    it was.

    Args:
        see: all layers with some factors; None if the graphs can't be taken apart.
        start: what is seen without any.
        inputs: of the graphs.
        fixed: names of values that have no factors.
        first: from a search without hidden factors, if they are to be looked for.
    """
    hidden = first is not None
    tried: set[str] = set()
    now: _Seen | None = start
    last = back = None
    while now is not None:
        if last and not back:
            was, total = sum(last.errors.values()), sum(now.errors.values())
            if total > RISE * was + FLOAT**2:
                return first  # what reads it doesn't take the factor back
        elif last and back:
            was, total = _of_readers(last, now)
            if total > RISE * was + SMALL:
                (now, tried), last, back = back, None, None
                continue
            back = back if total > HIDDEN * was - SMALL else None
        examined = set(tried)
        wrong, found = _next(now, inputs, fixed, tried if hidden else None)
        first = first or wrong
        if found:
            value, factors = found
            if not wrong and not back:
                back = now, examined | {value}
            last, now = now, see({**now.gains, value: factors})
        elif back:
            (now, tried), last, back = back, None, None
        else:
            return wrong and first
    return first


def _of_readers(last: _Seen, now: _Seen) -> tuple[float, float]:
    """The errors, then and now, of the layers that were given something else."""
    pairs = [(last.errors[v], e) for v, e in now.errors.items() if v in last.errors]
    changed = [(a, b) for a, b in pairs if abs(b - a) > 1e-6 * a]
    return sum(a for a, _ in changed), sum(b for _, b in changed)


def _next(
    seen: _Seen, inputs: Arrays, fixed: set[str], tried: set[str] | None
) -> tuple[Wrong | None, tuple[str, np.ndarray] | None]:
    """The first wrong layer, and a value with the factors that make it right.

    If a layer before it may have hidden factors, these are given and nothing is wrong.
    Those that are in `tried` are left out, and the others come to it.
    """
    from paretune.infrastructure.formats import _rounding

    for layer in _in_order(seen.roundings, seen.compared, inputs):
        if isinstance(layer, _rounding.Rounding):
            if wrong := of_rounding(layer):
                return wrong, None
            continue
        value = layer.output
        free = value not in fixed | seen.gains.keys()
        wrong = of_layer(layer, seen.gains.get(value))
        if wrong:
            factors = gain(layer) if free else None
            return wrong, None if factors is None else (value, factors)
        if free and tried is not None and value not in tried:
            tried.add(value)
            factors = gain(layer)
            if factors is not None and beside_gain(layer) < HIDDEN * whole(layer):
                return None, (value, factors)
    return None, None


def _few(source: Any, inputs: Arrays) -> Arrays:
    """So few samples that all values of a graph fit into memory several times."""
    from paretune.infrastructure.formats._layers import observed

    one = sum(a.size for a in observed(source, rows(inputs, 0, 1)).values())
    size = min(SAMPLES, count(inputs), max(1, VALUES // max(one, 1)))
    return rows(inputs, 0, size)


def _other_shape(artifact: Any, source: Any, inputs: Arrays) -> Wrong | None:
    """The first value that has another shape."""
    from paretune.infrastructure.formats import _layers, _naming, _segments

    names = _segments.shared(artifact, source)
    wanted, got = (_layers.observed(m, inputs, names) for m in (source, artifact))
    for value in names:
        if value in wanted and value in got and wanted[value].shape != got[value].shape:
            name = _naming.layer_names(artifact, source, [value])[value][0]
            return misshapen(name, got[value], wanted[value])
    return None


def _in_order(
    roundings: list[Rounding], compared: list[Comparison], inputs: Arrays
) -> list[Rounding | Comparison]:
    """Quantizers of inputs, then each layer that can be judged, and its quantizer."""
    grids = {r.value: r for r in roundings}
    found: list[Rounding | Comparison] = [grids[v] for v in inputs if v in grids]
    for layer in compared:
        found += [layer] if layer.mapped else []
        found += [grids[layer.output]] if layer.output in grids else []
    return found
