"""Single channels of PyTorch layers: their weights summed up, or cut off."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
import torch_pruning
from torch import nn
from torch.nn import functional

Conv = nn.modules.conv._ConvNd
MIXING_NORMS = (nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)


class RmsNormPruner(torch_pruning.BasePruningFunc):  # type: ignore[misc]
    """Teaches torch_pruning a layer that it doesn't know."""

    def prune_out_channels(self, layer: nn.RMSNorm, idxs: Sequence[int]) -> nn.RMSNorm:
        count = layer.normalized_shape[-1]
        kept = sorted(set(range(count)) - set(idxs))
        if layer.weight is not None:
            layer.weight = self._prune_parameter_and_grad(layer.weight, kept, -1)
        layer.normalized_shape = (len(kept),)
        return layer

    prune_in_channels = prune_out_channels

    def get_out_channels(self, layer: nn.RMSNorm) -> int:
        return int(layer.normalized_shape[-1])

    get_in_channels = get_out_channels


def width(module: nn.Module) -> int:
    for name in ("out_channels", "out_features", "embedding_dim"):
        if hasattr(module, name):
            return int(getattr(module, name))
    raise TypeError(type(module).__name__)


def groups(module: nn.Module) -> int:
    """Into how many alike groups a layer divides its channels; 1 for depthwise."""
    if isinstance(module, Conv):
        return 1 if is_depthwise(module) else int(module.groups)
    return int(module.num_groups) if isinstance(module, nn.GroupNorm) else 1


def along(module: nn.Module, values: torch.Tensor, outward: bool) -> torch.Tensor:
    """Values of a weight, summed for each output (or input) channel of its layer."""
    if values.dim() == 1:
        return values
    if isinstance(module, Conv):
        if outward != module.transposed or is_depthwise(module):
            return values.flatten(1).sum(1)
        return _by_group(module, values).sum((1, 3)).flatten()
    rows = outward and not isinstance(module, nn.Embedding)
    return values.sum(1 if rows else 0)


def _by_group(module: Conv, values: torch.Tensor) -> torch.Tensor:
    """[groups, channels of the first axis, of the second, everything else]."""
    first, second = values.shape[:2]
    return values.view(module.groups, first // module.groups, second, -1)


def is_depthwise(module: nn.Module) -> bool:
    return isinstance(module, Conv) and module.groups == module.out_channels > 1


@contextlib.contextmanager
def muted(group: Any, graph: Any) -> Iterator[None]:
    """The model as it is once nothing reads the group's channels any more.

    Layers that read them get weights of zero there, which stay, and norms that mix
    channels leave them out meanwhile.
    """
    hooks = []
    for dep, indices in group:
        module = dep.target.module
        if isinstance(module, MIXING_NORMS):
            hooks.append(module.register_forward_hook(_without(indices)))
        elif not graph.is_out_channel_pruning_fn(dep.handler):
            _mute(module, indices)
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


@torch.no_grad()
def _mute(module: nn.Module, channels: Sequence[int]) -> None:
    gone = torch.tensor(channels)
    if isinstance(module, nn.Linear):
        module.weight[:, gone] = 0
    elif isinstance(module, nn.LSTM):
        for name, weight in module.named_parameters():
            if name.startswith("weight_ih_l0"):
                weight[:, gone] = 0
    elif isinstance(module, Conv) and module.transposed:
        module.weight[gone] = 0
    elif isinstance(module, Conv):
        each = module.weight.shape[1]
        _by_group(module, module.weight)[gone // each, :, gone % each] = 0


def _without(channels: Sequence[int]) -> Callable[..., torch.Tensor]:
    """A hook: the norm over the other channels, and zero for these."""

    def hook(module: Any, inputs: Any, output: torch.Tensor) -> torch.Tensor:
        axis = 1 if isinstance(module, nn.GroupNorm) else -1
        data = inputs[0].transpose(axis, -1)
        left = torch.ones(data.shape[-1], dtype=torch.bool)
        left[list(channels)] = False
        kept = data[..., left].transpose(axis, -1)
        size = (int(left.sum()),)
        weight = None if module.weight is None else module.weight[left]
        if isinstance(module, nn.RMSNorm):
            kept = functional.rms_norm(kept, size, weight, module.eps)
        else:
            bias = None if module.bias is None else module.bias[left]
            if isinstance(module, nn.GroupNorm):
                kept = functional.group_norm(
                    kept, module.num_groups, weight, bias, module.eps
                )
            else:
                kept = functional.layer_norm(kept, size, weight, bias, module.eps)
        result = torch.zeros_like(output).transpose(axis, -1)
        result[..., left] = kept.transpose(axis, -1)
        return result.transpose(axis, -1)

    return hook
