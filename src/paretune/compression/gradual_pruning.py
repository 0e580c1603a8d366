"""Single weights set to zero, more and more of them while the model trains."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from paretune.core.space import Choice, Integer, Real, Text
from paretune.core.technique import Run, Technique, param

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class GradualPruning(Technique):
    """Trains with the task's loss and sets more and more weights to zero meanwhile.

    The share of zeros rises by a cubic law: fast at first, slowly where each further
    zero costs more; then the rest of the training mends what was lost. The zeros are
    where `magnitude_pruning` would put them, or where training drives weights to.

    Attributes:
        sparsity: share of the weights that are zero afterwards. Not used with a
            pattern, which means one half.
        pattern: "unstructured", "2:4" or "4:8", as in `magnitude_pruning`.
        scope: "uniform" or "global", as in `magnitude_pruning`.
        criterion: "magnitude": the smallest weights go; "movement": those that training
            pushes towards zero, by the sum over the steps of `-w * dL/dw`. The latter
            is for models that were trained for something else before: their sizes
            tell of that, not of this task.
        epochs: passes over the "train" split.
        learning_rate: the highest; it rises over the first steps and then falls to 0.
        ramp: share of the steps after which all zeros are there.
        skip: layers that are left alone, as in `magnitude_pruning`.

    Example:
        >>> GradualPruning(sparsity=0.9).structural().name()
        'magnitude_pruning'
    """

    source: ClassVar[str] = (
        "Zhu & Gupta 2017, arXiv:1710.01878; movement: Sanh et al. 2020, "
        "arXiv:2005.07683"
    )
    refuses: ClassVar[frozenset[str]] = frozenset(
        {"quantized", "quantization_aware", "clustered"}
    )
    gives: ClassVar[frozenset[str]] = frozenset({"sparse"})
    lowers: ClassVar[frozenset[str]] = frozenset({"size", "transfer_size"})
    trains: ClassVar[bool] = True

    sparsity: float = param(0.8, Real(0.05, 0.98))
    pattern: str = param("unstructured", Choice(("unstructured", "2:4", "4:8")))
    scope: str = param("global", Choice(("uniform", "global")))
    criterion: str = param("magnitude", Choice(("magnitude", "movement")))
    epochs: int = param(5, Integer(1, 100, log=True))
    learning_rate: float = param(1e-3, Real(1e-5, 1e-1, log=True))
    ramp: float = param(0.6, Real(0.2, 0.9))
    skip: str = param("", Text("Embedding"))

    def structural(self) -> Technique:
        """`magnitude_pruning` with as many zeros: it gives a file of the same size."""
        return self.other(
            "magnitude_pruning",
            sparsity=self.sparsity,
            pattern=self.pattern,
            scope=self.scope,
            skip=self.skip,
        )

    def on_torch(self, model: nn.Module, run: Run) -> nn.Module:
        """The trained copy with zeros.

        Raises:
            UnsupportedError: nothing can be set to zero like this, or `skip` names
                a layer that isn't there.
            TaskError: the "train" split is empty.
            MeasurementError: the loss or a weight is no longer finite.
        """
        from paretune.compression._sparsity.gradual import Gradually
        from paretune.compression._sparsity.one_shot import Goal
        from paretune.compression._sparsity.weights import find
        from paretune.infrastructure.formats import _training

        goal = Goal(self.sparsity, self.pattern, self.scope)
        goal.fitting(find(model, self.skip))  # what can't be done is said at once
        pruner = Gradually(goal, self.criterion, self.ramp, self.skip)
        trained = _training.fit(
            model,
            lambda forward, inputs, targets: run.task.loss(forward(inputs), targets),
            run,
            epochs=self.epochs,
            learning_rate=self.learning_rate,
            after_step=pruner,
            what=self.name(),
        )
        # A loader that gave fewer batches than it said leaves some to be done.
        pruner.finish(trained)
        return trained
