"""A Task from things that are already in memory: a module, loaders and a metric."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

from paretune.core.errors import TaskError
from paretune.core.task import SPLITS, Direction, Task

Loader = Iterable[tuple[Any, Any]]


class Loaders(Task):
    """A trained module with loaders, a loss and a metric.

    Args:
        model: the trained torch.nn.Module.
        train: gives (inputs, targets) batches on every pass, such as a DataLoader; or
            a function that makes something that does.
        validation: likewise; what the search selects by.
        test: likewise; read only when a frontier is certified.
        loss: (outputs, targets) -> scalar tensor.
        quality: metric name -> (outputs, targets) -> one score a sample, or a float;
            numpy arrays in. The first is optimised.
        calibration: likewise; by default the training batches.
        lower: the metrics of `quality` of which less is better.
        augment: (inputs, targets) -> the same, varied.
        name: shown to people.
        unlabelled: likewise, for more inputs that nobody labelled; whatever it gives
            as targets is left out.
        teachers: trained modules that `distillation` may use, or functions that build
            one, by name.

    Raises:
        TaskError: a loader can be read only once.
    """

    def __init__(
        self,
        model: Any,
        train: Loader | Callable[[], Loader],
        validation: Loader | Callable[[], Loader],
        test: Loader | Callable[[], Loader],
        loss: Callable[[Any, Any], Any],
        quality: Mapping[str, Callable[[Any, Any], Any]],
        calibration: Loader | Callable[[], Loader] | None = None,
        lower: Iterable[str] = (),
        augment: Callable[[Any, Any], tuple[Any, Any]] | None = None,
        name: str = "model",
        unlabelled: Loader | Callable[[], Loader] | None = None,
        teachers: Mapping[str, Any] | None = None,
    ) -> None:
        self.name = name
        below = frozenset(lower)
        directions: dict[str, Direction] = {
            k: "lower" if k in below else "higher" for k in quality
        }
        self.metrics = directions
        self._model = model
        given = (train, calibration or train, validation, test)
        self._loaders = dict(zip(SPLITS, given, strict=True))
        self.unlabelled = unlabelled is not None
        if unlabelled is not None:
            self._loaders["unlabelled"] = unlabelled
        self.teachers = {
            name: partial(_copied, given) if hasattr(given, "modules") else given
            for name, given in (teachers or {}).items()
        }
        self._loss, self._quality, self._augment = loss, quality, augment
        for split, loader in self._loaders.items():
            if hasattr(loader, "__next__"):
                raise TaskError(
                    "data-once",
                    f"{split} is a {type(loader).__name__}, which can be read once; "
                    "give a function that makes a new one, or a DataLoader.",
                )

    def model(self) -> Any:
        return _copied(self._model)

    def batches(self, split: str) -> Loader:
        loader = self._loaders[split]
        found = loader() if callable(loader) else loader
        return map(_without_targets, found) if split == "unlabelled" else found

    def loss(self, outputs: Any, targets: Any) -> Any:
        return self._loss(outputs, targets)

    def quality(self, outputs: Any, targets: Any) -> Mapping[str, Any]:
        return {k: metric(outputs, targets) for k, metric in self._quality.items()}

    def augment(self, inputs: Any, targets: Any) -> tuple[Any, Any]:
        if self._augment is None:
            return inputs, targets
        return self._augment(inputs, targets)


def _copied(model: Any) -> Any:
    model = copy.deepcopy(model)
    return model.eval() if hasattr(model, "eval") else model  # preflight refuses it


def _without_targets(batch: Any) -> Any:
    pair = isinstance(batch, tuple | list) and len(batch) == 2
    return (batch[0], None) if pair else batch  # preflight refuses what is no pair
