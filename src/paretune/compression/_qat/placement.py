"""Which values of a traced model are rounded: those that the quantized file rounds.

The rules are those of static post-training quantization on the ONNX graph, in the
operators of PyTorch: convolutions and products with constant weights; what lies between
convolutions and has an 8-bit kernel; not the outputs of products.
"""

from __future__ import annotations

from typing import NamedTuple, cast

import torch
from torch.fx import Graph, Node

aten = torch.ops.aten

CONVOLUTIONS = frozenset({aten.conv1d, aten.conv2d, aten.conv3d})
# By operator, the axis of the weights that the output channels are on.
PRODUCTS = {aten.linear: 0, aten.matmul: 1, aten.mm: 1}
NORM = aten.batch_norm
ABSORBED = frozenset(
    {aten.relu, aten.relu6, aten.hardtanh, aten.clamp, aten.clamp_min, aten.clamp_max}
)
COMPUTED = frozenset(
    {aten.add, aten.mul, aten.leaky_relu, aten.sigmoid, aten.silu, aten.cat, aten.mean}
)
POOLED = frozenset(
    {
        *(aten.adaptive_avg_pool1d, aten.adaptive_avg_pool2d),
        *(aten.adaptive_avg_pool3d, aten.avg_pool1d, aten.avg_pool2d, aten.avg_pool3d),
    }
)
# They give values that they were given: what was rounded stays rounded.
MOVED = frozenset(
    {
        *(aten.max_pool1d, aten.max_pool2d, aten.max_pool3d, aten.view, aten.reshape),
        *(aten.flatten, aten.squeeze, aten.unsqueeze, aten.permute, aten.transpose),
        aten.slice,
    }
)
FOLLOWERS = ABSORBED | COMPUTED | POOLED | MOVED
# An exported file has none of them.
NOTHING = frozenset(
    {
        *(aten.dropout, aten.feature_dropout, aten.alpha_dropout, aten.detach),
        *(aten.clone, aten.contiguous, aten.alias),
    }
)


class Weight(NamedTuple):
    """The weights of a layer that are rounded.

    Attributes:
        node: that has the layer's operator.
        source: that gives the weights.
        axis: of them, that of the output channels.
    """

    node: Node
    source: Node
    axis: int


class Placement(NamedTuple):
    """What is rounded in a graph.

    Attributes:
        weights: of convolutions and products.
        values: nodes whose result is.
    """

    weights: tuple[Weight, ...]
    values: tuple[Node, ...]


def place(graph: Graph) -> Placement:
    """What is rounded in a graph that `capture.trace` gave; nothing may be."""
    weights: dict[Node, Weight] = {}
    narrow: set[Node] = set()
    chosen: dict[Node, None] = {}
    shown = {origin(n) for n in graph.output_node().all_input_nodes}
    for node in graph.nodes:
        kind = operator(node)
        if kind in NOTHING or (kind is NORM and folded(node)):
            continue
        if weight := _weight(node):
            weights[node] = weight
            chosen[node] = None
            if kind in CONVOLUTIONS:
                narrow.add(end(node))
        elif kind in FOLLOWERS and (inputs := data(node)):
            # A value that is shown before it is cut off is not 8-bit itself.
            visible = kind in ABSORBED and inputs[0] in shown
            if not visible and narrow.issuperset(inputs) and _spatial(node):
                chosen[node] = None
                narrow.add(node)
    kept = _without_dead_ends(chosen, weights)
    values: dict[Node, None] = {}
    for node in chosen:
        if node not in kept:
            continue
        ends = data(node)
        if operator(node) not in PRODUCTS and operator(node) not in MOVED:
            ends = [*ends, end(node)]
        for value in ends:
            into = [r in kept and operator(r) in ABSORBED for r in readers(value)]
            if into != [True] and operator(value) not in MOVED:
                values[value] = None
    return Placement(tuple(weights.values()), tuple(values))


def operator(node: Node) -> object:
    """The operator of a node, whichever its overload; None for what is none."""
    return getattr(node.target, "overloadpacket", None)


def origin(node: Node) -> Node:
    """The node whose value this is in an exported file."""
    while operator(node) in NOTHING:
        node = node.all_input_nodes[0]
    return node


def folded(node: Node) -> bool:
    """Whether a batch normalisation becomes part of the convolution before it."""
    before = node.all_input_nodes[0]
    return operator(before) in CONVOLUTIONS and len(before.users) == 1


def end(node: Node) -> Node:
    """The node that gives what a convolution gives in an exported file."""
    if operator(node) in CONVOLUTIONS and len(node.users) == 1:
        (after,) = node.users
        if operator(after) is NORM:
            return after
    return node


def data(node: Node) -> list[Node]:
    """The tensors that go into an operator, but for constants."""
    return [
        origin(n)
        for n in node.all_input_nodes
        if n.op != "get_attr" and isinstance(n.meta.get("val"), torch.Tensor)
    ]


def readers(node: Node) -> list[Node]:
    """What reads a node's value in an exported file."""
    found: list[Node] = []
    for user in node.users:
        found += readers(user) if operator(user) in NOTHING else [user]
    return found


def _weight(node: Node) -> Weight | None:
    kind = operator(node)
    if kind not in CONVOLUTIONS and kind not in PRODUCTS:
        return None
    if len(node.args) < 2 or any(
        isinstance(n, Node) and n.op != "get_attr" for n in node.args[1:]
    ):
        return None
    source = cast(Node, node.args[1])
    rank = source.meta["val"].dim()
    if kind in PRODUCTS and rank != 2:
        return None
    return Weight(node, source, PRODUCTS.get(kind, 0))


def _spatial(node: Node) -> bool:
    """False for a mean that isn't one over all axes after the channels."""
    if operator(node) is not aten.mean:
        return True
    rank = node.all_input_nodes[0].meta["val"].dim()
    axes = node.args[1] if len(node.args) > 1 else None
    if not isinstance(axes, list | tuple) or rank < 3:
        return False
    return sorted(cast(int, a) % rank for a in axes) == list(range(2, rank))


def _without_dead_ends(
    chosen: dict[Node, None], weights: dict[Node, Weight]
) -> set[Node]:
    """Without followers whose results nothing reads in 8 bits."""
    kept: set[Node] = set()
    for node in reversed(chosen):
        free = operator(node) in ABSORBED and any(
            end(w) is data(node)[0] for w in weights if operator(w) in CONVOLUTIONS
        )
        if node in weights or free or any(r in kept for r in readers(end(node))):
            kept.add(node)
    return kept
