"""Reads the user's batches, and says in a sentence what is wrong with one."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from paretune.core.errors import ParetuneError, TaskError
from paretune.core.target import Arrays
from paretune.core.task import UNJUDGED, Task, as_arrays
from paretune.engine.tasks import first_line, raised


def user(task: Task, what: str, call: Callable[[], Any]) -> Any:
    """The value of a call into the user's code, whose errors are told as theirs."""
    try:
        return call()
    except (ParetuneError, MemoryError):
        raise
    except Exception as error:
        reference = task.reference or ""
        path = Path(reference.split(".py")[0] + ".py") if ".py" in reference else None
        raise raised(error, path, f"the task's {what}") from error


def batches(task: Task, split: str) -> Iterator[tuple[Any, Any]]:
    """One pass over a split, with the global generators seeded."""
    from paretune.infrastructure.formats.torch import seed

    what, end = f"batches({split!r})", object()
    seed(0)
    given = user(task, what, lambda: task.batches(split))
    if not hasattr(given, "__iter__") and not hasattr(given, "__getitem__"):
        raise TaskError(
            "data-type",
            f"{what} gives {type(given).__name__}, which holds no batches; "
            "give a list of pairs (inputs, targets), a DataLoader or a generator.",
        )
    found = user(task, what, lambda: iter(given))
    while (item := user(task, what, lambda: next(found, end))) is not end:
        if not isinstance(item, tuple | list) or len(item) != 2:
            raise TaskError(
                "data-type",
                f"{what} gives {_kind(item)}; "
                "each batch must be a pair (inputs, targets).",
            )
        yield item[0], item[1]


def arrays(structure: Any, name: str, split: str) -> Arrays:
    """The inputs or the targets of a batch, by name.

    Args:
        name: "input" or "target".

    Raises:
        TaskError: it holds objects, texts or lone numbers.
    """
    try:
        found = as_arrays(structure, name)
    except MemoryError:
        raise
    except Exception as error:
        raise _no_arrays(structure, name, split, first_line(error)) from error
    for array in found.values():
        if array.dtype.kind not in "biufc" or not array.ndim:
            got = f"{array.dtype}{list(array.shape)}"
            raise _no_arrays(structure, name, split, f"got {got}")
    return found


def targets(structure: Any, split: str) -> Arrays:
    """The targets of a batch, by name; none of "unlabelled".

    Raises:
        TaskError: they are no arrays, or "unlabelled" has some.
    """
    if split != "unlabelled":
        return arrays(structure, "target", split)
    if structure is not None:
        raise TaskError(
            "data-type",
            f"batches('unlabelled') gives {_kind(structure)} as targets; it must give "
            "(inputs, None).",
        )
    return {}


def _no_arrays(structure: Any, name: str, split: str, reason: str) -> TaskError:
    return TaskError(
        "data-type",
        f"batches({split!r}) gives {name}s as {_kind(structure)} ({reason}); give an "
        "array or tensor of numbers with the samples along its first axis, or a tuple "
        "or dict of them.",
    )


def _kind(structure: Any) -> str:
    kind = type(structure).__name__
    if isinstance(structure, Mapping):
        structure = [*structure.values()]
    if isinstance(structure, tuple | list) and len(structure):
        return f"a {kind} of {len(structure)} {type(structure[0]).__name__}"
    return kind


def length(inputs: Arrays, targets: Arrays, split: str) -> int:
    """Samples in a batch.

    Raises:
        TaskError: its arrays differ in it.
    """
    lengths = {k: len(v) for k, v in (inputs | targets).items()}
    if len(set(lengths.values())) != 1:
        told = ", ".join(f"{k} has {n}" for k, n in lengths.items())
        raise TaskError(
            "data-length",
            f"a batch of {split} holds unequal numbers of samples: {told or 'none'}.",
        )
    return next(iter(lengths.values()))


def finite(inputs: Arrays, split: str, before: int) -> None:
    """Refuses NaN and infinity.

    Args:
        before: samples of the split in earlier batches.
    """
    for name, array in inputs.items():
        if array.dtype.kind != "f" or np.isfinite(array).all():
            continue
        bad = ~np.isfinite(array.reshape(len(array), -1))
        row = int(bad.any(axis=1).argmax())
        raise TaskError(
            "data-nonfinite",
            f"{split} sample {before + row:,}, field {name!r}: "
            f"{int(bad[row].sum())} values are NaN or infinite; mend or drop them.",
        )


def apart(seen: dict[bytes, str], inputs: Arrays, size: int, split: str) -> None:
    """Refuses a sample of one split that is, by content, in another as well.

    Those that judge nothing may share samples: calibration may be part of train.
    """
    for row in range(size):
        content = hashlib.blake2b(digest_size=12)
        for array in inputs.values():
            content.update(np.ascontiguousarray(array[row]).tobytes())
        key = content.digest()
        other = seen.setdefault(key, split)
        if other != split and not {other, split} <= UNJUDGED:
            raise TaskError(
                "data-leak",
                f"a sample of {split} (row {row} of a batch) is, by content, also in "
                f"{other}; the splits must be disjoint: drop it from one of them.",
            )


def again(task: Task, split: str, first: tuple[Arrays, Arrays]) -> bool:
    """Whether a second pass begins with the batch that the first one began with.

    Raises:
        TaskError: there is no second pass: the loader is a generator, not a factory.
    """
    batch = next(batches(task, split), None)
    if batch is None:
        raise TaskError(
            "data-once",
            f"batches({split!r}) gave 0 batches the second time; "
            "give a function that makes a new loader, or a DataLoader.",
        )
    second = arrays(batch[0], "input", split), targets(batch[1], split)
    return all(
        one.keys() == two.keys()
        and all(np.array_equal(one[k], two[k], equal_nan=True) for k in one)
        for one, two in zip(first, second, strict=True)
    )
