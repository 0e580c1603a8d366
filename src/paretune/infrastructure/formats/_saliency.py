"""How much each weight of a PyTorch model matters."""

from __future__ import annotations

import math

import torch
from torch import nn

from paretune.core.errors import MeasurementError
from paretune.core.task import as_arrays
from paretune.core.technique import Run
from paretune.infrastructure.formats import torch as torch_format

SAMPLES = 512
Norm = nn.modules.batchnorm._BatchNorm


def saliency(model: nn.Module, importance: str, run: Run) -> dict[str, torch.Tensor]:
    """A value for each element of each parameter that counts, by the parameter's name.

    "magnitude" gives `w**2`; "taylor" the mean over batches of `(w * dL/dw)**2`, the
    squared first-order change of the loss if the weight were 0; "bn_scale" `|w|` of
    batch normalisation's factors alone.

    Raises:
        MeasurementError: the loss is not finite.
    """
    if importance == "taylor":
        return _taylor(torch_format.clone(model), run)
    found = {}
    for path, module in model.named_modules():
        for name, weight in module.named_parameters(path, recurse=False):
            if importance == "magnitude":
                found[name] = weight.detach().double() ** 2
            elif isinstance(module, Norm) and name.endswith("weight"):
                found[name] = weight.detach().double().abs()
    return found


def _taylor(model: nn.Module, run: Run) -> dict[str, torch.Tensor]:
    weights = {n: p.requires_grad_(True) for n, p in model.named_parameters()}
    found = {n: torch.zeros_like(p, dtype=torch.double) for n, p in weights.items()}
    done = seen = 0
    for inputs, targets in run.task.batches("train"):
        run.give_way()
        run.progress("taylor importance", seen / SAMPLES)
        model.zero_grad()
        outputs = torch_format.call(model, torch_format.tensors(inputs))
        loss = run.task.loss(outputs, torch_format.tensors(targets))
        if not math.isfinite(loss.item()):
            raise MeasurementError(
                "nan", "the loss of a train batch is not finite; check data and loss."
            )
        loss.backward()
        for name, weight in weights.items():
            if weight.grad is not None:
                found[name] += (weight.detach() * weight.grad).double() ** 2
        done += 1
        seen += len(next(iter(as_arrays(inputs, "input").values())))
        if seen >= SAMPLES:
            break
    return {name: value / max(done, 1) for name, value in found.items()}
