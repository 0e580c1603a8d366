"""Inputs made from what batch normalisation remembers, where data must not be used.

Noise is changed by gradient descent until the mean and the deviation of what goes into
each batch normalisation are those that it kept from training. Such inputs take about
the ranges in each layer that real ones do.

Source: Cai et al. 2020, "ZeroQ: A Novel Zero Shot Quantization Framework",
arXiv:2001.00281, section 3.1.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from paretune.core.errors import TaskError, UnsupportedError
from paretune.core.task import Task
from paretune.core.technique import Run
from paretune.infrastructure.formats import torch as torch_format

BATCH = 32
MOST = 32  # samples; no more ranges are found in more of them
STEPS = 60
RATE = 0.1


class Distilled(Task):
    """A task with a calibration split of its own, and no other.

    Args:
        feeds: its batches, arrays by name.
    """

    name = "distilled"

    def __init__(self, feeds: list[dict[str, np.ndarray]]) -> None:
        self.feeds = feeds

    def model(self) -> Any:
        raise TaskError("data-free", "made-up inputs have no model of their own.")

    def batches(self, split: str) -> Iterable[tuple[Any, Any]]:
        if split != "calibration":
            raise TaskError("data-free", f"made-up inputs have no split {split!r}.")
        return [(feed, None) for feed in self.feeds]

    def loss(self, outputs: Any, targets: Any) -> Any:
        raise TaskError("data-free", "made-up inputs have no targets.")

    def quality(self, outputs: Any, targets: Any) -> Mapping[str, Any]:
        raise TaskError("data-free", "made-up inputs have no targets.")


def without_data(run: Run, graph: onnx.ModelProto, samples: int) -> Run:
    """The run with made-up inputs for a calibration split; no other split is left.

    Args:
        run: its stages, or else its task, give the torch model.
        graph: that was exported from it; it says what the inputs look like.
        samples: how many inputs to make, at most.

    Raises:
        UnsupportedError: there is no batch normalisation, or an input is not made of
            floats, or its size varies.
    """
    model = torch_format.clone(_model(run)).eval()
    norms = [
        m
        for m in model.modules()
        if isinstance(m, _BatchNorm) and m.running_mean is not None
    ]
    if not norms:
        raise UnsupportedError(
            "not-applicable",
            "calibration_data: bn_statistics needs a model with batch normalisation, "
            "and this one has none; use calibration_data: calibration.",
        )
    shapes = _shapes(graph)
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    chance = torch.Generator().manual_seed(run.seed)
    count = min(samples, MOST)
    sizes = [min(BATCH, count - start) for start in range(0, count, BATCH)]
    made = []
    for number, size in enumerate(sizes):
        inputs = {
            name: torch.randn(size, *shape, generator=chance).requires_grad_()
            for name, shape in shapes.items()
        }
        share = number / len(sizes), 1 / len(sizes)
        _distil(model, norms, inputs, run, *share)
        made.append({name: t.detach().numpy() for name, t in inputs.items()})
    return replace(run, task=Distilled(made))


def _model(run: Run) -> nn.Module:
    for stage in reversed(run.stages):
        model = stage.model()
        if isinstance(model, nn.Module):
            return model
    model = run.task.model()
    if isinstance(model, nn.Module):
        return model
    raise UnsupportedError(
        "not-applicable",
        "calibration_data: bn_statistics needs a PyTorch model; use calibration_data: "
        "calibration.",
    )


def _shapes(graph: onnx.ModelProto) -> dict[str, tuple[int, ...]]:
    """The shape of a sample of each input, by name."""
    weights = {i.name for i in graph.graph.initializer}
    found = {}
    for value in graph.graph.input:
        if value.name in weights:
            continue
        kind = value.type.tensor_type
        shape = tuple(d.dim_value for d in kind.shape.dim[1:])
        if kind.elem_type != TensorProto.FLOAT or not all(shape):
            raise UnsupportedError(
                "not-applicable",
                "calibration_data: bn_statistics makes up floats of a fixed shape, "
                f"which {value.name!r} is not; use calibration_data: calibration.",
            )
        found[value.name] = shape
    return found


def _distil(
    model: nn.Module,
    norms: list[_BatchNorm],
    inputs: dict[str, Tensor],
    run: Run,
    done: float,
    share: float,
) -> None:
    """Changes the inputs in place until the statistics are those of training."""
    optimizer = torch.optim.Adam(inputs.values(), lr=RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
    with _inputs_of(norms) as seen, torch.enable_grad():
        for step in range(STEPS):
            run.give_way()
            run.progress("make up inputs", done + share * step / STEPS)
            seen.clear()
            torch_format.call(model, _structure(inputs))
            loss = torch.stack([_apart(norm, value) for norm, value in seen]).sum()
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
            schedule.step()


def _structure(inputs: dict[str, Tensor]) -> Any:
    """As `as_arrays` would name it: one tensor, a tuple of them or a dict."""
    if list(inputs) == ["input"]:
        return inputs["input"]
    if list(inputs) == [f"input_{i}" for i in range(len(inputs))]:
        return tuple(inputs.values())
    return inputs


def _apart(norm: _BatchNorm, value: Tensor) -> Tensor:
    """How far statistics are from those of training, relative to the deviation."""
    assert norm.running_mean is not None and norm.running_var is not None
    axes = [i for i in range(value.ndim) if i != 1]
    mean, variance = value.mean(axes), value.var(axes, unbiased=False)
    known = norm.running_var + norm.eps
    off = (mean - norm.running_mean) ** 2 / known
    wide = ((variance + norm.eps).sqrt() / known.sqrt() - 1) ** 2
    return off.mean() + wide.mean()


@contextlib.contextmanager
def _inputs_of(norms: list[_BatchNorm]) -> Iterator[list[tuple[_BatchNorm, Tensor]]]:
    """What goes into each normalisation, as a list that fills while the model runs."""
    seen: list[tuple[_BatchNorm, Tensor]] = []

    def keep(norm: nn.Module, inputs: Any, named: Any) -> None:
        assert isinstance(norm, _BatchNorm)
        seen.append((norm, torch_format.first(inputs, named)))

    handles = [norm.register_forward_pre_hook(keep, with_kwargs=True) for norm in norms]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()
