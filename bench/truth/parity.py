"""The gate before any measurement: does it refuse what is wrong, and only that?

40 wrong artifacts and 40 good ones of six models: the built-in `fashion` and five of
other families (`_nets.py`), trained for some seconds. The faults are those that
exporters and quantizers are known to make (`_faults.py`), of the size that they have
there: a scale is off by a factor of 2; one weight becomes the layer's largest with the
other sign; two axes of equal length are swapped, so that no shape betrays it; two
outputs or two classes change places; a bias is left out; a normalisation keeps the mean
0 or the variance 1 that it began with.

A fault that changes no output by more than rounding does is no fault to anybody: it
must change an output by more (relative L2, 128 samples) than quantizing the same model
with the same scheme does, or in float by 1e-3. A layer's single weight or bias that
doesn't is drawn again; how often is printed. A shared activation scale that is too
small is not among the faults: it is what calibration that clips on purpose looks like,
and so a matter of quality.

Each artifact goes the way of the engine: graph, file, runtime, gate. A refusal names
the right layer if it is the one that was changed; for an activation's scale, the layer
that the activation comes from; for outputs that change places, either of the two.
"""

from __future__ import annotations

import functools
import re
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from bench._results import Results
from bench.truth import _faults as faults
from bench.truth._nets import nets
from paretune import catalog
from paretune.compression.post_training_quantization import PostTrainingQuantization
from paretune.core.candidate import Candidate
from paretune.core.errors import ParityError
from paretune.core.target import Target
from paretune.core.task import as_arrays
from paretune.core.technique import Run
from paretune.infrastructure.formats import onnx as onnx_format
from paretune.infrastructure.formats._layers import observed
from paretune.infrastructure.runtimes.torch_eager import TorchEager
from paretune.measurement import _parity

FLOAT: dict[str, Any] = {}
STATIC: dict[str, Any] = {"scheme": "static_int8"}
PERCENTILE = {**STATIC, "calibration": "percentile"}
ENTROPY = {**STATIC, "calibration": "entropy"}
DYNAMIC: dict[str, Any] = {"scheme": "dynamic_int8"}
HALF: dict[str, Any] = {"scheme": "float16"}
SEVEN = {**STATIC, "weight_bits": 7}
VISIBLE = 1e-3  # of the output's size, in float
DRAWS = 40


@dataclass(frozen=True)
class Fault:
    """One wrong artifact.

    Attributes:
        kind: of the six.
        net: whose.
        how: its quantization; empty for a float artifact.
        mutate: what is done to the graph; None if the export itself goes wrong.
        layers: where, drawn from these; the first for faults that aren't drawn.
        named: the layers that a refusal may name; by default the one that was changed.
    """

    kind: str
    net: str
    how: dict[str, Any]
    mutate: faults.Mutate | None
    layers: tuple[str, ...]
    named: tuple[str, ...] = ()


CONVS = tuple(f"features.{i}/Conv" for i in (0, 4, 7, 11, 14, 17))
BLOCKS = tuple(f"convs.{i}/Conv" for i in range(4))
WEIGHTS = ("wide/Gemm", "square/Gemm", "low/Gemm", "high/Gemm")
DEEP = tuple(f"features.{i}.0/Conv" for i in range(5))
LINEAR = tuple(f"{n}.{i}/MatMul" for i in (0, 1) for n in ("qkv", "proj", "wide"))
TABLE = ("low/Gemm", "high/Gemm")
TIMES = ("first/Conv", "second/Conv", "third/Conv")

FAULTS = (
    Fault("scale", "fashion", FLOAT, faults.scale(2), ("features.14/Conv",)),
    Fault("scale", "fashion", STATIC, faults.scale(2), ("features.4/Conv",)),
    Fault("scale", "residual", STATIC, faults.channel_scale, BLOCKS),
    Fault("scale", "signal", STATIC, faults.scale(0.5), ("second/Conv",)),
    Fault("scale", "text", DYNAMIC, faults.scale(2), ("qkv.1/MatMul",)),
    Fault("scale", "table", DYNAMIC, faults.channel_scale, ("wide/Gemm",)),
    Fault(
        *("scale", "depthwise", PERCENTILE, faults.one_sided_scale, ("hardtanh_1",)),
        named=("features.1.0",),
    ),
    Fault(
        *("scale", "text", STATIC, faults.one_sided_scale, ("gelu",)),
        named=("wide.0", ""),
    ),
    Fault("weight", "fashion", FLOAT, faults.one_weight, CONVS),
    Fault("weight", "fashion", STATIC, faults.one_weight, CONVS),
    Fault("weight", "fashion", PERCENTILE, faults.one_weight, CONVS[:2]),
    Fault("weight", "residual", FLOAT, faults.one_weight, BLOCKS),
    Fault("weight", "residual", STATIC, faults.one_weight, BLOCKS),
    Fault("weight", "depthwise", SEVEN, faults.one_weight, DEEP),
    Fault("weight", "text", DYNAMIC, faults.one_weight, LINEAR),
    Fault("weight", "table", HALF, faults.one_weight, WEIGHTS),
    Fault("transposed", "fashion", FLOAT, faults.transposed, ("features.4/Conv",)),
    Fault("transposed", "residual", STATIC, faults.transposed, ("convs.1/Conv",)),
    Fault("transposed", "signal", PERCENTILE, faults.transposed, ("second/Conv",)),
    Fault("transposed", "text", FLOAT, faults.transposed, ("proj.0/MatMul",)),
    Fault("transposed", "text", DYNAMIC, faults.transposed, ("proj.1/MatMul",)),
    Fault("transposed", "table", STATIC, faults.transposed, ("square/Gemm",)),
    Fault("swapped", "table", FLOAT, faults.swapped_names, TABLE, ("low", "high")),
    Fault("swapped", "table", STATIC, faults.swapped_names, TABLE, ("low", "high")),
    Fault("swapped", "table", DYNAMIC, faults.swapped_names, TABLE, ("low", "high")),
    Fault("swapped", "fashion", STATIC, faults.swapped_rows, ("head/Gemm",)),
    Fault("swapped", "depthwise", FLOAT, faults.swapped_rows, ("head/Gemm",)),
    Fault("bias", "fashion", FLOAT, faults.no_bias, CONVS),
    Fault("bias", "fashion", STATIC, faults.no_bias, CONVS),
    Fault("bias", "residual", STATIC, faults.no_bias, BLOCKS),
    Fault("bias", "depthwise", HALF, faults.no_bias, DEEP),
    Fault("bias", "signal", STATIC, faults.no_bias, TIMES),
    Fault("bias", "text", DYNAMIC, faults.no_bias, LINEAR),
    Fault("bias", "table", DYNAMIC, faults.no_bias, WEIGHTS),
    Fault("normalisation", "table", FLOAT, faults.constant(1), ("Div",)),
    Fault("normalisation", "table", STATIC, faults.constant(0), ("Sub",)),
    Fault("normalisation", "signal", STATIC, faults.constant(1), ("Div",)),
    Fault("normalisation", "fashion", FLOAT, None, ("features.5",), ("features.4",)),
    Fault("normalisation", "residual", STATIC, None, ("norms.1",), ("convs.1",)),
    Fault(
        *("normalisation", "depthwise", STATIC, None, ("features.2.1",)),
        named=("features.2.0",),
    ),
)

EVERY = ("fashion", "residual", "depthwise", "signal", "text", "table")
GOOD = (
    *((net, how) for net in EVERY for how in (FLOAT, STATIC, PERCENTILE, ENTROPY)),
    *((net, how) for net in EVERY for how in (DYNAMIC, HALF)),
    *(("fashion", SEVEN), ("text", SEVEN)),
    *(("residual", {**STATIC, "keep_float": "stem"}), ("fashion", {**HALF})),
)
SIZES = (_parity.SIZES, (1, 5, 64), (1, 7, 128), (1, 2, 160))


def run(results: Results, quick: bool) -> None:
    wrong = FAULTS[::4] if quick else FAULTS
    good = GOOD[::4] if quick else GOOD
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        told = [_fault(number, fault, path) for number, fault in enumerate(wrong)]
        passed, spent = [], []
        for number, (net, how) in enumerate(good):
            sizes = SIZES[number % len(SIZES)]
            begin = time.perf_counter()
            said = gate(net, how, quantize(net, how), path, sizes)
            spent.append(time.perf_counter() - begin)
            passed.append(not said)
            results.row(what="good", net=net, how=how, sizes=sizes, refused=said)
            if said:
                print(f"good, {net} {how}, but: {said}", flush=True)
    for row in told:
        results.row(**row)
    caught = sum(bool(r["refused"]) for r in told)
    results.figure(
        f"wrong artifacts refused, of {len(wrong)}",
        caught,
        f"== {len(wrong)}",
        caught == len(wrong),
    )
    named = sum(r["named"] for r in told)
    results.figure(
        f"refusals that name the right layer, of {len(wrong)}",
        named,
        f">= {0.9 * len(wrong):g}",
        named >= 0.9 * len(wrong),
    )
    refused = len(passed) - sum(passed)
    results.figure(
        f"good artifacts refused, of {len(good)}", refused, "== 0", not refused
    )
    slowest = max(spent)
    results.figure("the gate, slowest of the good", slowest, "<= 3", slowest <= 3, "s")


def _fault(number: int, fault: Fault, path: Path) -> dict[str, Any]:
    """What the gate says of one wrong artifact."""
    model, layer, change, noise, draws = _mutated(number, fault)
    said = gate(fault.net, fault.how, model, path)
    found = re.search(r"first differs at ([^,:;]*)", said)
    name = found[1] if found else ""
    path_ = name.rpartition("/")[0]
    wanted = fault.named or (layer.rpartition("/")[0] or layer,)
    right = bool(found) and (path_ in wanted or name in wanted)
    print(
        f"{fault.kind:13} {fault.net:9} {fault.how or 'float'}: {layer}, outputs "
        f"change by {change:.2g} (noise {noise:.2g}, draw {draws})",
        f"    {said or 'NOT REFUSED'}{'' if right else '   [another layer]'}",
        sep="\n",
        flush=True,
    )
    return {
        "what": fault.kind,
        "net": fault.net,
        "how": fault.how,
        "layer": layer,
        "changes": change,
        "noise": noise,
        "draws": draws,
        "refused": said,
        "named": right,
    }


def _mutated(
    number: int, fault: Fault
) -> tuple[onnx.ModelProto, str, float, float, int]:
    """A fault that shows: (graph, layer, what it does to outputs, noise, draws)."""
    rng = np.random.default_rng(number)
    right, source = quantize(fault.net, fault.how), quantize(fault.net, FLOAT)
    noise = max(_apart(fault.net, right, source), VISIBLE)
    for draw in range(1, DRAWS + 1):
        layer = str(rng.choice(fault.layers)) if draw > 1 else fault.layers[0]
        if fault.mutate is None:
            task = nets()[fault.net]
            wrong = faults.stale(task, task.model(), layer)
            model = _quantized(fault.net, fault.how, wrong)
        else:
            model = onnx.ModelProto()
            model.CopyFrom(right)
            if len(fault.layers) > 1:
                layer = str(rng.choice(fault.layers))
            fault.mutate(model, layer, rng)
        change = _apart(fault.net, model, right)
        if change > noise:
            return model, layer, change, noise, draw
    raise RuntimeError(f"no {fault.kind} in {fault.net} shows in {DRAWS} draws")


def gate(
    net: str,
    how: dict[str, Any],
    model: onnx.ModelProto,
    path: Path,
    sizes: tuple[int, ...] = _parity.SIZES,
) -> str:
    """Why the gate refuses an artifact; "" if it lets it pass."""
    task = nets()[net]
    traits = frozenset({"quantized"} if how else ())
    artifact = onnx_format.write(Candidate(model, "onnx", traits), task, path)
    session = catalog.usable_runtime("onnxruntime").load(artifact, Target())
    try:
        _parity.check(
            TorchEager().session(task.model()),
            session,
            [as_arrays(x, "input") for x, _ in task.batches("validation")],
            quantized=bool(how),
            sizes=sizes,
            graphs=_parity.Graphs(model, lambda: quantize(net, FLOAT)),
        )
    except ParityError as error:
        return error.message
    finally:
        session.close()
    return ""


def quantize(net: str, how: dict[str, Any]) -> onnx.ModelProto:
    """A model's graph, as it should be; kept."""
    return _kept(net, tuple(sorted(how.items())))


@functools.cache
def _kept(net: str, how: tuple[tuple[str, Any], ...]) -> onnx.ModelProto:
    task = nets()[net]
    if not how:
        return onnx_format.from_torch(Candidate(task.model(), "torch"), task).model
    return _quantized(net, dict(how), quantize(net, FLOAT))


def _quantized(
    net: str, how: dict[str, Any], source: onnx.ModelProto
) -> onnx.ModelProto:
    if not how:
        return source
    return PostTrainingQuantization(**how).on_onnx(source, Run(nets()[net]))


def _apart(net: str, model: onnx.ModelProto, other: onnx.ModelProto) -> float:
    """||a - b|| / ||b|| of the output that differs most, on 128 samples."""
    task = nets()[net]
    inputs = as_arrays(task.split("validation")[0], "input")
    inputs = {k: v[:128] for k, v in inputs.items()}
    names = [o.name for o in other.graph.output]
    a, b = (observed(m, inputs, names) for m in (model, other))
    return max(float(np.linalg.norm(a[n] - b[n]) / np.linalg.norm(b[n])) for n in names)
