"""Where the time of a call goes, in the member and in the baseline, layer by layer."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from paretune.core.candidate import Artifact
from paretune.core.target import OperatorTime, Runtime, Target
from paretune.engine import launches

ROUNDS = 3  # profiles of each arm; their range is what a time is uncertain by
PROFILE_S = 0.3  # of calls in one of them
FEWEST, MOST = 20, 300  # calls
CALLS = 30  # to find out what one takes
SMALL = 4.0  # a layer that takes less than so many operators without work
NOISE = 0.05  # two layers that differ by less aren't told apart
LISTED = 1_000  # layers, those with the most time


@dataclass(frozen=True)
class Arm:
    """A file whose operators are timed.

    Attributes:
        artifact: the file.
        names: of its nodes, as far as they are known.
    """

    artifact: Artifact
    names: Sequence[str] = field(default=(), repr=False)


@dataclass(frozen=True)
class Layer:
    """What a layer of an arm takes: over the rounds, in s of one call."""

    seconds: float
    low: float
    high: float
    dtype: str
    op: str
    weighted: bool


@dataclass(frozen=True)
class Profiled:
    """What one arm takes.

    Attributes:
        call_s: of a call without a profiler.
        total_s: of all operators.
        kinds: seconds by kind of operator.
        dtypes: seconds of computing by number format.
        ops: by type and number format: [{"op", "dtype", "kind", "count", "seconds"}].
        layers: by module path; overhead is in none.
        lost: operators that belong to no known layer, in s by type.
        least_s: of an operator that has nothing to do.
    """

    call_s: float
    total_s: float
    kinds: Mapping[str, float]
    dtypes: Mapping[str, float]
    ops: list[dict[str, Any]]
    layers: Mapping[str, Layer]
    lost: Mapping[str, float]
    least_s: float

    def to_json(self) -> dict[str, Any]:
        return {
            "call_s": self.call_s,
            "total_s": self.total_s,
            "outside_s": self.call_s - self.total_s,
            "kinds": dict(self.kinds),
            "dtypes": dict(self.dtypes),
            "ops": self.ops,
            "unmatched": dict(self.lost),
            "least_s": self.least_s,
        }


def profiles(
    runtime: Runtime, target: Target, inputs: Path, arms: Mapping[str, Arm]
) -> dict[str, Profiled]:
    """Profiles of all arms, taken in turn and back again, each in a fresh process.

    Raises:
        UnsupportedError: the runtime has no profiler ("profile").
        MeasurementError: a process died.
    """
    taken: dict[str, list[tuple[OperatorTime, ...]]] = {name: [] for name in arms}
    calls: dict[str, list[float]] = {name: [] for name in arms}
    with ExitStack() as stack:
        started = {}
        for name, arm in arms.items():
            launch = launches.start(runtime.name(), arm.artifact, target, inputs)
            stack.callback(launch.close)
            started[name] = launch
        order = list(arms)
        for number in range(ROUNDS):
            for name in order if number % 2 == 0 else order[::-1]:
                each = statistics.median(started[name].block(CALLS))
                count = min(MOST, max(FEWEST, int(PROFILE_S / max(each, 1e-6))))
                taken[name].append(started[name].profile(count))
                calls[name] += started[name].block(count)
    return {
        name: _profiled(arms[name], taken[name], statistics.median(calls[name]))
        for name in arms
    }


def call_times(
    runtime: Runtime, target: Target, inputs: Path, files: Sequence[Artifact]
) -> list[tuple[float, float, float]]:
    """(median, least, most) seconds of a call, over the rounds, of each file."""
    taken: list[list[float]] = [[] for _ in files]
    with ExitStack() as stack:
        started = []
        for file in files:
            started.append(launches.start(runtime.name(), file, target, inputs))
            stack.callback(started[-1].close)
        order = list(range(len(files)))
        for number in range(ROUNDS):
            for i in order if number % 2 == 0 else order[::-1]:
                each = statistics.median(started[i].block(CALLS))
                count = min(MOST, max(FEWEST, int(PROFILE_S / max(each, 1e-6))))
                taken[i].append(statistics.median(started[i].block(count)))
    return [(statistics.median(each), min(each), max(each)) for each in taken]


def _profiled(
    arm: Arm, rounds: Sequence[tuple[OperatorTime, ...]], call_s: float
) -> Profiled:
    from paretune.infrastructure.formats import _parts

    first = rounds[0]
    same = [r for r in rounds if [o.name for o in r] == [o.name for o in first]]
    owners, weighted = _owners(arm, first)
    kinds: dict[str, float] = {}
    dtypes: dict[str, float] = {}
    lost: dict[str, float] = {}
    ops: dict[tuple[str, str, str], list[float]] = {}
    members: dict[str, list[int]] = {}
    middles = [statistics.median(r[i].seconds for r in same) for i in range(len(first))]
    for i, (operator, owner) in enumerate(zip(first, owners, strict=True)):
        seconds, kind = middles[i], operator.kind
        kinds[kind] = kinds.get(kind, 0.0) + seconds
        ops.setdefault((operator.op, operator.dtype, kind), []).append(seconds)
        if kind != "compute":
            continue
        dtypes[operator.dtype] = dtypes.get(operator.dtype, 0.0) + seconds
        if owner:
            members.setdefault(owner, []).append(i)
        else:
            lost[operator.op] = lost.get(operator.op, 0.0) + seconds
    layers = {}
    for owner, own in members.items():
        sums = [sum(r[i].seconds for i in own) for r in same]
        main = max(own, key=lambda i: middles[i])
        layers[owner] = Layer(
            statistics.median(sums),
            min(sums),
            max(sums),
            first[main].dtype,
            weighted.get(owner) or _parts.family(first[main].op),
            owner in weighted,
        )
    told = [
        {"op": op, "dtype": d, "kind": k, "count": len(each), "seconds": sum(each)}
        for (op, d, k), each in sorted(ops.items(), key=lambda item: -sum(item[1]))
    ]
    least = statistics.median(r[0].least_s for r in same) if first else 0.0
    return Profiled(call_s, sum(middles), kinds, dtypes, told, layers, lost, least)


def _owners(
    arm: Arm, operators: Sequence[OperatorTime]
) -> tuple[list[str], Mapping[str, str]]:
    """(the layer of each operator, the operator of each layer with weights)."""
    from paretune.infrastructure.formats import _parts

    if arm.artifact.format != "onnx":
        return [_parts.layer(o.name) for o in operators], {}
    from paretune.infrastructure.formats import onnx

    model = onnx.open_artifact(arm.artifact.path, None).model
    found = _parts.parts(model, arm.names or _parts.names(model))
    given = [(o.name, o.op, o.kind, o.values) for o in operators]
    return _parts.operator_layers(found, given), found.weighted


def side_by_side(
    found: Mapping[str, Profiled], stored_narrow: set[str], quantized: bool
) -> dict[str, Any]:
    """The member beside the baseline, and beside its own float twin if it has one.

    Args:
        found: profiles of "member" and "baseline", and maybe of "twin".
        stored_narrow: layers whose weights the file holds in fewer bits.
        quantized: whether the recipe has a step that quantizes.

    Returns:
        {"member", "baseline", "twin": totals each; "layers": [{"layer", "op",
        "dtype", "member_s", "baseline_s", "twin_s", "note"}], "left_out"}. `note` is
        "float": left as it was by a recipe that quantizes; "fell back": stored in 8
        bits and computed in float; "slower" or "no faster" than its float twin;
        "small": hardly more than the cost of any operator.
    """
    mine, base = found["member"], found["baseline"]
    twin = found.get("twin") or (base if quantized else None)
    layers = []
    for name in dict.fromkeys((*mine.layers, *base.layers)):
        own, its = mine.layers.get(name), base.layers.get(name)
        float_ = twin.layers.get(name) if twin else None
        one = own or its
        assert one is not None
        layers.append(
            {
                "layer": name,
                "op": one.op,
                "weighted": one.weighted,
                "dtype": own.dtype if own else "",
                "member_s": own.seconds if own else None,
                "baseline_s": its.seconds if its else None,
                "twin_s": float_.seconds if float_ else None,
                "note": _note(own, its, float_, name in stored_narrow, mine.least_s)
                if own and quantized
                else _small(its, base.least_s),
            }
        )

    def weight(record: Mapping[str, Any]) -> float:
        return max(record["member_s"] or 0.0, record["baseline_s"] or 0.0)

    kept = sorted(layers, key=weight, reverse=True)[:LISTED]
    return {
        "member": mine.to_json(),
        "baseline": base.to_json(),
        "twin": found["twin"].to_json() if "twin" in found else None,
        "layers": [record for record in layers if record in kept],
        "left_out": len(layers) - len(kept),
    }


def _note(
    own: Layer, its: Layer | None, twin: Layer | None, narrow: bool, least_s: float
) -> str:
    if own.dtype.startswith("float"):
        if narrow and own.weighted:
            return "fell back"
        return "float" if own.weighted else ""
    if twin is not None:
        if own.low > twin.high and own.seconds > (1 + NOISE) * twin.seconds:
            return "slower"
        if small := _small(its or twin, least_s):
            return small
        if not (own.high < twin.low and own.seconds < (1 - NOISE) * twin.seconds):
            return "no faster"
    return ""


def _small(layer: Layer | None, least_s: float) -> str:
    return "small" if layer is not None and layer.seconds < SMALL * least_s else ""
