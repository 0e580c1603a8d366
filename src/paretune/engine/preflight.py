"""Looks at model, data, loss and metric before anything is spent on them.

TRUST's rule: what is wrong is found in seconds and said in one sentence, with where it
is and what to do.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from paretune.core.errors import ParetuneError, TaskError
from paretune.core.task import SPLITS, Task, as_arrays, like
from paretune.engine.tasks import raised, source_of
from paretune.measurement.quality import outputs_of, scores

FINGERPRINTED = 50  # training batches that the fingerprint reads
TIMED = 4  # training steps that the estimate of an epoch takes
LOW = 30  # samples below which no quality difference of use can be seen


def check(task: Task) -> dict[str, Any]:
    """What was found out about a task that can be used.

    Returns:
        {"fingerprint": str, "samples": {split: count}, "epoch_s": seconds of one pass
        over the training split, "warnings": [str]}.

    Raises:
        TaskError: something can't be used, and what to do about it.
    """
    from paretune.infrastructure.formats import torch as torch_format

    torch_format.seed(0)
    model = _user(task, "model()", task.model)
    torch_format.check_finite(model)
    digest = hashlib.sha256(source_of(task).encode())
    for tensor in (*model.parameters(), *model.buffers()):
        digest.update(np.ascontiguousarray(as_arrays(tensor, "w")["w"]).tobytes())

    session = _reference(model)
    seen: dict[bytes, str] = {}
    counts = {}
    for split in SPLITS:
        torch_format.seed(0)
        count = width = 0
        for batch, (inputs, targets) in enumerate(_batches(task, split)):
            arrays = as_arrays(inputs, "input")
            size = _length(arrays, inputs, targets, split)
            _finite(arrays, split, count)
            if batch == 0:
                width = _runs(task, model, session, inputs, targets)
            if split != "train" or batch < FINGERPRINTED:
                for array in (*arrays.values(), *as_arrays(targets, "target").values()):
                    digest.update(np.ascontiguousarray(array).tobytes())
            _labels(task, model, inputs, targets, width, f"{split} sample", count)
            _apart(seen, arrays, size, split)
            count += size
        counts[split] = count
        _enough(task, split, count)
    _again(task)
    outputs, targets = outputs_of(session, task.batches("validation"))
    return {
        "fingerprint": digest.hexdigest(),
        "samples": counts,
        "epoch_s": _epoch(task, model),
        "warnings": _chance(task, outputs, targets),
    }


def _enough(task: Task, split: str, count: int) -> None:
    if count == 0:
        raise TaskError(
            "data-empty",
            f"batches({split!r}) of task {task.name!r} gives no sample; "
            f"the splits are {', '.join(SPLITS)} and each needs some.",
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
    for batch in _batches(task, "train"):
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


def _user(task: Task, what: str, call: Callable[[], Any]) -> Any:
    """The value of a call into the user's code, whose errors are told as theirs."""
    try:
        return call()
    except (ParetuneError, MemoryError):
        raise
    except Exception as error:
        reference = task.reference or ""
        path = Path(reference.split(".py")[0] + ".py") if ".py" in reference else None
        raise raised(error, path, f"the task's {what}") from error


def _batches(task: Task, split: str) -> Iterator[tuple[Any, Any]]:
    batches = _user(task, f"batches({split!r})", lambda: iter(task.batches(split)))
    while True:
        item = _user(task, f"batches({split!r})", lambda: next(batches, None))
        if item is None:
            return
        if not isinstance(item, tuple | list) or len(item) != 2:
            raise TaskError(
                "data-type",
                f"batches({split!r}) gives {type(item).__name__}; "
                "each batch must be a pair (inputs, targets).",
            )
        yield item[0], item[1]


def _length(arrays: Mapping[str, Any], inputs: Any, targets: Any, split: str) -> int:
    lengths = {k: len(v) for k, v in arrays.items() if np.ndim(v)}
    lengths |= {k: len(v) for k, v in as_arrays(targets, "target").items()}
    if len(set(lengths.values())) != 1:
        told = ", ".join(f"{k} has {n}" for k, n in lengths.items())
        raise TaskError(
            "data-length",
            f"a batch of {split} holds unequal numbers of samples: {told}.",
        )
    return next(iter(lengths.values()))


def _finite(arrays: Mapping[str, np.ndarray], split: str, before: int) -> None:
    for name, array in arrays.items():
        if array.dtype.kind != "f" or np.isfinite(array).all():
            continue
        bad = ~np.isfinite(array.reshape(len(array), -1))
        row = int(bad.any(axis=1).argmax())
        raise TaskError(
            "data-nonfinite",
            f"{split} sample {before + row:,}, field {name!r}: "
            f"{int(bad[row].sum())} values are NaN or infinite; mend or drop them.",
        )


def _runs(task: Task, model: Any, session: Any, inputs: Any, targets: Any) -> int:
    """Tries model and loss on one batch; the outputs' width if they are a table."""
    from paretune.infrastructure.formats import torch as torch_format

    arrays = as_arrays(inputs, "input")
    try:
        first, second = session(arrays), session(arrays)
    except TaskError:
        raise
    except Exception as error:
        shapes = ", ".join(f"{k} {v.dtype}{list(v.shape)}" for k, v in arrays.items())
        text = str(error).splitlines()[0]
        raise TaskError(
            "data-shape",
            f"the model can't take a batch of {shapes}: {text} "
            "(axes in another order? a dtype that the model doesn't expect?)",
        ) from error
    for name, value in first.items():
        apart = float(np.abs(value - second[name]).max()) if value.size else 0.0
        if apart > 1e-6 * max(1.0, float(np.abs(value).max(initial=0))):
            noisy = [n for n, m in model.named_modules() if m.training and n]
            where = f"; module {noisy[0]!r} is in train mode" if noisy else ""
            raise TaskError(
                "model-nondeterministic",
                f"two runs on one batch differ by {apart:.3g} at {name!r}{where}.",
            )
    outputs = torch_format.call(model, torch_format.tensors(inputs))
    loss = _loss(task, outputs, targets)
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


def _loss(task: Task, outputs: Any, targets: Any) -> Any:
    from paretune.infrastructure.formats import torch as torch_format

    tensors = torch_format.tensors(targets)
    try:
        return task.loss(outputs, tensors)
    except Exception as error:
        _out_of_range(outputs, targets, 0, "sample")
        shapes = {k: v.shape for k, v in as_arrays(targets, "target").items()}
        text = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise TaskError(
            "loss-raises", f"loss() raised on targets of shape {shapes}: {text}"
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
        try:
            task.loss(outputs, torch_format.tensors(targets))
        except Exception:
            _out_of_range(outputs, targets, before, what)
            raise


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


def _apart(
    seen: dict[bytes, str], arrays: Mapping[str, np.ndarray], size: int, split: str
) -> None:
    """Refuses a sample of one split that is, by content, in another as well.

    Calibration may be part of train: neither judges anything.
    """
    for row in range(size):
        content = hashlib.blake2b(digest_size=12)
        for array in arrays.values():
            content.update(np.ascontiguousarray(array[row]).tobytes())
        key = content.digest()
        other = seen.setdefault(key, split)
        if other != split and {other, split} != {"train", "calibration"}:
            raise TaskError(
                "data-leak",
                f"a sample of {split} (row {row} of a batch) is, by content, also in "
                f"{other}; the splits must be disjoint: drop it from one of them.",
            )


def _again(task: Task) -> None:
    """A loader that gives nothing the second time is a generator, not a factory."""
    if next(iter(task.batches("calibration")), None) is None:
        raise TaskError(
            "data-once",
            "the loader gave 0 batches the second time; "
            "give a function that makes a new one, or a DataLoader.",
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
