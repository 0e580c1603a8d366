"""8-bit and 16-bit versions of ONNX graphs."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Collection, Iterator, Mapping
from typing import Any, cast

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import QuantType
from onnxruntime.quantization.calibrate import TensorData
from onnxruntime.quantization.onnx_model import ONNXModel
from onnxruntime.quantization.onnx_quantizer import ONNXQuantizer
from onnxruntime.quantization.qdq_quantizer import QDQQuantizer
from onnxruntime.quantization.quant_utils import (
    QuantizationMode,
    add_infer_metadata,
    pack_bytes_to_4bit,
)

from paretune.compression._quantization import grid
from paretune.compression._quantization.choice import (
    ABSORBED,
    DYNAMIC,
    PRODUCTS,
    Chosen,
    constants,
    weighted,
)
from paretune.compression._quantization.weights import Layer, arrays, layers
from paretune.core.errors import UnsupportedError

SMALLEST_HALVED = 16
# The first versions of ONNX with integers of 4 bits. Of the operators that exports are
# made of, none has come to mean anything else since the version before.
INT4_OPSET, INT4_IR = 21, 10


def static(
    model: onnx.ModelProto,
    chosen: Chosen,
    ranges: Mapping[str, tuple[float, float]],
    bits: int,
    steps: Mapping[str, np.ndarray] | None = None,
) -> onnx.ModelProto:
    """8-bit weights and activations, as QuantizeLinear / DequantizeLinear pairs.

    Args:
        model: from `choose`; it is used up.
        chosen: from `choose`.
        ranges: (lowest, highest) of each of `chosen.tensors`.
        bits: of the weights, 8, 7 or 4; see `narrow` for how 4 are stored.
        steps: by the name of weights, the step of each output channel; by default,
            such that the largest weight is in range.
    """
    nodes = {n.name: n for n in model.graph.node if n.name in set(chosen.nodes)}
    weights = layers(model, nodes)
    scales = dict(steps or {})
    if bits < 7:
        held = arrays(model, {layer.weight for layer in weights} - scales.keys())
        for layer in weights:
            if layer.weight in held:
                scales[layer.weight] = grid.scales(held[layer.weight], layer.axis, bits)
    known = dict(ranges)
    for node in reversed(list(nodes.values())):
        if node.op_type in ABSORBED and node.output[0] in known:
            known.setdefault(node.input[0], known[node.output[0]])
    table = {
        name: TensorData(
            lowest=np.array(low, np.float32), highest=np.array(high, np.float32)
        )
        for name, (low, high) in known.items()
    }
    add_infer_metadata(model)
    with _quiet():
        quantizer = QDQQuantizer(
            model,
            True,
            bits == 7,
            QuantType.QInt8,
            QuantType.QUInt8,
            table,
            list(nodes),
            [],
            sorted({n.op_type for n in nodes.values()}),
            {
                "WeightSymmetric": True,
                "OpTypesToExcludeOutputQuantization": sorted(PRODUCTS),
                "TensorQuantOverrides": _overrides(weights, scales),
            },
        )
        quantizer.quantize_model()
    quantized = _finished(quantizer.model)
    if bits < 7:
        narrow(quantized, {layer.weight for layer in weights})
    return quantized


def dynamic(
    model: onnx.ModelProto, kept: Collection[str], bits: int
) -> onnx.ModelProto:
    """8-bit weights of products, LSTMs and embeddings; activations at run time.

    Args:
        model: from `prepare`; it is used up.
        kept: names of nodes to leave in float.
        bits: of the weights, 8 or 7.

    Raises:
        UnsupportedError: there is no such operator.
    """
    constant = constants(model.graph)
    nodes = [
        n
        for n in model.graph.node
        if n.name not in kept and weighted(n, constant, DYNAMIC)
    ]
    if not nodes:
        raise UnsupportedError(
            "not-applicable",
            "dynamic int8 finds no matrix product, LSTM or embedding with constant "
            "weights, and leaves convolutions alone; use scheme: static_int8.",
        )
    # Gemm becomes MatMul and Add under a name of its own before it is quantized.
    names = [name for n in nodes for name in (n.name, f"{n.name}_MatMul")]
    add_infer_metadata(model)
    with _quiet():
        quantizer = ONNXQuantizer(
            model,
            True,
            bits == 7,
            QuantizationMode.IntegerOps,
            False,
            QuantType.QInt8,
            QuantType.QUInt8,
            None,
            names,
            [],
            sorted(DYNAMIC),
            {"MatMulConstBOnly": True},
        )
        quantizer.quantize_model()
    return _finished(quantizer.model)


def half(model: onnx.ModelProto, kept: Collection[str]) -> onnx.ModelProto:
    """Weights stored as float16, each with a Cast that the runtime folds at load.

    Args:
        model: from `prepare`; it is used up.
        kept: names of nodes whose weights stay float32.

    Raises:
        UnsupportedError: no weight is large enough to be worth it.
    """
    graph = model.graph
    held = {name for n in graph.node if n.name in kept for name in n.input}
    casts = []
    for weight in graph.initializer:
        values = numpy_helper.to_array(weight)
        if (
            weight.data_type != TensorProto.FLOAT
            or values.size < SMALLEST_HALVED
            or weight.name in held
            or np.abs(values).max() > np.finfo(np.float16).max
        ):
            continue
        name = weight.name
        stored = f"{name}_float16"
        weight.CopyFrom(numpy_helper.from_array(values.astype(np.float16), stored))
        casts.append(
            helper.make_node(
                "Cast", [stored], [name], f"{name}_widened", to=TensorProto.FLOAT
            )
        )
    if not casts:
        raise UnsupportedError(
            "not-applicable",
            f"float16 finds no float32 weight of {SMALLEST_HALVED} or more values; "
            "leave this step out.",
        )
    nodes = list(graph.node)
    del graph.node[:]
    graph.node.extend(casts + nodes)
    return model


def narrow(model: onnx.ModelProto, weights: Collection[str]) -> None:
    """Stores whole numbers of 4 bits as such, in place: half the bytes of int8.

    A Cast widens them. The runtime does that once, when it loads the file, and so it
    finds the int8 constants that its 8-bit kernels want: given int4 themselves, it
    would compute in float.

    Args:
        model: a quantized graph.
        weights: names that the weights had in the float graph.
    """
    stored = {f"{name}_quantized" for name in weights}
    casts = []
    for held in model.graph.initializer:
        if held.name not in stored or held.data_type != TensorProto.INT8:
            continue
        values = numpy_helper.to_array(held)
        wide = f"{held.name}_widened"
        packed = pack_bytes_to_4bit(values.tobytes())
        held.CopyFrom(
            helper.make_tensor(
                held.name, TensorProto.INT4, values.shape, bytes(packed), raw=True
            )
        )
        for node in model.graph.node:
            node.input[:] = [wide if v == held.name else v for v in node.input]
        casts.append(
            helper.make_node("Cast", [held.name], [wide], wide, to=TensorProto.INT8)
        )
    if not casts:
        return
    nodes = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend(casts + nodes)
    for opset in model.opset_import:
        if opset.domain in ("", "ai.onnx"):
            opset.version = max(opset.version, INT4_OPSET)
    model.ir_version = max(model.ir_version, INT4_IR)


def _overrides(
    weights: Collection[Layer], steps: Mapping[str, np.ndarray]
) -> dict[str, list[dict[str, Any]]]:
    """The steps of weights as ONNX Runtime's quantizer takes them."""
    zero = np.int8(0)
    return {
        layer.weight: [
            {"axis": layer.axis, "scale": step, "zero_point": zero}
            for step in steps[layer.weight]
        ]
        for layer in weights
        if layer.weight in steps
    }


def _finished(quantized: ONNXModel) -> onnx.ModelProto:
    quantized.topological_sort()
    model = cast(onnx.ModelProto, quantized.model)
    del model.metadata_props[:]
    return model


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
