"""Which models are trained to see what labels are worth, and in which order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from paretune.catalog import TECHNIQUES

PRETRAINING = "pretraining"
METHODS = ("plain", "augmentation", "self_supervision", "distillation")
VERSION = 1  # raised when the same cell comes to another result
STEPS = ("data_augmentation", "self_supervision", "fine_tuning", "distillation")
TEACHING = ("augmentation", "self_supervision")
PRETRAINED = 2.0  # times the steps of a training with labels
# Of one step, in those of plain training: the forward pass of a teacher, a second view.
WEIGHTS = {
    PRETRAINING: 2.2 * PRETRAINED,
    "plain": 1.0,
    "augmentation": 1.2,
    "self_supervision": 1.2,
    "distillation": 3.0,
}
FEWEST, MOST = 60, 20  # steps; epochs of the whole split
USED = 0.8  # of the time asked for: the rest goes into exports and judging


@dataclass(frozen=True)
class Cell:
    """One model to train.

    Attributes:
        method: "pretraining", or one of METHODS.
        share: of the labels; 0 for pretraining, which sees none.
        seed: of the choice of labels, of the first weights and of shuffles.
    """

    method: str
    share: float
    seed: int

    @property
    def key(self) -> str:
        """Its name in the record and on the disk."""
        return f"{self.method}-{self.share:g}-{self.seed}"

    @property
    def needs(self) -> tuple[Cell, ...]:
        """The cells that have to be there before it."""
        if self.method == "self_supervision":
            return (Cell(PRETRAINING, 0.0, self.seed),)
        if self.method == "distillation":
            return tuple(Cell(m, self.share, self.seed) for m in ("plain", *TEACHING))
        return ()

    def to_json(self) -> dict[str, Any]:
        return {"method": self.method, "share": self.share, "seed": self.seed}

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Cell:
        return cls(record["method"], float(record["share"]), int(record["seed"]))


def cells(shares: Sequence[float], seeds: int) -> list[Cell]:
    """All of them; what others wait for, and what takes longest, comes first.

    Example:
        >>> [c.key for c in cells([0.1], 1)][:2]
        ['pretraining-0-0', 'plain-0.1-0']
    """
    found = []
    for seed in range(seeds):
        found.append(Cell(PRETRAINING, 0.0, seed))
        for share in shares:
            found += [Cell(method, share, seed) for method in METHODS]
    return sorted(found, key=lambda c: (c.seed, c.method != PRETRAINING, c.share))


def versions() -> dict[str, int]:
    """Of how cells are trained, and of the techniques that train them."""
    return {"labels": VERSION} | {name: TECHNIQUES[name].version for name in STEPS}


def steps_of(
    shares: int, seeds: int, seconds: float, workers: int, step_s: float, epoch: int
) -> int:
    """Steps of each training with labels that so much time allows.

    Args:
        shares: how many.
        seeds: how many.
        seconds: wall time of everything.
        workers: that train side by side.
        step_s: seconds that one step of plain training takes.
        epoch: steps in a pass over the whole split.

    Example:
        >>> steps_of(5, 3, 600, 2, 0.03, 80)
        293
    """
    one = WEIGHTS[PRETRAINING] + shares * sum(WEIGHTS[m] for m in METHODS)
    steps = USED * seconds * workers / (step_s * seeds * one)
    return int(min(max(steps, FEWEST), MOST * epoch))
