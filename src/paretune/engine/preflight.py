"""Looks at model, data, loss and metric before anything is spent on them.

TRUST's rule: what is wrong is found in seconds and said in one sentence, with where it
is and what to do.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from paretune.core.errors import TaskError
from paretune.core.target import Arrays
from paretune.core.task import SHUFFLED, SPLITS, Task, as_arrays, like
from paretune.engine import _batches
from paretune.engine.fingerprint import Fingerprint
from paretune.engine.tasks import first_line
from paretune.measurement.quality import outputs_of, scores

TIMED = 4  # training steps that the estimate of an epoch takes
LOW = 30  # samples below which no quality difference of use can be seen
UNREPEATED = (
    "[data-order] batches({!r}) begins differently on the second pass, though the "
    "generators of Python, numpy and torch are seeded before each: results won't "
    "repeat, and none will be found in the cache; draw from those generators."
)


def check(task: Task) -> dict[str, Any]:
    """What was found out about a task that can be used.

    Returns:
        {"fingerprint": str, "samples": {split: count}, "epoch_s": seconds of one pass
        over the training split, "warnings": [str]}.

    Raises:
        TaskError: something can't be used, and what to do about it.
    """
    from paretune.infrastructure.formats import torch as torch_format

    for metric, better in task.metrics.items():
        if better not in ("higher", "lower"):
            raise TaskError(
                "metric-direction",
                f"{metric!r} has direction {better!r}; write 'higher' or 'lower'.",
            )
    digest = Fingerprint()
    torch_format.seed(0)
    model = _module(_batches.user(task, "model()", task.model), "model()")
    torch_format.check_finite(model)
    _weights(digest, model)
    for name, build in task.teachers.items():
        torch_format.seed(0)
        what = f"teachers[{name!r}]"
        digest.text(what, _taught(_module(_batches.user(task, what, build), what)))

    session = _reference(model)
    seen: dict[bytes, str] = {}
    counts = {}
    warnings = []
    for split in (*SPLITS, "unlabelled") if task.unlabelled else SPLITS:
        count = width = 0
        first: tuple[Arrays, Arrays] = ({}, {})
        for batch, (inputs, targets) in enumerate(_batches.batches(task, split)):
            arrays = _batches.arrays(inputs, "input", split)
            labels = _batches.targets(targets, split)
            size = _batches.length(arrays, labels, split)
            _batches.finite(arrays, split, count)
            if batch == 0:
                first = arrays, labels
                width = _runs(task, model, session, inputs, targets, size)
            digest.arrays(arrays)
            digest.arrays(labels)
            if labels:
                _labels(task, model, inputs, targets, width, f"{split} sample", count)
            _batches.apart(seen, arrays, size, split)
            count += size
        counts[split] = count
        digest.text(split, count)
        _enough(task, split, count)
        if not _batches.again(task, split, first) and split in SHUFFLED:
            warnings.append(UNREPEATED.format(split))
    warnings += _chance(task, *outputs_of(session, task.batches("validation")))
    epoch_s = _batches.user(task, "training step", lambda: _epoch(task, model))
    digest.task(task)
    return {
        "fingerprint": digest.hexdigest(),
        "samples": counts,
        "epoch_s": epoch_s,
        "warnings": warnings,
    }


def _module(found: Any, what: str) -> Any:
    from torch import Tensor
    from torch.nn import Module

    if isinstance(found, Module):
        return found
    if isinstance(found, Mapping) and found:
        tensors = sum(isinstance(v, Tensor) for v in found.values())
        if tensors == len(found):
            raise TaskError(
                "model-weights-only",
                f"{what} gives a {type(found).__name__} that holds {tensors} tensors "
                "but no architecture; return a torch.nn.Module that has loaded them.",
            )
    raise TaskError(
        "model-type",
        f"{what} gives {type(found).__name__}; return a torch.nn.Module.",
    )


def _weights(digest: Fingerprint, model: Any) -> None:
    """Structure, code and weights of a model."""
    digest.value(model)
    digest.value([dict(model.named_parameters()), dict(model.named_buffers())])


def _taught(teacher: Any) -> str:
    digest = Fingerprint()  # of its own, which keeps no teacher alive
    _weights(digest, teacher)
    return digest.hexdigest()


def _enough(task: Task, split: str, count: int) -> None:
    if count == 0:
        raise TaskError(
            "data-empty",
            f"batches({split!r}) of task {task.name!r} gives no sample; each of "
            f"{', '.join(SPLITS)} needs some, and 'unlabelled' where there is one.",
        )
    if split in ("validation", "test") and count < LOW:
        raise TaskError(
            "data-too-small",
            f"{split} has {count} samples: the smallest difference that could be seen "
            f"is {100 / count:.0f} points; give at least {LOW}, better thousands.",
        )


def _epoch(task: Task, model: Any) -> float:
    """Seconds that a pass over the training split takes with one thread, roughly."""
    from paretune.infrastructure.formats import _training
    from paretune.infrastructure.formats import torch as torch_format

    first: tuple[Any, Any] = (None, None)

    def step(mode: Any, student: Any) -> None:
        outputs = mode.call(student, torch_format.tensors(first[0]))
        task.loss(outputs, torch_format.tensors(first[1])).backward()

    batches = 0
    for batch in _batches.batches(task, "train"):
        first = batch if batches == 0 else first
        batches += 1
    mode = _training.fastest(model, step)
    student = mode.prepare(torch_format.clone(model).train())
    took = []
    for _ in range(TIMED):
        begin = time.monotonic()
        step(mode, student)
        took.append(time.monotonic() - begin)
    return batches * min(took)


def _reference(model: Any) -> Any:
    from paretune.infrastructure.runtimes.torch_eager import TorchEager

    return TorchEager().session(model)


def _runs(
    task: Task, model: Any, session: Any, inputs: Any, targets: Any, size: int
) -> int:
    """Tries model and loss on one batch; the outputs' width if they are a table."""
    from paretune.infrastructure.formats import torch as torch_format

    arrays = as_arrays(inputs, "input")
    try:
        first, second = session(arrays), session(arrays)
    except (TaskError, MemoryError):
        raise
    except Exception as error:
        shapes = ", ".join(f"{k} {v.dtype}{list(v.shape)}" for k, v in arrays.items())
        text = first_line(error)
        raise TaskError(
            "data-shape",
            f"the model can't take a batch of {shapes}: {text} "
            "(axes in another order? a dtype that the model doesn't expect?)",
        ) from error
    for name, value in first.items():
        if not value.ndim or len(value) != size:
            raise TaskError(
                "output-shape",
                f"output {name!r} has shape {list(value.shape)} for a batch of {size} "
                "samples; the first axis of every output must be the batch.",
            )
        apart = float(np.abs(value - second[name]).max()) if value.size else 0.0
        if apart > 1e-6 * max(1.0, float(np.abs(value).max(initial=0))):
            noisy = [n for n, m in model.named_modules() if m.training and n]
            where = f"; module {noisy[0]!r} is in train mode" if noisy else ""
            raise TaskError(
                "model-nondeterministic",
                f"two runs on one batch differ by {apart:.3g} at {name!r}{where}.",
            )
    if targets is None:
        return 0
    outputs = torch_format.call(model, torch_format.tensors(inputs))
    loss = _loss(task, outputs, targets, "sample", 0)
    if not hasattr(loss, "backward") or loss.ndim or not loss.requires_grad:
        shape = list(getattr(loss, "shape", []))
        raise TaskError(
            "loss-type",
            f"loss() gives {type(loss).__name__}{shape}; "
            "a scalar tensor with a gradient is needed.",
        )
    if not math.isfinite(float(loss.detach())):
        raise TaskError("loss-nonfinite", f"loss() gives {float(loss.detach())}.")
    tables = [v.shape for v in as_arrays(outputs, "output").values()]
    return int(tables[0][1]) if len(tables) == 1 and len(tables[0]) == 2 else 0


def _loss(task: Task, outputs: Any, targets: Any, what: str, before: int) -> Any:
    from paretune.infrastructure.formats import torch as torch_format

    tensors = torch_format.tensors(targets)
    try:
        return task.loss(outputs, tensors)
    except MemoryError:
        raise
    except Exception as error:
        _out_of_range(outputs, targets, before, what)
        shapes = {k: v.shape for k, v in as_arrays(targets, "target").items()}
        raise TaskError(
            "loss-raises",
            f"loss() raised on targets of shape {shapes}: {first_line(error)}",
        ) from error


def _labels(
    task: Task,
    model: Any,
    inputs: Any,
    targets: Any,
    width: int,
    what: str,
    before: int,
) -> None:
    """Whether the loss takes labels that look out of range (it may ignore -100)."""
    from paretune.infrastructure.formats import torch as torch_format

    for label in as_arrays(targets, "target").values():
        if not width or label.dtype.kind not in "iu" or label.ndim != 1:
            continue
        if label.min() >= 0 and label.max() < width:
            continue
        outputs = torch_format.call(model, torch_format.tensors(inputs))
        _loss(task, outputs, targets, what, before)


def _out_of_range(outputs: Any, targets: Any, before: int, what: str) -> None:
    """Says which label is out of range, if that is what is wrong."""
    outs, labels = as_arrays(outputs, "output"), as_arrays(targets, "target")
    if len(outs) != 1 or len(labels) != 1:
        return
    (out,), (label,) = outs.values(), labels.values()
    if out.ndim != 2 or label.ndim != 1 or label.dtype.kind not in "iu":
        return
    bad = (label < 0) | (label >= out.shape[1])
    if bad.any():
        row = int(bad.argmax())
        raise TaskError(
            "data-labels",
            f"label {label[row]} with {out.shape[1]} outputs (valid 0-"
            f"{out.shape[1] - 1}), {what} {before + row:,}.",
        )


def _chance(task: Task, outputs: Any, targets: Any) -> list[str]:
    """A warning if the baseline does no better than its own outputs shuffled."""
    flat = as_arrays(outputs, "output")
    count = len(next(iter(flat.values())))
    order = np.random.default_rng(0).permutation(count)
    shuffled = like(outputs, {k: v[order] for k, v in flat.items()})
    got, chance = (
        float(np.mean(scores(task, o, targets)[task.metric]))
        for o in (outputs, shuffled)
    )
    if got > chance if task.metrics[task.metric] == "higher" else got < chance:
        return []
    return [
        f"[baseline-quality] the baseline's {task.metric} is {got:.3g}, and "
        f"{chance:.3g} with its outputs shuffled: wrong preprocessing, label order "
        "or weights?"
    ]
