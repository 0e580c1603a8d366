"""ONNX models: convert from PyTorch, keep, load, write, count."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path
from typing import Any, cast

import onnx
from torch import nn

from paretune.core.candidate import Artifact, Candidate
from paretune.core.errors import StoreError, UnsupportedError
from paretune.core.task import Task, as_arrays
from paretune.infrastructure.formats import (
    _container,
    _counts,
    _encoding,
    _export,
    _graph,
)
from paretune.infrastructure.formats import torch as torch_format

FORMAT = "onnx"
SUFFIX = ".onnx"
LARGEST = 2**31 - 1


def from_torch(candidate: Candidate, task: Task) -> Candidate:
    """The candidate as an ONNX graph.

    Batch normalisation is folded into convolutions, shapes are inferred, nodes are
    named "<module path>/<operator>". A weight that is 0 stays the one 0: -0.0, which
    folding may make of it, becomes 0.0. Axis 0 of the inputs is dynamic, and so are
    other axes that differ among the first calibration batches.

    Args:
        candidate: a torch one; its model is left as it is.
        task: gives the inputs to trace with.

    Raises:
        UnsupportedError: names the operator and the layer that ONNX can't hold.
    """
    model = _export.export(cast(nn.Module, candidate.model), task)
    _graph.name_parts(model, "model")
    _graph.strip(model, keep_shapes=True)
    _encoding.without_minus_zero(model)
    model = onnx.shape_inference.infer_shapes(model)
    return Candidate(model, FORMAT, candidate.traits, candidate.lineage)


def count(candidate: Candidate, task: Task) -> dict[str, int]:
    """{"parameters": weights, "macs": multiply-accumulates of one sample}.

    Scales, zero points and constants of shapes are no parameters, so a quantized
    model has as many as its float source.

    Raises:
        UnsupportedError: a shape that a count needs can't be inferred.
    """
    sample = as_arrays(torch_format.sample(task), "input")
    known = _counts.shapes(candidate.model, {k: v.shape for k, v in sample.items()})
    macs, unknown = _counts.macs(candidate.model, known)
    if unknown:
        observed = _counts.observed_shapes(candidate.model, sample)
        macs, unknown = _counts.macs(candidate.model, observed)
    if unknown:
        raise UnsupportedError(
            "unknown-shape",
            f"the shapes at {', '.join(unknown[:3])} can't be found out, so the "
            "multiply-accumulates of the model can't be counted.",
        )
    return {"parameters": _counts.parameters(candidate.model), "macs": macs}


def spared(candidate: Candidate) -> int:
    """Bytes, about, by which zeros among its weights make its file smaller."""
    packed = "entropy_coded" in candidate.traits
    return _encoding.spared_by_zeros(candidate.model, packed)


def save(candidate: Candidate, task: Task, folder: Path) -> None:
    """Writes model.onnx and candidate.json into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    facts = {
        "format": candidate.format,
        "traits": sorted(candidate.traits),
        "lineage": list(candidate.lineage),
    }
    (folder / "model.onnx").write_bytes(_bytes(candidate.model))
    (folder / "candidate.json").write_text(json.dumps(facts, indent=1))


def load(folder: Path, task: Task) -> Candidate:
    """The candidate that `save` wrote.

    Raises:
        StoreError: a file is missing or damaged.
    """
    try:
        facts = json.loads((folder / "candidate.json").read_text())
    except (OSError, ValueError) as error:
        raise StoreError("candidate-corrupt", f"{folder}: {error}") from error
    model = _read(folder / "model.onnx")
    return Candidate(model, FORMAT, frozenset(facts["traits"]), tuple(facts["lineage"]))


def write(candidate: Candidate, task: Task, path: Path) -> Artifact:
    """One deployable file, weights inside, nothing in it that no runtime reads.

    Each weight is kept in the smallest form that gives the same bits, if that is
    much smaller than its plain values; a runtime restores it when it loads the file.

    Args:
        candidate: an onnx one; with the trait "entropy_coded" its file is marked as
            one that travels packed.
        task: the model that the candidate comes from.
        path: the file to write, or a folder that gets `model.onnx`.

    Raises:
        UnsupportedError: it is larger than the 2 GB that one file can hold.
    """
    model = onnx.ModelProto()
    model.CopyFrom(candidate.model)
    _graph.strip(model, keep_shapes=False)
    _graph.tie(model)
    _graph.compact(model)
    packed = "entropy_coded" in candidate.traits
    _encoding.encode(model, packed)
    if packed:
        key, value = _container.MARK
        model.metadata_props.add(key=key, value=value)
    content = _bytes(model)
    path = path / f"model{SUFFIX}" if path.is_dir() else path
    path.write_bytes(content)
    digest = sha256(content).hexdigest()
    return Artifact(path, FORMAT, digest, len(content), candidate.traits)


def signature(path: Path) -> dict[str, tuple[str, tuple[int | None, ...]]]:
    """By input of a file that may come from anywhere: numpy's name of its type, and its
    shape, with None for an axis of any size.

    Raises:
        StoreError: the file is missing or damaged.
        UnsupportedError: an input is no tensor of numbers.
    """
    graph = _read(path).graph
    weights = {i.name for i in graph.initializer}
    found: dict[str, tuple[str, tuple[int | None, ...]]] = {}
    for value in graph.input:
        if value.name in weights:
            continue
        tensor = value.type.tensor_type
        try:
            dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type)
        except KeyError as error:
            raise UnsupportedError(
                "input-type", f"{path.name}: input {value.name!r} holds no numbers."
            ) from error
        shape = tuple(d.dim_value or None for d in tensor.shape.dim)
        found[value.name] = str(dtype), shape
    return found


def write_empty(path: Path) -> Artifact:
    """The file of a session that does nothing: it answers its one number, "x"."""
    number = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Identity", ["x"], ["y"])],
        "empty",
        [number("x", onnx.TensorProto.FLOAT, [1])],
        [number("y", onnx.TensorProto.FLOAT, [1])],
    )
    opset = [onnx.helper.make_opsetid("", 17)]
    content = _bytes(onnx.helper.make_model(graph, opset_imports=opset, ir_version=8))
    path.write_bytes(content)
    return Artifact(path, FORMAT, sha256(content).hexdigest(), len(content))


def open_artifact(path: Path, resolve: Any) -> Candidate:
    """The candidate in a file that `write` wrote; its lineage is not in there.

    Its weights are plain values again, under their names in the file.

    Args:
        path: the file.
        resolve: for formats whose files need the task; not called.

    Raises:
        StoreError: the file is missing or damaged.
    """
    model = _read(path)
    _encoding.decode(model)
    return Candidate(model, FORMAT)


def _read(path: Path) -> onnx.ModelProto:
    model = onnx.ModelProto()
    try:
        model.ParseFromString(path.read_bytes())
    except Exception as error:  # protobuf's own error has no stable home
        raise StoreError(
            "candidate-corrupt",
            f"{path} is damaged, cut short or no ONNX file: {error}",
        ) from error
    if not model.HasField("graph"):
        raise StoreError("candidate-corrupt", f"{path}: there is no graph in it.")
    return model


def _bytes(model: Any) -> bytes:
    size = model.ByteSize()
    if size > LARGEST:
        raise UnsupportedError(
            "artifact-size",
            f"the model has {size:,} bytes; one ONNX file holds at most {LARGEST:,}.",
        )
    return cast(bytes, model.SerializeToString(deterministic=True))


__all__ = [
    "count",
    "from_torch",
    "load",
    "open_artifact",
    "save",
    "signature",
    "spared",
    "write",
    "write_empty",
]
