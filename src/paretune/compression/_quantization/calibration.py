"""The ranges that activations take on calibration data."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator
from functools import partial

import numpy as np
import onnx
import onnxruntime

from paretune.core.errors import TaskError, UnsupportedError
from paretune.core.target import Arrays
from paretune.core.task import as_arrays
from paretune.core.technique import Run

Range = tuple[float, float]

# Samples in one call: what bounds the memory that all activations take at once.
CHUNK = 16
# Values of one tensor that percentiles and histograms are made of.
KEPT = 2**17
COVERED = 0.9999
BINS = 2048
STEP = 16


def ranges(
    model: onnx.ModelProto,
    tensors: Collection[str],
    run: Run,
    method: str,
    samples: int,
) -> dict[str, Range]:
    """(lowest, highest) of each tensor over the first calibration samples.

    Args:
        model: a float graph with shapes inferred.
        tensors: names of float tensors in it; its inputs are allowed.
        run: gives the calibration split, the seed and the threads.
        method: "minmax", "percentile" or "entropy".
        samples: how many to look at, as far as there are so many.

    Raises:
        TaskError: the calibration split is empty.
        UnsupportedError: a tensor takes a value that is not finite.
    """
    found: dict[str, _Seen] = {name: _Seen() for name in sorted(tensors)}
    rng = np.random.default_rng(run.seed)
    quota = 0 if method == "minmax" else max(1, KEPT // -(-samples // CHUNK))
    for values in seen(model, tensors, run, samples):
        for name, own in found.items():
            own.add(values[name], quota, rng)
    for name, own in found.items():
        if not np.isfinite([own.low, own.high]).all():
            raise UnsupportedError(
                "calibration-nonfinite",
                f"tensor {name!r} is not finite on calibration data; keep the layer "
                "before it in float.",
            )
    pick = {"minmax": _Seen.whole, "percentile": _Seen.most, "entropy": _Seen.least}
    return {name: pick[method](own) for name, own in found.items()}


def peaks(
    model: onnx.ModelProto, tensors: Collection[str], run: Run, samples: int
) -> dict[str, np.ndarray]:
    """The largest magnitude of each channel, (channels,), on the last axis."""
    found: dict[str, np.ndarray] = {}
    for values in seen(model, tensors, run, samples):
        for name in tensors:
            flat = np.abs(values[name]).reshape(-1, values[name].shape[-1])
            own = flat.max(0)
            found[name] = np.maximum(found[name], own) if name in found else own
    return found


def seen(
    model: onnx.ModelProto, tensors: Collection[str], run: Run, samples: int
) -> Iterator[Arrays]:
    """The tensors by name, on some calibration samples after the others.

    Args:
        model: a graph with shapes inferred.
        tensors: names of values in it, and of its inputs.
        run: gives the calibration split and the threads.
        samples: how many to look at, as far as there are so many.

    Raises:
        TaskError: the calibration split is empty.
    """
    inputs = {i.name for i in model.graph.input}
    names = sorted(set(tensors) - inputs) or [model.graph.output[0].name]
    session = _session(model, names, run.threads)
    for feed in feeds(model, run, samples):
        yield feed | dict(zip(names, session.run(names, feed), strict=True))


def feeds(model: onnx.ModelProto, run: Run, samples: int) -> Iterator[Arrays]:
    """The inputs of the first calibration samples, `CHUNK` or fewer at a time.

    Raises:
        TaskError: the calibration split is empty.
    """
    fixed = [
        v.type.tensor_type.shape.dim[0].dim_value
        for v in model.graph.input
        if v.type.tensor_type.shape.dim and v.type.tensor_type.shape.dim[0].dim_value
    ]
    done = 0
    for feed in _chunks(run, samples, min([CHUNK, *fixed])):
        run.give_way()
        run.progress("calibrate", done / samples)
        yield feed
        done += len(next(iter(feed.values())))
    if not done:
        raise TaskError(
            "data-too-small",
            "batches('calibration') gave no sample; static int8 needs at least one.",
        )


class _Seen:
    """What is remembered of one tensor."""

    def __init__(self) -> None:
        self.low, self.high = np.inf, -np.inf
        self.kept: list[np.ndarray] = []

    def add(self, values: np.ndarray, quota: int, rng: np.random.Generator) -> None:
        if not values.size:
            return
        # Unlike Python's own, numpy's minimum keeps a NaN once it is there.
        self.low = float(np.minimum(self.low, values.min()))
        self.high = float(np.maximum(self.high, values.max()))
        if quota:
            flat = values.reshape(-1)
            # At random: a fixed stride can hit the same channels over and over.
            chosen = rng.integers(0, flat.size, quota) if flat.size > quota else ...
            self.kept.append(flat[chosen])

    def whole(self) -> Range:
        return self.low, self.high

    def most(self) -> Range:
        values = np.concatenate(self.kept)
        outside = (1 - COVERED) / 2
        low, high = np.quantile(values, (outside, 1 - outside))
        return max(self.low, float(low)), min(self.high, float(high))

    def least(self) -> Range:
        values = np.abs(np.concatenate(self.kept))
        # Zeros are always exact, and after a ReLU they would outweigh all else.
        values = values[values > 0]
        if not values.size:
            return self.whole()
        limit = entropy_limit(values, 128 if self.low < 0 else 256)
        return max(self.low, -limit), min(self.high, limit)


def entropy_limit(values: np.ndarray, levels: int) -> float:
    """The magnitude to clip at so that rounding loses the least information.

    Minimises the Kullback-Leibler divergence between the histogram of the values,
    clipped, and the same histogram merged into `levels` steps.

    Args:
        values: magnitudes, all above 0.
        levels: steps between 0 and the limit.

    Returns:
        A magnitude of at most the largest value.

    Source: Migacz, "8-bit inference with TensorRT", GTC 2017, S7310.
    """
    counts, edges = np.histogram(values, BINS, (0.0, float(values.max())))
    below = np.concatenate([[0], np.cumsum(counts)])
    best, limit = np.inf, float(edges[-1])
    for stop in range(levels, BINS + 1, STEP):
        inside = counts[:stop]
        clipped = inside.astype(np.float64)
        clipped[-1] += below[-1] - below[stop]
        step = np.arange(stop) * levels // stop
        occupied = inside > 0
        merged = np.bincount(step, inside, levels)
        share = merged / np.maximum(np.bincount(step, occupied, levels), 1)
        # A little everywhere: where nothing was merged, the divergence is infinite.
        rounded = np.where(occupied, share[step], 0.0) + 1e-4
        p, q = clipped / clipped.sum(), rounded / rounded.sum()
        there = p > 0
        divergence = float((p[there] * np.log(p[there] / q[there])).sum())
        if divergence < best:
            best, limit = divergence, float(edges[stop])
    return limit


def _session(
    model: onnx.ModelProto, names: list[str], threads: int
) -> onnxruntime.InferenceSession:
    """Gives the tensors `names` as outputs."""
    shown = onnx.ModelProto()
    shown.CopyFrom(model)
    graph = shown.graph
    infos = {v.name: v for v in itertools.chain(graph.value_info, graph.output)}
    del graph.output[:]
    unknown = partial(onnx.helper.make_tensor_value_info, elem_type=1, shape=None)
    graph.output.extend(infos.get(name) or unknown(name) for name in names)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(
        shown.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def _chunks(run: Run, samples: int, size: int) -> Iterator[Arrays]:
    left = samples
    for inputs, _ in run.task.batches("calibration"):
        arrays = as_arrays(inputs, "input")
        count = min(left, len(next(iter(arrays.values()))))
        for start in range(0, count, size):
            rows = slice(start, min(start + size, count))
            yield {k: np.ascontiguousarray(v[rows]) for k, v in arrays.items()}
        left -= count
        if left <= 0:
            return
