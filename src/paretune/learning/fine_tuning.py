"""More training on the task's own data and loss."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from paretune.core.space import Integer, Real
from paretune.core.technique import Run, Technique, param

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class FineTuning(Technique):
    """Trains the model on with the task's loss, as after pruning.

    Attributes:
        epochs: passes over the "train" split.
        learning_rate: the highest; it rises over the first steps and then falls to 0.
        weight_decay: decoupled, on matrices only.

    Example:
        >>> FineTuning(epochs=3).to_json()["epochs"]
        3
    """

    source: ClassVar[str] = (
        "Han et al. 2015, arXiv:1506.02626; Renda et al. 2020, arXiv:2003.02389"
    )
    refuses: ClassVar[frozenset[str]] = frozenset({"quantized"})
    trains: ClassVar[bool] = True

    epochs: int = param(5, Integer(1, 100, log=True))
    learning_rate: float = param(1e-3, Real(1e-5, 1e-1, log=True))
    weight_decay: float = param(0.01, Real(0.0, 1.0))

    def on_torch(self, model: nn.Module, run: Run) -> nn.Module:
        """The trained copy.

        Raises:
            TaskError: the "train" split is empty.
            MeasurementError: the loss or a weight is no longer finite.
        """
        from paretune.infrastructure.formats import _training

        return _training.fit(
            model,
            lambda forward, inputs, targets: run.task.loss(forward(inputs), targets),
            run,
            epochs=self.epochs,
            learning_rate=self.learning_rate,
            weight_decay=self.weight_decay,
            what=self.name(),
        )
