"""More training on the task's own data and loss."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from paretune.core.space import Choice, Integer, Real
from paretune.core.technique import Run, Technique, param

if TYPE_CHECKING:
    from torch import nn

    from paretune.infrastructure.formats._training import LossOf


@dataclass(frozen=True)
class FineTuning(Technique):
    """Trains the model on with the task's loss, as after pruning.

    Zeros of a sparse model stay 0. Numbers are bfloat16 where the model and the
    processor gain from it, float32 otherwise.

    Attributes:
        epochs: passes over the "train" split.
        learning_rate: the highest.
        weight_decay: decoupled, on matrices only.
        schedule: "cosine": the learning rate rises over the first 5 % of the steps and
            then falls to 0 along half a cosine; "one_cycle": it rises for 30 % and
            falls for 70 %, momentum the other way round; "constant": it stays.
        average: weights that count: the last ("none"), an exponential mean of the last
            5 % or so ("ema"), or the plain mean over the last quarter, through which
            the learning rate stays ("swa").
        label_smoothing: share of equal probabilities in the targets of class logits.
        sharpness: distance around the weights at which the loss is made small, too; a
            step costs twice as much above 0.
        patience: epochs without a better validation quality before the end; the best
            weights are kept. Above 0 the validation split is looked at, so that
            quality on it comes out a little too high. 0: off.
        start: "trained" goes on from the weights as they are, "fresh" draws new ones.
        batch_size: "task" trains on the task's batches; a number of samples puts them
            together or cuts them; "auto" keeps the task's between 32 and 128.

    Example:
        >>> FineTuning(epochs=3, schedule="one_cycle").to_json()["schedule"]
        'one_cycle'
    """

    source: ClassVar[str] = (
        "Han et al. 2015, arXiv:1506.02626; Renda et al. 2020, arXiv:2003.02389; "
        "Smith & Topin 2017, arXiv:1708.07120; Izmailov et al. 2018, arXiv:1803.05407; "
        "Szegedy et al. 2015, arXiv:1512.00567; Foret et al. 2020, arXiv:2010.01412"
    )
    refuses: ClassVar[frozenset[str]] = frozenset(
        {"quantized", "quantization_aware", "clustered"}
    )
    trains: ClassVar[bool] = True
    resumes: ClassVar[bool] = True

    epochs: int = param(5, Integer(1, 100, log=True))
    learning_rate: float = param(1e-3, Real(1e-5, 1e-1, log=True))
    weight_decay: float = param(0.01, Real(0.0, 1.0))
    schedule: str = param("cosine", Choice(("cosine", "one_cycle", "constant")))
    average: str = param("none", Choice(("none", "ema", "swa")))
    label_smoothing: float = param(0.0, Real(0.0, 0.3))
    sharpness: float = param(0.0, Real(0.0, 0.5))
    patience: int = param(0, Integer(0, 20), "epochs")
    start: str = param("trained", Choice(("trained", "fresh")))
    batch_size: int | str = param("task", Choice(("task", "auto", 32, 64, 128, 256)))

    def on_torch(self, model: nn.Module, run: Run) -> nn.Module:
        """The trained copy.

        Raises:
            UnsupportedError: labels are to be smoothed and the model gives no logits.
            TaskError: the "train" split is empty, or validation for `patience`.
            MeasurementError: the loss or a weight is no longer finite.
        """
        from paretune.infrastructure.formats import _fresh, _regime, _training

        return _training.fit(
            _fresh.fresh(model, run.seed) if self.start == "fresh" else model,
            self._loss(model, run),
            run,
            epochs=self.epochs,
            learning_rate=self.learning_rate,
            weight_decay=self.weight_decay,
            regime=_regime.Regime(
                schedule=self.schedule,  # type: ignore[arg-type]
                average=self.average,  # type: ignore[arg-type]
                sharpness=self.sharpness,
                patience=self.patience,
                batch_size=self.batch_size,
            ),
            what=self.name(),
        )

    def _loss(self, model: nn.Module, run: Run) -> LossOf:
        if not self.label_smoothing:
            return lambda forward, inputs, targets: run.task.loss(
                forward(inputs), targets
            )
        from paretune.infrastructure.formats._soft import task_axes, uniform_loss

        axes = task_axes(model, run.task, guess=False)

        def smoothed(forward: Any, inputs: Any, targets: Any) -> Any:
            outputs = forward(inputs)
            loss = run.task.loss(outputs, targets)
            equal = uniform_loss(outputs, axes)
            return loss + self.label_smoothing * (equal - loss)

        return smoothed
