"""Which layers lose the quality: one at a time, all others as they were."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from paretune.core.candidate import Artifact
from paretune.engine.explain._judge import Figures, Judge, differences, first_inputs
from paretune.engine.explain._states import States
from paretune.engine.explain._steps import unavailable

SAMPLES = 2_000  # of the validation split, for each layer
INPUTS = 64  # samples that a layer's own error is taken on
MOST = 24  # layers
LIMIT_S = 20.0  # for all of them; layers beyond are listed without their effect


@dataclass(frozen=True)
class Sweep:
    """Judges variants of a graph that differ from it in one layer each.

    Args:
        judge: on the samples that count.
        reference: the graph without the change.
        give_way: called between layers.
    """

    judge: Judge
    reference: Any
    give_way: Callable[[], None]

    def effects(self, variants: Mapping[str, Callable[[], Any]]) -> dict[str, Any]:
        """The change of each metric, by layer; those that time allowed."""
        found: dict[str, Any] = {}
        before: Figures | None = None
        spent = 0.0  # waiting for others, as give_way does, is no work
        for layer, make in list(variants.items())[:MOST]:
            if spent > LIMIT_S:
                break
            self.give_way()
            begin = time.monotonic()
            before = before or self.judge.graph(self.reference)
            found[layer] = differences(self.judge.graph(make()), before)
            spent += time.monotonic() - begin
        return found


def quantized(
    states: States, judge: Judge, give_way: Callable[[], None]
) -> dict[str, Any]:
    """Each quantized layer's own error, and the quality when only it is quantized.

    Returns:
        {"layers": [{"layer", "name", "op", "error", "sqnr_db", "effect"}],
        "samples", "judged"}, the lowest signal-to-noise ratio first.
    """
    from paretune.infrastructure.formats import _layers, _parts

    final, source = states.final, states.exported
    if final is None or source is None:
        return _gone(states)
    names = _layers.quantized_layers(final.model)
    inputs = first_inputs(judge.task, INPUTS)
    errors = {
        e.name: e for e in _layers.local_errors(final.model, source.model, inputs)
    }

    def worst_first(name: str) -> float:
        error = errors.get(name)
        return error.sqnr_db if error else math.inf

    names = sorted(names, key=worst_first)
    sweep = Sweep(judge.on_first(SAMPLES), source.model, give_way)

    def variant(name: str) -> Callable[[], Any]:
        return lambda: _layers.with_only(final.model, source.model, [name])

    effects = sweep.effects({name: variant(name) for name in names})
    found = []
    for name in names:
        error = errors.get(name)
        record: dict[str, Any] = {"layer": _parts.layer(name), "name": name}
        record["effect"] = effects.get(name, {})
        if error is not None:
            finite = error.sqnr_db if math.isfinite(error.sqnr_db) else None
            record |= {"op": error.op_type, "error": error.error, "sqnr_db": finite}
            record |= {"channel": error.channel, "channel_error": error.channel_error}
        found.append(record)
    return {"layers": found, "samples": SAMPLES, "judged": len(effects)}


def pruned(
    states: States, judge: Judge, baseline: Artifact, give_way: Callable[[], None]
) -> dict[str, Any]:
    """Channels of each layer before and after, and what it can do without.

    The effect is that of setting as many of the layer's channels to zero as were
    removed, the weakest by the norm of their weights with batch normalisation folded
    in, in the baseline and without any training. It tells which layers can spare
    channels, not what the recipe lost in the end.

    Returns:
        {"layers": [{"layer", "before", "after", "effect"}], "samples", "judged"},
        the largest share of channels lost first.
    """
    from paretune.infrastructure.formats import _parts, onnx

    source = states.shape
    if source is None:
        return _gone(states)
    model = onnx.open_artifact(baseline.path, None).model
    before = _parts.channels(model, _parts.names(model))
    after = _parts.channels(source.model, _parts.names(source.model))
    shrunk = {
        layer: (part, len(after[layer].norms))
        for layer, part in before.items()
        if layer in after and len(after[layer].norms) < len(part.norms)
    }
    if not shrunk:
        return unavailable("no layer of the exported graphs lost channels of its own")
    order = sorted(shrunk, key=lambda k: shrunk[k][1] / len(shrunk[k][0].norms))
    sweep = Sweep(judge.on_first(SAMPLES), model, give_way)

    def variant(layer: str) -> Callable[[], Any]:
        part, left = shrunk[layer]
        return lambda: _parts.without(model, part, len(part.norms) - left)

    effects = sweep.effects({layer: variant(layer) for layer in order})
    found = [
        {
            "layer": layer,
            "before": len(shrunk[layer][0].norms),
            "after": shrunk[layer][1],
            "effect": effects.get(layer, {}),
        }
        for layer in order
    ]
    return {"layers": found, "samples": SAMPLES, "judged": len(effects)}


def _gone(states: States) -> dict[str, Any]:
    trained = [s.name() for s in states.recipe.steps if s.trains]
    what = f"the model after {trained[-1]}" if trained else "the exported model"
    return unavailable(
        f"{what} is no longer in the cache, and an explanation trains nothing"
    )
