"""ONNX graphs run as they are written."""

from __future__ import annotations

import onnx
import onnxruntime


def literal(model: onnx.ModelProto) -> onnxruntime.InferenceSession:
    """A session that runs each operator by itself, on one thread, and says nothing."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    options.graph_optimization_level = (
        onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    )
    return onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
