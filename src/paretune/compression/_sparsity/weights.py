"""The weights of a PyTorch model that zeros can be put into."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from paretune.core.errors import UnsupportedError
from paretune.infrastructure.formats._patterns import matching

Conv = nn.modules.conv._ConvNd
_Transposed = nn.modules.conv._ConvTransposeNd
_Recurrent = (nn.RNNBase, nn.RNNCellBase)
_PROJECTIONS = frozenset(
    {"in_proj_weight", "q_proj_weight", "k_proj_weight", "v_proj_weight"}
)


@dataclass(frozen=True)
class Weight:
    """A tensor of weights, as groups of matrices with a row for each output.

    Attributes:
        name: of the parameter; the first, if it has several.
        tensor: the parameter itself.
        users: the layers that share it.
        layout: "rows" (out, in); "kernel" (out, in / groups, ...); "transposed" (in,
            out / groups, ...); "table": an embedding, whose rows are no outputs.
        groups: of a convolution.
    """

    name: str
    tensor: nn.Parameter
    users: tuple[nn.Module, ...]
    layout: str
    groups: int = 1

    @property
    def inputs(self) -> int:
        """Values along the input axis; 0 for a table, which has none."""
        shape = self.tensor.shape
        match self.layout:
            case "table":
                return 0
            case "transposed":
                return shape[0] // self.groups
            case _:
                return shape[1]

    def matrix(self, values: torch.Tensor) -> torch.Tensor:
        """Values of the tensor's shape as (groups, rows, columns).

        The input axis is innermost, so that columns side by side belong to inputs
        side by side.
        """
        shape = values.shape
        match self.layout:
            case "kernel":
                rows = shape[0] // self.groups
                return values.movedim(1, -1).reshape(self.groups, rows, -1)
            case "transposed":
                split = values.reshape(self.groups, self.inputs, *shape[1:])
                return split.movedim(1, -1).reshape(self.groups, -1, self.inputs)
            case _:
                return values.reshape(1, shape[0], -1)

    def back(self, matrix: torch.Tensor) -> torch.Tensor:
        """The inverse of `matrix`."""
        shape = self.tensor.shape
        match self.layout:
            case "kernel":
                return matrix.reshape(shape[0], *shape[2:], shape[1]).movedim(-1, 1)
            case "transposed":
                split = (self.groups, *shape[1:], self.inputs)
                return matrix.reshape(split).movedim(-1, 1).reshape(shape)
            case _:
                return matrix.reshape(shape)

    @torch.no_grad()
    def clear(self, gone: torch.Tensor) -> None:
        """Sets to 0 what a mask of the shape of `matrix` says."""
        self.tensor[self.back(gone)] = 0


def find(model: nn.Module, skip: str = "") -> list[Weight]:
    """Weights of linear, convolutional, recurrent, attention and embedding layers.

    A tensor that several layers share is there once, and isn't there if one of them is
    to be left alone.

    Args:
        model: any.
        skip: comma-separated names of layers ("head", "layers.0.*", which mean those
            inside as well) and of their types ("Embedding").

    Raises:
        UnsupportedError: a word of `skip` matches nothing, or nothing is left.

    Example:
        >>> model = nn.Sequential(nn.Linear(8, 4), nn.ReLU(), nn.Linear(4, 2))
        >>> [w.name for w in find(model, skip="2")]
        ['0.weight']
    """
    modules = dict(model.named_modules(remove_duplicate=False))
    left = matching(modules, skip)
    uses: dict[int, list[tuple[str, nn.Module, str]]] = {}
    for path, module in modules.items():
        for name, tensor in module._parameters.items():
            if tensor is not None and tensor.dim() > 1 and tensor.is_floating_point():
                uses.setdefault(id(tensor), []).append((path, module, name))
    found = []
    for places in uses.values():
        known = [p for p in places if _layout(p[1], p[2])]
        if not known or any(path in left for path, _, _ in places):
            continue
        # What is a table in one place and a matrix in another is multiplied by.
        known.sort(key=lambda p: _layout(p[1], p[2]) == "table")
        path, module, name = known[0]
        tensor = module._parameters[name]
        assert tensor is not None
        users = tuple(dict.fromkeys(m for _, m, _ in known))
        groups = module.groups if isinstance(module, Conv) else 1
        label = f"{path}.{name}" if path else name
        layout = _layout(module, name)
        found.append(Weight(label, tensor, users, layout, groups))
    if not found:
        raise UnsupportedError(
            "not-applicable",
            "the model has no weights of linear, convolutional, recurrent or embedding "
            "layers to set to zero; leave this step out or skip less.",
        )
    return found


def _layout(module: nn.Module, name: str) -> str:
    """How a parameter is laid out; empty if it isn't one that takes zeros."""
    if isinstance(module, _Recurrent):
        return "rows" if name.startswith("weight") else ""
    if isinstance(module, nn.MultiheadAttention):
        return "rows" if name in _PROJECTIONS else ""
    if name != "weight":
        return ""
    if isinstance(module, _Transposed):
        return "transposed"
    if isinstance(module, Conv):
        return "kernel"
    if isinstance(module, nn.Embedding | nn.EmbeddingBag):
        return "table"
    return "rows" if isinstance(module, nn.Linear) else ""
