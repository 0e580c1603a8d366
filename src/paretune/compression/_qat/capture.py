"""A model as a graph of operators that can be trained."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.fx import GraphModule

from paretune.core.errors import UnsupportedError
from paretune.core.task import Task, like
from paretune.infrastructure.formats import _export
from paretune.infrastructure.formats.torch import clone, plain_attention, tensors

aten = torch.ops.aten
# In place they would write over what was rounded.
_IN_PLACE = {
    aten.relu_: aten.relu,
    aten.relu6_: aten.relu6,
    aten.hardtanh_: aten.hardtanh,
    aten.clamp_: aten.clamp,
    aten.leaky_relu_: aten.leaky_relu,
    aten.sigmoid_: aten.sigmoid,
    aten.silu_: aten.silu,
    aten.dropout_: aten.dropout,
    aten.add_: aten.add,
    aten.mul_: aten.mul,
}
_COUNTER = "num_batches_tracked"  # it would count in evaluation as well


def trace(model: nn.Module, task: Task) -> GraphModule:
    """The graph of a copy of `model` as it trains, with parameters of the same names.

    Args:
        model: left as it is.
        task: gives the inputs to trace with; axes that vary among them stay dynamic.

    Raises:
        UnsupportedError: the model can't be traced, and why.
    """
    structure, arrays, axes = _export.example(task)
    inputs = like(structure, {name: tensors(a) for name, a in arrays.items()})
    dynamic = like(
        structure,
        {n: dict.fromkeys(axes[n], torch.export.Dim.DYNAMIC) for n in arrays},
    )
    arguments: tuple[Any, ...] = ()
    named = {}
    if isinstance(inputs, dict):
        named = inputs
    elif isinstance(inputs, tuple):
        arguments = inputs
    else:
        arguments, dynamic = (inputs,), (dynamic,)
    with _export.quiet(), plain_attention():
        try:
            program = torch.export.export(
                clone(model).train(), arguments, named, dynamic_shapes=dynamic
            )
        except MemoryError:
            raise
        except Exception as error:
            reason = str(error).strip().partition("\n")[0].rstrip(".")
            raise UnsupportedError(
                "not-traceable",
                "quantization-aware training needs the model as a graph, and it can't "
                f"be traced in training mode: {reason or type(error).__name__}.",
            ) from error
        graph = program.module(check_guards=False)
    assert isinstance(graph, GraphModule)
    for node in list(graph.graph.nodes):
        packet = getattr(node.target, "overloadpacket", None)
        if packet not in _IN_PLACE:
            continue
        if node.all_input_nodes[0].op != "get_attr":
            node.target = getattr(_IN_PLACE[packet], node.target._overloadname)
        elif not node.users and node.args[0].target.endswith(_COUNTER):
            graph.graph.erase_node(node)
    graph.recompile()
    return graph
