"""Which pending recipe goes next, so that shared beginnings are paid for once.

The pending recipes form a trie: a node is a beginning that some of them share. A free
slot takes the recipe whose next node, the first that isn't cached, unlocks the most
recipes per estimated second. It takes none whose next node another slot is computing.
"""

from __future__ import annotations

import statistics
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from paretune.core.recipe import Recipe
from paretune.core.technique import Technique
from paretune.core.trial import Trial

RECENT = 50  # trials that an estimate rests on
UNKNOWN_S = 1.0  # a step that doesn't train, before one was seen
LEAST_S = 1e-3

Path = tuple[str, ...]  # of nodes, the first step's first


class Guess(NamedTuple):
    """Estimated seconds of a step, and how they are known.

    Attributes:
        seconds: above 0.
        how: "trials", from what such steps took; "epoch", from the preflight's time of
            an epoch; "unknown".
    """

    seconds: float
    how: str


@dataclass
class Costs:
    """What steps take, learned from the traces of trials.

    A training's time is taken per epoch, and every time per MAC of the model it worked
    on where the trace tells; the median of the last trials counts.

    Attributes:
        epoch_s: of one epoch of the task's own model; 0.0 where it isn't known.

    Example:
        >>> Costs().of(Recipe(())), Costs().known
        ((), 0)
    """

    epoch_s: float = 0.0
    known: int = 0
    _per: dict[str, deque[float]] = field(
        default_factory=lambda: defaultdict(lambda: deque(maxlen=RECENT))
    )
    _macs: dict[str, float] = field(default_factory=dict)
    _seen: set[str] = field(default_factory=set)
    _base: float = 0.0

    def learn(self, trial: Trial, recipe: Recipe) -> None:
        """Takes in what a finished trial's steps took, each result's once.

        A result that was there already tells what it took when it was computed.
        """
        path, before, at = path_of(recipe), self._base, 0
        for told in trial.trace:
            if told.get("step") not in ("baseline", "export"):
                if at >= len(path):
                    return
                known = told.get("cached") and path[at] in self._seen
                if "seconds" in told and not known:
                    step, taken = recipe.steps[at], float(told["seconds"])
                    work = epochs(step) * (before or 1.0)
                    self._per[_kind(step, before > 0)].append(taken / work)
                    self._seen.add(path[at])
                    self.known += 1
                at += 1
                if "macs" in told:
                    self._macs[path[at - 1]] = float(told["macs"])
            elif told.get("step") == "baseline":
                self._base = float(told.get("macs", self._base))
            before = float(told.get("macs", before))

    def of(self, recipe: Recipe) -> tuple[Guess, ...]:
        """Of each step."""
        guesses, macs = [], self._base
        for step, node in zip(recipe.steps, path_of(recipe), strict=True):
            guesses.append(self._guess(step, macs))
            macs = self._macs.get(node, macs)
        return tuple(guesses)

    def _guess(self, step: Technique, macs: float) -> Guess:
        for scaled in (True, False) if macs else (False,):
            if taken := self._per.get(_kind(step, scaled)):
                work = epochs(step) * (macs if scaled else 1.0)
                return Guess(max(LEAST_S, statistics.median(taken) * work), "trials")
        if step.trains and self.epoch_s:
            return Guess(max(LEAST_S, self.epoch_s * epochs(step)), "epoch")
        return Guess(UNKNOWN_S, "unknown")


def epochs(step: Technique) -> float:
    """How many epochs a step trains; 1.0 where it doesn't say."""
    return float(step.parameters().get("epochs", 1) or 1)


def _kind(step: Technique, scaled: bool) -> str:
    return f"{step.name()} per MAC" if scaled else step.name()


def path_of(recipe: Recipe) -> Path:
    """The nodes of a recipe: the digest of each of its beginnings but the empty one."""
    return tuple(prefix.digest for prefix in recipe.prefixes()[1:])


def choose(
    pending: Sequence[Path],
    seconds: Mapping[str, float],
    cached: Callable[[str], bool],
    busy: Iterable[str] = (),
) -> int | None:
    """The index of the pending recipe that goes next.

    Args:
        pending: recipes that wait, by the order of proposals.
        seconds: estimated, by node.
        cached: whether a node's result is there.
        busy: nodes that are being computed.

    Returns:
        None if there is none, or the next node of each is being computed.

    Example:
        >>> cached = {"a"}.__contains__
        >>> choose([("b", "c"), ("b", "d"), ("a",)], {"b": 1.0}, cached)
        2
    """
    under_way = set(busy)
    below = Counter(node for path in pending for node in dict.fromkeys(path))
    best, chosen = -1.0, None
    for index, path in enumerate(pending):
        node = upcoming(path, cached)
        if node in under_way:
            continue
        rate = float("inf")
        if node is not None:
            rate = below[node] / max(seconds.get(node, UNKNOWN_S), LEAST_S)
        if rate > best:
            best, chosen = rate, index
    return chosen


def upcoming(path: Path, cached: Callable[[str], bool]) -> str | None:
    """The node at which work on a recipe begins; None if its end is there already.

    Work starts after the last node that is there, whether or not those before it are.
    """
    first = len(path)
    while first and not cached(path[first - 1]):
        first -= 1
    return path[first] if first < len(path) else None
