"""What each layer of a PyTorch model costs: multiply-accumulates, or time."""

from __future__ import annotations

import tempfile
import time
import warnings
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import onnx
import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from paretune.compression._pruning.allocation import Cost
from paretune.core.candidate import Artifact, Candidate
from paretune.core.target import OperatorTime, Target
from paretune.core.task import as_arrays
from paretune.core.technique import Run
from paretune.infrastructure.formats import _parts
from paretune.infrastructure.formats import onnx as onnx_format
from paretune.infrastructure.formats import torch as torch_format
from paretune.infrastructure.formats._channels import Conv, is_depthwise
from paretune.infrastructure.runtimes.onnxruntime import OnnxRuntime

ROUNDS = 2  # profiles, of which the shortest time of an operator counts
PROFILE_S = 0.2  # of calls in one of them
FEWEST, MOST = 20, 300  # calls

_timed: dict[str, tuple[Cost, ...]] = {}


def costs(model: nn.Module, by: str, run: Run) -> tuple[Cost, ...]:
    """What a call costs, in parts that shrink with the model's layers.

    Args:
        model: in evaluation mode.
        by: "macs": multiply-accumulates of one sample; "latency": seconds that the
            operators of the exported model take in ONNX Runtime, one sample a call on
            one thread, by its profiler. A structure is timed once in a process.
        run: the task, and how to give way.

    Raises:
        UnsupportedError: with "latency", what can't be exported can't be timed.
    """
    if by == "macs":
        return _macs(model, torch_format.sample(run.task))
    key = _structure(model, torch_format.sample(run.task))
    if key not in _timed:
        run.progress("time the layers", 0.0)
        _timed[key] = _times(model, run)
    return _timed[key]


def _macs(model: nn.Module, sample: Any) -> tuple[Cost, ...]:
    # Fused kernels are opaque to the counter.
    with (
        warnings.catch_warnings(action="ignore"),
        torch.no_grad(),
        torch_format.plain_attention(),
        sdpa_kernel(SDPBackend.MATH),
        torch.backends.mkldnn.flags(enabled=False),
        FlopCounterMode(display=False) as counter,
    ):
        torch_format.call(model, sample)
    root = type(model).__name__
    inside = {
        name: sum(counts.values()) / 2
        for name, counts in counter.get_flop_counts().items()
    }
    found: list[Cost] = []
    rest = inside.pop("Global", 0.0)
    for name, module in model.named_modules():
        here = f"{root}.{name}" if name else root
        below = (f"{here}.{child}" for child, _ in module.named_children())
        own = inside.get(here, 0.0) - sum(inside.get(b, 0.0) for b in below)
        if own > 0:
            found += _of(name, module, own)
            rest -= own
    return (*found, Cost(max(0.0, rest)))


def _of(name: str, module: nn.Module, value: float) -> list[Cost]:
    """How the cost of a layer depends on its channels."""
    given, made = (name, "in"), (name, "out")
    if isinstance(module, nn.Linear | Conv) and not is_depthwise(module):
        return [Cost(value, (given, made))]
    if isinstance(module, nn.LSTM):
        sizes = {n: p.numel() for n, p in module.named_parameters() if "weight" in n}
        first = sum(size for n, size in sizes.items() if "weight_ih_l0" in n)
        share = first / sum(sizes.values())
        return [Cost(value * share, (given,)), Cost(value * (1 - share))]
    # Of a module that attends, these are its heads.
    return [Cost(value, (made,))]


def _times(model: nn.Module, run: Run) -> tuple[Cost, ...]:
    candidate = onnx_format.from_torch(Candidate(model, "torch"), run.task)
    content = candidate.model.SerializeToString(deterministic=True)
    inputs = [as_arrays(torch_format.sample(run.task), "input")]
    runtime, target = OnnxRuntime(), Target()
    with tempfile.TemporaryDirectory(prefix="paretune-") as folder:
        path = Path(folder) / "model.onnx"
        path.write_bytes(content)
        digest = sha256(content).hexdigest()
        artifact = Artifact(path, "onnx", digest, len(content))
        session = runtime.load(artifact, target)
        session(inputs[0])
        begin = time.perf_counter()
        session(inputs[0])
        each = time.perf_counter() - begin
        calls = min(MOST, max(FEWEST, int(PROFILE_S / max(each, 1e-6))))
        profiles = []
        for _ in range(ROUNDS):
            run.give_way()
            profiles.append(runtime.profile(artifact, target, inputs, calls))
    return _shared(model, candidate.model, profiles)


def _shared(
    model: nn.Module,
    graph: onnx.ModelProto,
    profiles: Sequence[tuple[OperatorTime, ...]],
) -> tuple[Cost, ...]:
    """The time of each operator, given to the layer that it depends on.

    An operator without weights works on what the last layer with weights made, but
    inside a module that attends it works on that module's heads.
    """
    first = profiles[0]
    same = [p for p in profiles if [o.name for o in p] == [o.name for o in first]]
    parts = _parts.parts(graph, _parts.names(graph))
    given = [(o.name, o.op, o.kind, o.values) for o in first]
    owners = _parts.operator_layers(parts, given)
    modules = dict(model.named_modules())
    found: list[Cost] = []
    before = ""
    for number, (operator, owner) in enumerate(zip(first, owners, strict=True)):
        # Whatever else runs on the machine makes it longer, never shorter.
        seconds = min(p[number].seconds for p in same)
        fixed = min(operator.least_s, seconds)
        found.append(Cost(fixed))
        if isinstance(modules.get(owner), nn.Linear | Conv | nn.Embedding | nn.LSTM):
            before = owner
            found += _of(owner, modules[owner], seconds - fixed)
        elif owner in modules and _attends(modules[owner]):
            found.append(Cost(seconds - fixed, ((owner, "out"),)))
        else:
            found.append(Cost(seconds - fixed, ((before, "out"),)))
    return tuple(found)


def _attends(module: nn.Module) -> bool:
    from paretune.infrastructure.formats._heads import HEADS

    return any(type(vars(module).get(name)) is int for name in HEADS)


def _structure(model: nn.Module, sample: Any) -> str:
    """A digest of all that the time of a call depends on but the machine."""
    kinds = [f"{type(m).__module__}.{type(m).__qualname__}" for m in model.modules()]
    shapes = {n: tuple(t.shape) for n, t in model.state_dict().items()}
    arrays: Mapping[str, Any] = as_arrays(sample, "input")
    given = {n: (a.shape, str(a.dtype)) for n, a in arrays.items()}
    return sha256(repr((kinds, str(model), shapes, given)).encode()).hexdigest()
