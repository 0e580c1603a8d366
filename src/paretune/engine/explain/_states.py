"""The models on a recipe's path, as far as they can be had without training."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

from paretune.core.candidate import Candidate
from paretune.core.recipe import Recipe
from paretune.engine.path import Node, formats, path_of
from paretune.engine.realise import Prefixes


@dataclass
class States:
    """The nodes of a recipe, each from the cache, or made anew if nothing is trained.

    Args:
        prefixes: the shared-prefix engine, with its cache.
        recipe: the trial's.
        format: of the artifact.
    """

    prefixes: Prefixes
    recipe: Recipe
    format: str
    _known: dict[int, Candidate | None] = field(default_factory=dict, repr=False)

    @cached_property
    def path(self) -> tuple[Node, ...]:
        return path_of(self.recipe, self.format)

    def get(self, number: int) -> Candidate | None:
        """The candidate of a node; None if only training could bring it back."""
        if number not in self._known:
            self._known[number] = self._found(number)
        return self._known[number]

    @property
    def final(self) -> Candidate | None:
        """What the artifact was written from."""
        return self.get(len(self.path) - 1)

    @property
    def exported(self) -> Candidate | None:
        """The first candidate that is no torch model: the float source of the rest."""
        for number, node in enumerate(self.path):
            if node.format != "torch":
                return self.get(number)
        return None

    @property
    def shape(self) -> Candidate | None:
        """`exported` or, if that is gone, the same layers with untrained weights.

        Enough for what doesn't depend on the weights: channels and times. None where
        training came first and may have changed what was cut.
        """
        kept = self.exported
        trains = [step.trains for step in self.recipe.steps]
        cuts = [i for i, step in enumerate(self.recipe.steps) if "pruned" in step.gives]
        if kept is not None or any(trains[: max(cuts, default=0)]):
            return kept
        return States(self.prefixes, self.recipe.structure(), self.format).exported

    def _found(self, number: int) -> Candidate | None:
        node = self.path[number]
        folder = self.prefixes.cache.get(self.prefixes.key(node))
        if folder is not None:
            task = self.prefixes.run.task
            loaded: Candidate = formats(node.format).load(folder, task)
            return loaded
        if number == 0:
            return self.prefixes.compute(self.path, 0, None)
        if node.step != "export" and node.recipe.steps[-1].trains:
            return None
        before = self.get(number - 1)
        if before is None:
            return None
        return self.prefixes.compute(self.path, number, before)
