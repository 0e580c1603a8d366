"""One training for many widths and depths of the user's own model."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

from paretune.core.space import Choice, Integer, Real
from paretune.core.technique import Run, Technique, param

if TYPE_CHECKING:
    import torch
    from torch import nn

    from paretune.infrastructure.formats._elastic import Cut, Shared

SHARES = (0.25, 0.375, 0.5, 0.625, 0.75, 1.0)
DEPTHS = (0.0, 0.25, 0.5)
POOL = 16  # narrower nets that take turns


@dataclass(frozen=True)
class Supernet(Technique):
    """Trains the model so that narrower and shallower ones inside it work as well.

    Channels and heads are sorted once, the most important first, so that a narrower
    net is the first ones of each layer. Each step then trains the widest net on the
    task's loss; the narrowest and a few between them learn the widest one's outputs at
    the same time, on the same weights: where outputs are logits, by the divergence of
    their softmax, else by their squared difference (see `distillation`). The structure
    stays; `subnet` takes one of the narrower nets out. Any model will do that
    `structured_pruning` can handle.

    A narrower net has a share of its own in each third of the depth. 16 of them, drawn
    at random, take turns.

    Attributes:
        epochs: passes over the "train" split; 0: channels are only sorted.
        learning_rate: the highest; it rises over the first steps and then falls to 0.
        importance: that channels are sorted by: "magnitude": squared weights of all
            that depends on one; "taylor": squared first-order change of the loss
            without it.
        narrowest: share of the channels that the narrowest net has.
        depth: share of the residual blocks that the shallowest net is without; a model
            without such blocks gets narrower only.
        between: nets between the widest and the narrowest in each step.

    Example:
        >>> Supernet().structural().epochs
        0
    """

    source: ClassVar[str] = (
        "Yu & Huang 2019, arXiv:1903.05134 (sandwich rule, in-place distillation); Cai "
        "et al. 2020, arXiv:1908.09791 (sorted channels, depth)"
    )
    refuses: ClassVar[frozenset[str]] = frozenset(
        {"quantized", "quantization_aware", "clustered", "sparse"}
    )
    gives: ClassVar[frozenset[str]] = frozenset({"elastic"})
    trains: ClassVar[bool] = True

    epochs: int = param(5, Integer(0, 100))
    learning_rate: float = param(1e-3, Real(1e-5, 1e-1, log=True))
    importance: str = param("magnitude", Choice(("magnitude", "taylor")))
    narrowest: float = param(0.25, Choice((0.25, 0.375, 0.5)))
    depth: float = param(0.5, Choice(DEPTHS))
    between: int = param(2, Integer(1, 4))

    def structural(self) -> Technique:
        """Itself without training: a subnet is as large and fast after it."""
        return replace(self, epochs=0)

    def on_torch(self, model: nn.Module, run: Run) -> nn.Module:
        """The trained copy, its channels sorted.

        Raises:
            UnsupportedError: no channel of the model can be removed.
            TaskError: the "train" split is empty.
            MeasurementError: the loss or a weight is no longer finite.
        """
        from paretune.infrastructure.formats import _elastic, _training
        from paretune.infrastructure.formats import torch as torch_format
        from paretune.infrastructure.formats._soft import task_axes

        torch_format.seed(run.seed)
        run.progress("sort channels", 0.0)
        widest = _elastic.ordered(model, self.importance, run)
        if not self.epochs:
            return widest
        inside = self._inside(widest, run)
        axes = task_axes(widest, run.task)
        sandwich = _elastic.Sandwich(
            _training.unfrozen(widest), inside, self.between, run.seed
        )
        trained: Any = _training.fit(
            sandwich,
            lambda forward, inputs, targets: _loss(forward(inputs), targets, run, axes),
            run,
            epochs=self.epochs,
            learning_rate=self.learning_rate,
            what=self.name(),
        )
        within: nn.Module = trained.model
        return within

    def _inside(self, widest: nn.Module, run: Run) -> list[Shared]:
        """The narrowest net and those that take turns."""
        from paretune.infrastructure.formats import _elastic

        known = _elastic.anatomy(widest, run, self.depth > 0)
        found = []
        cuts = self._cuts(bool(known.blocks), run.seed)
        for number, cut in enumerate(cuts):
            run.progress("build narrower nets", number / len(cuts))
            found.append(_elastic.shared(widest, cut, known, run))
        return found

    def _cuts(self, blocks: bool, seed: int) -> list[Cut]:
        import numpy as np

        from paretune.infrastructure.formats._elastic import Cut

        rng = np.random.default_rng(seed)
        shares = [s for s in SHARES if s >= self.narrowest]
        depths = [d for d in DEPTHS if d <= self.depth] if blocks else [0.0]
        least = self.narrowest
        cuts = {Cut(least, least, least, max(depths)): None}
        for _ in range(POOL):
            early, middle, late = map(float, rng.choice(shares, 3))
            cuts[Cut(early, middle, late, float(rng.choice(depths)))] = None
        return list(cuts)


def _loss(outputs: Any, targets: Any, run: Run, axes: Any) -> torch.Tensor:
    """The mean of the widest net's loss and of the others' distances from it."""
    from paretune.infrastructure.formats._soft import detached, soft_loss

    widest, *others = outputs
    total = run.task.loss(widest, targets)
    taught = detached(widest)
    for answer in others:
        total = total + soft_loss(answer, taught, targets, 1.0, axes)
    mean: torch.Tensor = total / len(outputs)
    return mean
