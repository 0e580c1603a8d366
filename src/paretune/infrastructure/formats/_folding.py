"""Batch normalisation folded into the layer before it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from paretune.core.task import Task
from paretune.infrastructure.formats.torch import call, clone, first, sample

_LAYERS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)
_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
_ERROR = 1e-3  # of the largest output, in float32; a wrong fold is far beyond it


def fold(model: nn.Module, task: Task) -> list[tuple[str, str]]:
    """Folds each batch normalisation that follows a linear map into it, in place.

    `norm(W x + b) = W' x + b'` with `W' = W g / s` by output channel, where `g` is the
    factor of the normalisation and `s` the deviation that it divides by. A pair is what
    one run of the model shows: the tensor that leaves a convolution or linear layer is
    the one that enters the normalisation, nothing else reads it, and neither layer is
    used twice. The normalisation becomes `nn.Identity`.

    Args:
        model: in evaluation mode.
        task: gives a sample to run.

    Returns:
        The names of (layer, normalisation), as far as they were folded.

    Source: Jacob et al. 2018, arXiv:1712.05877.
    """
    inputs = sample(task)
    modules: dict[str, Any] = dict(model.named_modules())
    found = []
    for layer_name, norm_name in _pairs(model, inputs):
        layer = modules[layer_name]
        norm = modules[norm_name]
        with torch.no_grad():
            before = _tensors(call(model, inputs))
            kept = layer.weight, layer.bias
            _merge(layer, norm)
            _put(model, norm_name, nn.Identity())
            after = _tensors(call(model, inputs))
        if all(map(_alike, before, after)):
            found.append((layer_name, norm_name))
            continue
        layer.weight, layer.bias = kept
        _put(model, norm_name, norm)
    return found


def _pairs(model: nn.Module, inputs: Any) -> list[tuple[str, str]]:
    """Names of (layer, normalisation of what it gives and nobody else reads)."""
    probe = clone(model)
    for weight in probe.parameters():
        weight.requires_grad_(weight.is_floating_point())
    places = Counter(id(m) for _, m in probe.named_modules(remove_duplicate=False))
    uses = Counter(id(p) for m in probe.modules() for p in m._parameters.values())
    names = {id(m): name for name, m in probe.named_modules()}
    given: dict[int, tuple[nn.Module, torch.Tensor]] = {}
    taken: list[tuple[nn.Module, torch.Tensor]] = []
    calls: Counter[int] = Counter()

    def after(module: nn.Module, _: Any, output: Any) -> None:
        calls[id(module)] += 1
        given[id(output)] = module, output

    def before(module: nn.Module, arguments: Any, named: Any) -> None:
        calls[id(module)] += 1
        taken.append((module, first(arguments, named)))

    for module in probe.modules():
        if type(module) in _LAYERS:
            module.register_forward_hook(after)
        elif type(module) in _NORMS and module.track_running_stats:
            module.register_forward_pre_hook(before, with_kwargs=True)
    outputs = _tensors(call(probe, inputs))
    readers = _readers(outputs)
    found = []
    for norm, tensor in taken:
        if id(tensor) not in given:
            continue
        layer: Any = given[id(tensor)][0]
        if any(calls[id(m)] > 1 or places[id(m)] > 1 for m in (layer, norm)):
            continue
        shared = uses[id(layer.weight)] > 1
        if not shared and readers[tensor.grad_fn] == 1 and _last_axis(layer, tensor):
            found.append((names[id(layer)], names[id(norm)]))
    return found


def _last_axis(layer: nn.Module, tensor: torch.Tensor) -> bool:
    """Whether the channels of a layer's output are those that a norm would take."""
    return not isinstance(layer, nn.Linear) or tensor.dim() == 2


def _readers(outputs: list[torch.Tensor]) -> Counter[Any]:
    """How often the result of each step is read, from the graph of gradients."""
    count: Counter[Any] = Counter(t.grad_fn for t in outputs)
    open_, seen = list(count), set(count)
    while open_:
        step = open_.pop()
        for before, _ in getattr(step, "next_functions", ()):
            count[before] += 1
            if before is not None and before not in seen:
                seen.add(before)
                open_.append(before)
    return count


def _merge(layer: Any, norm: Any) -> None:
    variance, mean = norm.running_var.double(), norm.running_mean.double()
    factor = torch.rsqrt(variance + norm.eps)
    if norm.weight is not None:
        factor = factor * norm.weight.double()
    bias = -mean if layer.bias is None else layer.bias.double() - mean
    bias = bias * factor
    if norm.bias is not None:
        bias = bias + norm.bias.double()
    shape = (-1, *[1] * (layer.weight.dim() - 1))
    weight = layer.weight.double() * factor.reshape(shape)
    learns = layer.weight.requires_grad
    kind = layer.weight.dtype
    layer.weight = nn.Parameter(weight.to(kind), requires_grad=learns)
    layer.bias = nn.Parameter(bias.to(kind), requires_grad=learns)


def _put(model: nn.Module, name: str, module: nn.Module) -> None:
    path, _, own = name.rpartition(".")
    model.get_submodule(path)._modules[own] = module


def _tensors(outputs: Any) -> list[torch.Tensor]:
    return list(_floats(outputs))


def _floats(outputs: Any) -> Iterator[torch.Tensor]:
    if isinstance(outputs, torch.Tensor):
        if outputs.is_floating_point():
            yield outputs
        return
    for part in outputs.values() if isinstance(outputs, dict) else outputs:
        yield from _floats(part)


def _alike(a: torch.Tensor, b: torch.Tensor) -> bool:
    largest = max(float(a.abs().max()), 1e-6)
    return float((a - b).abs().max()) <= _ERROR * largest
