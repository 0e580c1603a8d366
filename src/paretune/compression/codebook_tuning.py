"""Training of the values that clustered weights share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from paretune.core.space import Integer, Real
from paretune.core.technique import Run, Technique, param

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class CodebookTuning(Technique):
    """Trains a clustered model's shared values, biases and normalisation.

    The gradient of a shared value is the sum of those of its weights, so all of them
    move together: which weights are equal stays as it was, and zeros stay 0. Recurrent
    layers are left as they are. Layers that clustering skipped train too, each weight
    by itself; what is frozen stays, unless the whole model is.

    Attributes:
        epochs: passes over the "train" split.
        learning_rate: the highest; it rises over the first steps and then falls to 0.

    Example:
        >>> CodebookTuning(epochs=3).to_json()["epochs"]
        3
    """

    source: ClassVar[str] = "Han et al. 2016, arXiv:1510.00149"
    needs: ClassVar[frozenset[str]] = frozenset({"clustered"})
    refuses: ClassVar[frozenset[str]] = frozenset({"quantized", "quantization_aware"})
    trains: ClassVar[bool] = True

    epochs: int = param(3, Integer(1, 100, log=True))
    learning_rate: float = param(3e-4, Real(1e-5, 1e-2, log=True))

    def on_torch(self, model: nn.Module, run: Run) -> nn.Module:
        """The trained copy.

        Raises:
            UnsupportedError: no layer has shared values.
            TaskError: the "train" split is empty.
            MeasurementError: the loss or a weight is no longer finite.
        """
        from paretune.compression._clustering import tuning
        from paretune.infrastructure.formats import _training

        trained = _training.fit(
            tuning.tied(model),
            lambda forward, inputs, targets: run.task.loss(forward(inputs), targets),
            run,
            epochs=self.epochs,
            learning_rate=self.learning_rate,
            weight_decay=0.0,
            what=self.name(),
        )
        return tuning.untied(trained, model)
