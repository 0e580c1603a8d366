"""A model that computes with the numbers that its quantized file will have."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torch.fx import GraphModule, Node
from torchao.quantization.pt2e import (
    FakeQuantize,
    FusedMovingAvgObsFakeQuantize,
    MovingAverageMinMaxObserver,
    PerChannelMinMaxObserver,
)
from torchao.quantization.pt2e.quantize_pt2e import prepare_qat_pt2e
from torchao.quantization.pt2e.quantizer import (
    QuantizationAnnotation,
    QuantizationSpec,
    Quantizer,
)

from paretune.compression._qat.capture import trace
from paretune.compression._qat.placement import (
    NORM,
    Placement,
    operator,
    place,
)
from paretune.compression._quantization import grid
from paretune.core.errors import UnsupportedError
from paretune.core.task import Task
from paretune.infrastructure.formats._export import quiet

FLOAT = 32  # bits
_PACE = 0.05  # of moving ranges: how much of a batch's goes into them
_MODES = ("train", "training")  # what operators call it
_KEY = "quantization_annotation"


class _Current(PerChannelMinMaxObserver):  # type: ignore[misc]
    """Looks at the weights as they are: what is written later has these scales."""

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        self.reset_min_max_vals()
        seen: torch.Tensor = super().forward(weight)
        return seen


class Simulation(nn.Module):
    """A model in training whose weights and activations are rounded.

    In training mode the ranges of activations follow the data, until `freeze`.
    Gradients go through the rounding as if it weren't there.

    Args:
        model: left as it is.
        task: gives the inputs to trace with.
        weight_bits: 2 to 8.
        activation_bits: 8, or `FLOAT` for none.

    Raises:
        UnsupportedError: the model can't be traced, or has nothing to round.
    """

    def __init__(
        self, model: nn.Module, task: Task, weight_bits: int, activation_bits: int
    ) -> None:
        super().__init__()
        graph = trace(model, task)
        placement = place(graph.graph)
        if not placement.weights:
            raise UnsupportedError(
                "not-applicable",
                "quantization-aware training finds no convolution or matrix product "
                "with constant weights; leave this step out.",
            )
        self.bits = weight_bits
        self.axes = {str(w.source.target): w.axis for w in placement.weights}
        self.frozen = False
        quantizer = _Placed(placement, weight_bits, activation_bits)
        with quiet():
            prepared = prepare_qat_pt2e(graph, quantizer)
        self.graph = quantizer.restore(prepared)
        self._modes = _modes(self.graph)
        if any(operator(n) is NORM for n in self.graph.graph.nodes):
            # Tells the training loop that one sample makes no batch.
            self.several = nn.BatchNorm1d(1, affine=False, track_running_stats=False)

    def forward(self, *inputs: Any, **named: Any) -> Any:
        return self.graph(*inputs, **named)

    def train(self, mode: bool = True) -> Simulation:
        """Switches what the graph does in training: a graph can't by itself."""
        self.training = mode
        nodes = {n.name: n for n in self.graph.graph.nodes}
        changed = False
        for name, index in self._modes.items():
            node = nodes[name]
            on = mode and not (self.frozen and operator(node) is NORM)
            if node.args[index] != on:
                node.update_arg(index, on)
                changed = True
        if changed:
            self.graph.recompile()
        for part in self._activations():
            part.enable_observer(mode and not self.frozen)
        return self

    def freeze(self) -> None:
        """Fixes ranges of activations and statistics of batch normalisation."""
        if not self.frozen:
            self.frozen = True
            self.train(self.training)

    def tensors(self) -> dict[str, torch.Tensor]:
        """Parameters and buffers by their names in the model, weights rounded."""
        found = {name: value.detach() for name, value in _named(self.graph).items()}
        for name, axis in self.axes.items():
            weight = found[name].contiguous().numpy()
            step = grid.scales(weight, axis, self.bits)
            found[name] = torch.from_numpy(grid.rounded(weight, step, axis, self.bits))
        return found

    def _activations(self) -> list[Any]:
        return [
            m
            for m in self.graph.modules()
            if isinstance(m, FusedMovingAvgObsFakeQuantize)
        ]


@torch.no_grad()
def put_back(model: nn.Module, values: Mapping[str, torch.Tensor]) -> None:
    """Gives `model` the values of these names, in place; it may lack some."""
    for name, tensor in _named(model).items():
        if name in values:
            tensor.copy_(values[name])


def _named(model: nn.Module) -> dict[str, torch.Tensor]:
    return {
        **dict(model.named_parameters(remove_duplicate=False)),
        **dict(model.named_buffers(remove_duplicate=False)),
    }


def _kept_norm(*arguments: Any) -> None: ...


class _Placed(Quantizer):  # type: ignore[misc]
    """Puts roundings where a placement says.

    Batch normalisation is hidden from `prepare_qat_pt2e`, which would multiply its
    factor into the weights before they are rounded and divide the result by it. With a
    symmetric scale for each output channel a factor of the channel changes no level, so
    that this gives the same numbers; but it would lose the epsilon and momentum of the
    normalisation, and divide by 0 where a factor is 0.
    """

    def __init__(
        self, placement: Placement, weight_bits: int, activation_bits: int
    ) -> None:
        super().__init__()
        self.placement = placement
        self.weight_bits = weight_bits
        self.activation_bits = activation_bits
        self.norms: dict[str, Any] = {}

    def annotate(self, model: GraphModule) -> GraphModule:
        inputs: dict[Node, dict[Node, QuantizationSpec]] = {}
        outputs: dict[Node, QuantizationSpec] = {}
        for weight in self.placement.weights:
            spec = _weights(self.weight_bits, weight.axis)
            inputs.setdefault(weight.node, {})[weight.source] = spec
        if self.activation_bits != FLOAT:
            for value in self.placement.values:
                if value.op == "placeholder":
                    for user in value.users:
                        inputs.setdefault(user, {})[value] = _activations()
                else:
                    outputs[value] = _activations()
        for node in model.graph.nodes:
            if node in inputs or node in outputs:
                node.meta[_KEY] = QuantizationAnnotation(
                    inputs.get(node, {}), outputs.get(node), _annotated=True
                )
            if operator(node) is NORM:
                self.norms[node.name] = node.target
                node.target = _kept_norm
        return model

    def validate(self, model: GraphModule) -> None: ...

    def restore(self, model: GraphModule) -> GraphModule:
        """The model with its batch normalisation back."""
        for node in model.graph.nodes:
            if node.name in self.norms:
                node.target = self.norms[node.name]
        model.recompile()
        return model


def _weights(bits: int, axis: int) -> QuantizationSpec:
    top = grid.highest(bits)
    return QuantizationSpec(
        torch.int8,
        FakeQuantize.with_args(
            observer=_Current, ch_axis=axis, eps=torch.finfo(torch.float32).tiny
        ),
        quant_min=-top,
        quant_max=top,
        qscheme=torch.per_channel_symmetric,
        ch_axis=axis,
    )


def _activations() -> QuantizationSpec:
    return QuantizationSpec(
        torch.uint8,
        FusedMovingAvgObsFakeQuantize.with_args(
            observer=MovingAverageMinMaxObserver, averaging_constant=_PACE
        ),
        quant_min=0,
        quant_max=255,
        qscheme=torch.per_tensor_affine,
    )


def _modes(graph: GraphModule) -> dict[str, int]:
    """By node, which of its arguments says whether it is in training."""
    found = {}
    for node in graph.graph.nodes:
        schema = getattr(node.target, "_schema", None)
        for index, argument in enumerate(schema.arguments if schema else ()):
            if argument.name in _MODES and index < len(node.args):
                found[node.name] = index
    return found
