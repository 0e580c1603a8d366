"""What the user brings: a trained model, its data, its loss and its metric."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar, Literal

import numpy as np

from paretune.core.errors import TaskError
from paretune.core.target import Arrays

Direction = Literal["higher", "lower"]
SPLITS = ("train", "calibration", "validation", "test")
SHUFFLED = ("train", "unlabelled")
UNJUDGED = frozenset({"train", "calibration", "unlabelled"})


class Task(ABC):
    """A trained model with what it takes to train, judge and serve it.

    Nothing here knows what a class label is: outputs and targets are whatever the
    model gives and the loss takes. Inputs and outputs are an array (or tensor), a
    tuple of them, or a dict of them. The first axis is the batch.

    Attributes:
        name: shown to people; a short word.
        metrics: quality metrics by name, each with its better direction; the first
            is the one that is optimised.
        teachers: bigger models that `distillation` may use, by name; each value is a
            function that builds one. "baseline" is always there.
        unlabelled: whether batches("unlabelled") gives (inputs, None): more inputs, of
            the kind of "train", that nobody labelled.
        reference: how a fresh process finds this task: a built-in name or
            "path/to/task.py:name"; None for one that only lives in this process.

    Example:
        A file `task.py` with a subclass, or an instance, called `task`::

            class MyTask(paretune.Task):
                name = "mine"
                metrics = {"accuracy": "higher"}

                def model(self): ...
                def batches(self, split): ...
                def loss(self, outputs, targets): ...
                def quality(self, outputs, targets):
                    return {"accuracy": outputs.argmax(-1) == targets}
    """

    name: str = "task"
    metrics: Mapping[str, Direction] = {"accuracy": "higher"}
    teachers: Mapping[str, Callable[[], Any]] = {}
    unlabelled: bool = False
    reference: str | None = None

    @abstractmethod
    def model(self) -> Any:
        """The trained model: architecture and weights; a new object every time."""

    @abstractmethod
    def batches(self, split: str) -> Iterable[tuple[Any, Any]]:
        """(inputs, targets) batches of "train", "calibration", "validation", "test".

        One call is one pass. Before each pass over "train" (and "unlabelled", where
        there is that split) the global generators of Python, numpy and torch are
        seeded, so a shuffle drawn from any of them repeats; the other splits must come
        in the same order every time.
        """

    @abstractmethod
    def loss(self, outputs: Any, targets: Any) -> Any:
        """A scalar tensor to minimise, from one batch of tensors."""

    @abstractmethod
    def quality(self, outputs: Any, targets: Any) -> Mapping[str, Any]:
        """Each metric of `metrics`, from numpy arrays of any number of samples.

        A value is an array with one score per sample (the metric is its mean, such
        as correct or not), or a float for a metric that is no mean, such as F1.
        """

    def augment(self, inputs: Any, targets: Any) -> tuple[Any, Any]:
        """A training batch of tensors, varied; by default as it came.

        The targets are None where the inputs are of "unlabelled".
        """
        return inputs, targets

    @property
    def metric(self) -> str:
        """The quality metric that is optimised."""
        return next(iter(self.metrics))


class Held(ABC):  # noqa: B024 a namespace for subclasses; its two methods are concrete
    """Splits held as arrays in memory: the data half of a Task, as a mix-in.

    Attributes:
        batch: samples in a batch.
    """

    batch: ClassVar[int] = 128

    def split(self, name: str) -> tuple[Any, Any]:
        """(inputs, targets) of a whole split, as arrays or a dict or tuple of them."""
        raise TaskError("data-split", f"{type(self).__name__} has no split {name!r}.")

    def batches(self, split: str) -> Iterable[tuple[Any, Any]]:
        inputs, targets = self.split(split)
        fields = as_arrays(inputs, "input")
        if targets is not None:
            fields |= as_arrays(targets, "target")
        lengths = {name: len(array) for name, array in fields.items()}
        count = next(iter(lengths.values()))
        if set(lengths.values()) != {count}:
            told = ", ".join(f"{name!r} has {n:,}" for name, n in lengths.items())
            raise TaskError(
                "data-length",
                f"{split}: {told} rows; inputs and targets need the same number.",
            )
        order = np.arange(count)
        if split in SHUFFLED:
            np.random.shuffle(order)
        for start in range(0, count, self.batch):
            chosen = order[start : start + self.batch]
            if split in SHUFFLED and len(chosen) < min(self.batch, count) // 2:
                continue  # a tiny last batch makes batch normalisation jump
            picked = None if targets is None else pick(targets, chosen)
            yield pick(inputs, chosen), picked


def pick(structure: Any, rows: Any) -> Any:
    """Those rows of every array in `structure` (an array, or a tuple or dict of them).

    Example:
        >>> pick((np.arange(3), np.arange(3) * 2), [0, 2])
        (array([0, 2]), array([0, 4]))
    """
    if isinstance(structure, Mapping):
        return {k: pick(v, rows) for k, v in structure.items()}
    if isinstance(structure, tuple | list):
        return tuple(pick(v, rows) for v in structure)
    return structure[rows]


def as_arrays(structure: Any, name: str) -> Arrays:
    """Arrays by name: of an array or tensor, a tuple of them, or a dict of them.

    Args:
        structure: what a model takes or gives.
        name: "input", "output" or "target": the name of a lone array, and the stem of
            the names of a tuple's.

    Raises:
        TaskError: it holds something that is no array.

    Example:
        >>> list(as_arrays((np.zeros(1), np.ones(1)), "input"))
        ['input_0', 'input_1']
    """
    if isinstance(structure, Mapping):
        return {str(k): _array(v) for k, v in structure.items()}
    if isinstance(structure, tuple | list):
        return {f"{name}_{i}": _array(v) for i, v in enumerate(structure)}
    return {name: _array(structure)}


def like(structure: Any, arrays: Mapping[str, Any]) -> Any:
    """`arrays` in the shape of `structure`: the inverse of `as_arrays`."""
    if isinstance(structure, Mapping):
        return dict(zip(structure, arrays.values(), strict=True))
    if isinstance(structure, tuple | list):
        return tuple(arrays.values())
    (only,) = arrays.values()
    return only


def _array(value: Any) -> np.ndarray:
    if hasattr(value, "detach"):
        value = value.detach().cpu()
        if str(value.dtype) == "torch.bfloat16":
            value = value.float()
    array = np.asarray(value)
    if array.dtype == object:
        raise TaskError(
            "data-type",
            f"got {type(value).__name__} where an array or tensor is needed; "
            "models take and give an array, a tuple of arrays or a dict of arrays.",
        )
    return array
