"""How to train a model as it is: the hyper-parameters of its training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from paretune.automation.samplers.random_search import RandomSearch
from paretune.automation.samplers.tpe import TPE
from paretune.core.errors import RecipeError, nearest
from paretune.core.recipe import Recipe
from paretune.core.space import Choice, Real
from paretune.core.strategy import History, Sampler, Strategy
from paretune.learning.data_augmentation import DataAugmentation
from paretune.learning.fine_tuning import FineTuning

ATTEMPTS = 25  # of each sampler
RATES = {"trained": (1e-5, 1e-2), "fresh": (1e-4, 3e-2)}
# What may be varied in each kind of input, the technique's own default among it.
VARIED: Mapping[str, Mapping[str, tuple[Any, ...]]] = {
    "image": {
        "shift": (0.0, 0.05, 0.1, 0.2),
        "flip": (0.0, 0.5),
        "operations": (0, 1, 2),
        "strength": (0.25, 0.5, 0.75),
        "erase": (0.0, 0.25, 0.5),
        "blend": ("none", "mixup", "cutmix"),
    },
    "signal": {
        "jitter": (0.0, 0.05, 0.1, 0.2),
        "scaling": (0.0, 0.1, 0.2),
        "warp": (0.0, 0.2, 0.4),
        "slicing": (0.0, 0.1, 0.3),
        "blend": ("none", "mixup", "cutmix"),
    },
    "text": {"drop": (0.0, 0.05, 0.1, 0.2), "swap": (0.0, 0.05, 0.1, 0.2)},
}


@dataclass(frozen=True)
class Tune(Strategy):
    """Searches how to train: the model's structure and its format stay as they are.

    Over the learning rate and its schedule, the batch, weight decay, label smoothing
    and averaging; and over augmentation of the task's kind of data. First comes the
    setting that nobody would have to search for: all defaults.

    Attributes:
        sampler: chooses the values after the defaults.
        epochs: of every training.
        start: "trained" goes on from the task's weights, "fresh" draws new ones.
        kind: of input: "image", "signal" or "text"; without one nothing is augmented.
        classes: whether the model's outputs are logits of classes, so that labels can
            be smoothed.

    Raises:
        RecipeError: `start` is neither.

    Example:
        >>> from paretune.core.strategy import Objective
        >>> history = History((Objective("accuracy", "higher"),))
        >>> print(Tune(kind="image").next(history, np.random.default_rng(0)))
        fine_tuning
    """

    bound: ClassVar[bool] = True
    source: ClassVar[str] = "Akiba et al. 2019, arXiv:1907.10902"

    sampler: Sampler = field(default_factory=TPE)
    epochs: int = 5
    start: str = "trained"
    kind: str = ""
    classes: bool = False

    def __post_init__(self) -> None:
        if self.start not in RATES:
            raise RecipeError(
                "tune-start",
                f"a training starts from trained or fresh weights, not from "
                f"{self.start!r}; {nearest(self.start, RATES)}",
            )

    def recipes(self) -> tuple[Recipe, ...]:
        """The free recipes that this strategy searches over."""
        train = FineTuning(
            epochs=self.epochs,
            start=self.start,
            learning_rate=_domain(Real(*RATES[self.start], log=True)),
            weight_decay=_any(0.0, 0.001, 0.01, 0.05, 0.2),
            schedule=_any("cosine", "one_cycle", "constant"),
            average=_any("none", "ema", "swa"),
            label_smoothing=_any(0.0, 0.05, 0.1, 0.2) if self.classes else 0.0,
            batch_size=_any("task", 32, 64, 128, 256),
        )
        if not self.kind:
            return (Recipe((train,)),)
        free = {name: Choice(options) for name, options in VARIED[self.kind].items()}
        return Recipe((train,)), Recipe((self._vary(**free), train))

    def default(self) -> Recipe:
        """The setting that all others are compared with."""
        return Recipe((FineTuning(epochs=self.epochs, start=self.start),))

    def next(self, history: History, rng: np.random.Generator) -> Recipe | None:
        """A bound recipe that was not tried yet; None when none was found."""
        opening = [self.default()]
        if self.kind:
            opening.append(Recipe((self._vary(), *self.default().steps)))
        for recipe in opening:
            if not history.seen(recipe):
                return recipe
        recipes = self.recipes()
        for sampler in (self.sampler, RandomSearch()):
            for _ in range(ATTEMPTS):
                recipe = sampler.next(recipes, history, rng)
                if not history.seen(recipe):
                    return recipe
        return None

    def _vary(self, **values: Any) -> DataAugmentation:
        # Synonyms want an embedding, which not every model of text has.
        fixed: dict[str, Any] = {"synonyms": 0.0} if self.kind == "text" else {}
        return DataAugmentation(kind=self.kind, **fixed, **values)


def _any(*options: Any) -> Any:
    """A domain in the place of a value."""
    return Choice(options)


def _domain(domain: Real) -> Any:
    return domain
