"""Channels of a PyTorch model put in another order, with all that depends on them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import nn

from paretune.infrastructure.formats._channels import Conv, is_depthwise


@torch.no_grad()
def reorder(group: Any, graph: Any, order: Sequence[int]) -> None:
    """Moves channels in all layers of a group, in place.

    Args:
        group: of torch_pruning, with all channels of its root.
        graph: of torch_pruning, that the group is of.
        order: the old number of each channel of the root, by its new one.
    """
    moves: dict[tuple[int, int], tuple[torch.Tensor, torch.Tensor]] = {}
    for item in group:
        dep, indices = item
        at: dict[int, list[int]] = {}
        for channel, root in zip(indices, item.root_idxs, strict=True):
            at.setdefault(root, []).append(channel)
        outward = graph.is_out_channel_pruning_fn(dep.handler)
        for tensor, axis in _lying(dep.target, outward):
            size = tensor.shape[axis]
            # A tied tensor is reached through several layers, and moved once.
            _, places = moves.setdefault(
                (id(tensor), axis), (tensor, torch.arange(size))
            )
            for new, old in enumerate(order):
                for to, origin in zip(at.get(new, ()), at.get(old, ()), strict=True):
                    places[to % size] = origin % size
    for (_, axis), (tensor, places) in moves.items():
        tensor.copy_(tensor.index_select(axis, places))


def _lying(node: Any, outward: bool) -> Iterator[tuple[torch.Tensor, int]]:
    """Tensors of a node that have the channels along an axis, and that axis."""
    module = node.module
    if isinstance(module, nn.Parameter):
        yield module, node.pruning_dim % module.dim()
        return
    if isinstance(module, nn.LSTM):
        inward = (w for n, w in module.named_parameters() if "weight_ih_l0" in n)
        yield from ((weight, 1) for weight in inward)
        return
    for name, tensor in (*module.named_parameters(), *module.named_buffers()):
        if tensor.dim() == 0:
            continue
        if not isinstance(module, Conv | nn.Linear | nn.Embedding):
            yield tensor, tensor.dim() - 1
        elif name == "weight":
            yield tensor, _axis(module, outward)
        elif outward:
            yield tensor, 0


def _axis(module: nn.Module, outward: bool) -> int:
    if isinstance(module, nn.Embedding) or is_depthwise(module):
        return int(isinstance(module, nn.Embedding))
    return int(outward == bool(getattr(module, "transposed", False)))
