"""Spends a budget on the precisions of layers."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import onnx

from paretune.compression._precision import knapsack, noise, times
from paretune.compression._precision.mix import INT4, INT8, Mixer, Part
from paretune.core.candidate import Candidate
from paretune.core.errors import UnsupportedError
from paretune.infrastructure.formats import _graph
from paretune.infrastructure.formats import onnx as onnx_format

FAR = 2.0  # times the noise that the layers have alone: then it doesn't add up
ROUNDS = 8  # in which what the model of the cost leaves out is taken off the budget


@dataclass(frozen=True)
class Found:
    """A solution.

    Attributes:
        model: with it.
        precisions: of the parts.
        cost: of the whole, as it is.
    """

    model: onnx.ModelProto
    precisions: tuple[str, ...]
    cost: float


@dataclass(frozen=True)
class Costs:
    """What a budget is spent on.

    Attributes:
        parts: by part and precision, as modelled.
        rest: of what is no part, as modelled.
        whole: of the float model.
        of: of any graph, as it is.
    """

    parts: list[dict[str, float]]
    rest: float
    whole: float
    of: Callable[[onnx.ModelProto], float]


def allocate(mixer: Mixer, by: str, budget: float) -> onnx.ModelProto:
    """The graph with the precisions that add the least noise within the budget.

    Args:
        mixer: makes the graphs.
        by: "size" or "latency".
        budget: as a share of the float model's.

    Raises:
        UnsupportedError: there is nothing to choose, or the budget can't be met.
    """
    parts = mixer.parts()
    if not parts:
        raise UnsupportedError(
            "not-applicable",
            "mixed precision finds no layer with weights that it may round; leave this "
            "step out.",
        )
    run = mixer.run
    judge = noise.Judge(mixer.graph, run, mixer.samples)
    costs = _sizes(mixer, parts) if by == "size" else _times(mixer, parts, judge)
    limit = budget * costs.whole
    losses = noise.alone(mixer, parts, judge)
    best = _within(mixer, parts, losses, costs, limit)
    if best is None:
        least = costs.of(_cheapest(mixer, parts, costs)[1]) / costs.whole
        raise UnsupportedError(
            "budget",
            f"mixed precision can't bring this model to {budget:.3f} of its {by}: with "
            f"the cheapest precision of each layer it is {least + 5e-4:.3f}; set "
            "budget to that or more.",
        )
    got = judge.noise(best.model)
    added = sum(own[p] for own, p in zip(losses, best.precisions, strict=True))
    if got > FAR * added:
        marginal = noise.together(mixer, parts, best.precisions, got, judge)
        for own, p, more in zip(losses, best.precisions, marginal, strict=True):
            own[p] = max(own[p], more)
        other = _within(mixer, parts, losses, costs, limit)
        if other is not None and judge.noise(other.model) < got:
            best = other
    run.progress(_told(best, costs, by), 1.0)
    return best.model


def _within(
    mixer: Mixer,
    parts: Sequence[Part],
    losses: Sequence[dict[str, float]],
    costs: Costs,
    limit: float,
) -> Found | None:
    """The least noise that is modelled, of those whose cost is really within the limit.

    Layers cost other than modelled beside layers of another format: what is too dear is
    tried again with less to spend, and in the end with the cheapest of all.
    """
    left = limit - costs.rest
    least = sum(min(own.values()) for own in costs.parts)
    options = [list(part.options) for part in parts]
    spent = [
        [own[p] for p in each] for own, each in zip(costs.parts, options, strict=True)
    ]
    noises = [[own[p] for p in each] for own, each in zip(losses, options, strict=True)]
    for _ in range(ROUNDS):
        chosen = knapsack.solve(noises, spent, left)
        if chosen is None:
            break
        precisions = tuple(each[i] for each, i in zip(options, chosen, strict=True))
        model = mixer.mixed(parts, precisions)
        cost = costs.of(model)
        if cost <= limit:
            return Found(model, precisions, cost)
        modelled = sum(own[p] for own, p in zip(costs.parts, precisions, strict=True))
        # Not below what was just found too dear: another one must be chosen.
        below = modelled * (1 - 1e-9)
        less = min(left - (cost - limit), below)
        left = less if less >= least else (least + below) / 2
    precisions, model = _cheapest(mixer, parts, costs)
    cost = costs.of(model)
    return Found(model, precisions, cost) if cost <= limit else None


def _cheapest(
    mixer: Mixer, parts: Sequence[Part], costs: Costs
) -> tuple[tuple[str, ...], onnx.ModelProto]:
    precisions = tuple(min(own, key=lambda p: own[p]) for own in costs.parts)
    return precisions, mixer.mixed(parts, precisions)


def _sizes(mixer: Mixer, parts: Sequence[Part]) -> Costs:
    """Bytes of the file; what a layer takes beside its weights is spread evenly."""
    run = mixer.run

    def written(model: onnx.ModelProto) -> float:
        with tempfile.TemporaryDirectory(prefix="paretune-") as folder:
            candidate = Candidate(model, "onnx")
            return float(onnx_format.write(candidate, run.task, Path(folder)).size)

    whole = _plain(mixer.graph)
    rest = whole - sum(part.options["float32"] for part in parts)
    found = [dict(part.options) for part in parts]
    for precision in (INT8, INT4):
        own = [each for each in found if precision in each]
        if own:
            others = sum(e["float32"] for e in found if precision not in e)
            weights = sum(each[precision] for each in own)
            full = written(noise.everywhere(mixer, parts, precision))
            beside = (full - rest - others - weights) / len(own)
            for each in own:
                each[precision] += beside
    return Costs(found, rest, whole, written)


def _plain(model: onnx.ModelProto) -> float:
    """Bytes of the file with all weights as they are, none encoded for its zeros."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    _graph.strip(copy, keep_shapes=False)
    _graph.tie(copy)
    _graph.compact(copy)
    return float(copy.ByteSize())


def _times(mixer: Mixer, parts: Sequence[Part], judge: noise.Judge) -> Costs:
    """Seconds of all operators, for one sample."""
    feed = {name: array[:1] for name, array in judge.feeds[0].items()}
    timer = times.Timer(mixer.run, feed)
    floats = timer.layers(mixer.graph, parts)
    found = [
        dict.fromkeys(part.options, own)
        for part, own in zip(parts, floats.parts, strict=True)
    ]
    for precision in (INT8, INT4):
        if any(precision in part.options for part in parts):
            timed = timer.layers(noise.everywhere(mixer, parts, precision), parts)
            own = [i for i, part in enumerate(parts) if precision in part.options]
            beside = max(0.0, timed.rest - floats.rest) / len(own)
            for i in own:
                found[i][precision] = timed.parts[i] + beside
    return Costs(
        found, floats.rest, floats.total, lambda m: timer.layers(m, parts).total
    )


def _told(best: Found, costs: Costs, by: str) -> str:
    counts = Counter(best.precisions)
    each = ", ".join(f"{n} {p}" for p, n in sorted(counts.items()))
    return f"layers: {each}; {best.cost / costs.whole:.2f} of the {by}"
