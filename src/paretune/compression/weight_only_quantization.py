"""Weights in blocks of 4 or 8 bits; activations stay floats."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from paretune.core.space import Choice, Integer, Text
from paretune.core.technique import Run, Technique, param

if TYPE_CHECKING:
    import onnx


@dataclass(frozen=True)
class WeightOnlyQuantization(Technique):
    """Rounds the weights of linear and embedding layers, a scale for each few of them.

    For models that wait for memory: at a batch of 1, a linear layer reads each weight
    for a single multiplication. The file and what is held in memory shrink to about a
    sixth (4 bits) or a third (8 bits) of those layers, scales included, since the
    kernels that run (`MatMulNBits`, `GatherBlockQuantized`) take the numbers as they
    are. Products round their inputs to 8 bits as they come, block by block, for the
    processor's 8-bit instructions. With many rows at once (a long sequence, a large
    batch) they wait for arithmetic, and can be slower than floats: int8 activations
    are faster there. Convolutions stay as they are, and so do layers so small that
    the scales would outweigh what is saved.

    Attributes:
        bits: of a weight.
        block: how many weights along a layer's inputs share a scale: fewer lose less
            and take more space.
        symmetric: whether 0 is in the middle of the range of a block; if not, each
            block has a zero point, which loses less where its weights are mostly of
            one sign.
        rounding: "nearest", which needs no data; or "adaptive", which rounds the
            weights of a linear layer one after the other and lets those still free
            make good for what it does to the layer's output on calibration data; those
            of more than 6,144 inputs go to the nearest.
        samples: of the calibration split, for adaptive rounding.
        keep_float: comma-separated operators ("Gather") and layers ("head",
            "layers.0.*") that are left as they are; "" for none.

    Example:
        >>> WeightOnlyQuantization(bits=8).to_json()["bits"]
        8
    """

    source: ClassVar[str] = (
        "Frantar et al. 2023, arXiv:2210.17323; blocks: Dettmers and Zettlemoyer 2023, "
        "arXiv:2212.09720; why weights alone: Lin et al. 2024, arXiv:2306.00978"
    )
    lowers: ClassVar[frozenset[str]] = frozenset(
        {"size", "transfer_size", "latency_p50", "peak_memory"}
    )
    refuses: ClassVar[frozenset[str]] = frozenset({"quantized"})
    gives: ClassVar[frozenset[str]] = frozenset({"quantized"})

    bits: int = param(4, Choice((4, 8)), "bit")
    block: int = param(32, Choice((16, 32, 64, 128)))
    symmetric: bool = param(True, Choice((True, False)))
    rounding: str = param("nearest", Choice(("nearest", "adaptive")))
    samples: int = param(128, Integer(16, 1024, log=True))
    keep_float: str = param("", Text("head"))

    def on_onnx(self, model: onnx.ModelProto, run: Run) -> onnx.ModelProto:
        """The graph with its weights in blocks; inputs and outputs keep their types.

        Raises:
            UnsupportedError: no layer is worth it, or `keep_float` names something
                that isn't there.
            TaskError: adaptive rounding finds the calibration split empty.
        """
        from paretune.compression._precision import moments, weight_only
        from paretune.compression._quantization import choice
        from paretune.core.errors import UnsupportedError

        graph = choice.prepare(model)
        kept = choice.matching(graph, self.keep_float)
        known = choice.constants(graph.graph)
        found = []
        for layer in weight_only.layers(graph.graph):
            shape = layer.shape(known)
            size = weight_only.stored_bytes(
                shape, self.bits, self.block, self.symmetric
            )
            if layer.node.name not in kept and size < 4 * shape[0] * shape[1]:
                found.append(layer)
        if not found:
            raise UnsupportedError(
                "not-applicable",
                "weight-only quantization finds no linear or embedding layer that "
                f"blocks of {self.block} would make smaller; leave this step out.",
            )
        seen = None
        if self.rounding == "adaptive":
            inputs = {
                layer.node.input[0]: layer.shape(known)[1]
                for layer in found
                if layer.node.op_type != "Gather"
            }
            seen = moments.of(graph, inputs, run, self.samples)
        names = [layer.node.name for layer in found]
        weight_only.replace(graph, names, self.bits, self.block, self.symmetric, seen)
        return graph
