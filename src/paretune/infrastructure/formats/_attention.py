"""Scaled dot-product attention in plain ONNX operators."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import onnx_ir
import torch
from onnxscript import opset18 as op


def attention(
    query: Any,
    key: Any,
    value: Any,
    attn_mask: Any = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Any:
    """softmax(query keyᵀ scale + mask) value, for tensors of any rank.

    The exporter's own form reshapes the keys by sizes that it takes from the data at
    run time, twice a call; a transposition says the same.
    """
    width = query.shape[-1]
    if is_causal or enable_gqa or dropout_p or not isinstance(width, int):
        return _general()(
            query, key, value, attn_mask, dropout_p, is_causal, scale, enable_gqa
        )
    factor = 1 / math.sqrt(width) if scale is None else scale
    rank = len(key.shape)
    order = [*range(rank - 2), rank - 1, rank - 2]
    scores = op.MatMul(
        op.Mul(query, op.CastLike(op.Constant(value_float=factor), query)),
        op.Transpose(key, perm=order),
    )
    if attn_mask is None:
        return op.MatMul(op.Softmax(scores, axis=-1), value)
    if attn_mask.dtype != onnx_ir.DataType.BOOL:
        return op.MatMul(op.Softmax(op.Add(scores, attn_mask), axis=-1), value)
    hidden = op.CastLike(op.Constant(value_float=-math.inf), query)
    shares = op.Softmax(op.Where(attn_mask, scores, hidden), axis=-1)
    # A row that sees nothing is 0/0 here and zero in PyTorch.
    zero = op.CastLike(op.Constant(value_float=0.0), query)
    return op.MatMul(op.Where(op.IsNaN(shares), zero, shares), value)


def _general() -> Callable[..., Any]:
    from onnxscript.function_libs.torch_lib.ops import nn

    general: Callable[..., Any] = nn.aten_scaled_dot_product_attention
    return general


TRANSLATIONS: dict[Callable[..., Any], Callable[..., Any]] = {
    torch.ops.aten.scaled_dot_product_attention.default: attention
}
