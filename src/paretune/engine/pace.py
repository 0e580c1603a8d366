"""A recipe at a rung: its training to a share, judged, with all that it goes on from.

What a pause leaves is an entry of the cache under a key of its own, so that it outlives
the process. Where it was evicted, the training starts over.
"""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from paretune.core.candidate import Candidate
from paretune.core.delegate import Delegate
from paretune.core.recipe import Recipe
from paretune.core.task import Task, pick
from paretune.core.technique import Fidelity, Over
from paretune.engine.labels.few import Pool, labelled, pool_of
from paretune.engine.path import Node, path_of
from paretune.engine.realise import RUNG, Prefixes, spent_s
from paretune.measurement._cpu import cpu_s

STATE = "state"


@dataclass(frozen=True)
class Rung:
    """What a recipe came to at a share of its training.

    Attributes:
        facts: {"share", "epochs", "quality": {metric: value}, "seconds", "cpu_s"}: of
            the validation split, and of this piece of training with its judgement;
            "spent_s": processor time of all pieces. The weights that are judged are a
            mean that begins with the piece.
        trace: of the nodes before, as `Realised` has it.
        cost: seconds spent now, by what they went to.
    """

    facts: dict[str, Any]
    trace: tuple[dict[str, Any], ...]
    cost: Mapping[str, float]


def rung(
    prefixes: Prefixes,
    recipe: Recipe,
    share: float,
    paused: Sequence[float] = (),
    over: Over = "length",
) -> Rung | float:
    """Trains the recipe's paced step to a share of it, and judges the model there.

    Args:
        prefixes: does the work.
        recipe: every parameter has a value.
        share: of the steps or the data of that training, above 0 and below 1.
        paused: smaller shares where it may have been paused before.
        over: what the share is of.

    Returns:
        Where there is nothing to pause, the seconds of training: no step is paced, its
        whole result is there already (0.0), or the training ended before the share, so
        that its whole result is there now.

    Raises:
        TaskError: the metric can't be taken.
    """
    index = recipe.paced
    if index is None or prefixes.has(whole := _node(recipe, index)):
        return 0.0
    key = prefixes.key(whole, share, over)
    before = prefixes.realise(Recipe(recipe.steps[:index]), whole.format)
    with prefixes.cache.lock(prefixes.key(whole), prefixes.run.give_way):
        if prefixes.has(whole):
            return 0.0
        if (folder := prefixes.cache.get(key)) is not None:
            return Rung(
                json.loads((folder / RUNG).read_text()), before.trace, before.cost
            )
        begin, spent = time.monotonic(), cpu_s()
        earlier = resumed(prefixes, recipe, paused) if over == "length" else None
        with tempfile.TemporaryDirectory(prefix="paretune-") as scratch:
            state = Path(scratch) / STATE
            candidate = _trained(
                prefixes, recipe, before.candidate, share, over, earlier, state
            )
            trained = time.monotonic()
            if over == "length" and not state.exists():
                seconds = trained - begin
                prefixes.keep(whole, candidate, seconds + spent_s(earlier))
                return seconds
            prefixes.run.progress("checking", 0.0)
            facts = {
                "share": share,
                "epochs": share * recipe.steps[index].parameters()["epochs"],
                "quality": prefixes.scores(candidate),
                "seconds": time.monotonic() - begin,
                "cpu_s": cpu_s() - spent,
                "spent_s": cpu_s() - spent + spent_s(earlier),
            }

            def fill(into: Path) -> None:
                (into / RUNG).write_text(json.dumps(facts))
                if state.exists():
                    shutil.copytree(state, into / STATE)

            prefixes.cache.put(key, fill, trained - begin)
    train_s, judge_s = trained - begin, time.monotonic() - trained
    cost = {**before.cost, "judge_s": judge_s}
    return Rung(facts, before.trace, {**cost, "train_s": cost["train_s"] + train_s})


def resumed(prefixes: Prefixes, recipe: Recipe, paused: Sequence[float]) -> Path | None:
    """Where the state of the recipe's paced step is, from the latest of these pauses.

    None if there is none, or no longer.
    """
    index = recipe.paced
    if index is None:
        return None
    node = _node(recipe, index)
    for share in sorted(paused, reverse=True):
        folder = prefixes.cache.get(prefixes.key(node, share, "length"))
        if folder is not None:
            return folder / STATE
    return None


def _node(recipe: Recipe, index: int) -> Node:
    """The node of one of the recipe's steps."""
    return path_of(Recipe(recipe.steps[: index + 1]), "torch")[-1]


def _trained(
    prefixes: Prefixes,
    recipe: Recipe,
    before: Candidate,
    share: float,
    over: Over,
    earlier: Path | None,
    state: Path,
) -> Candidate:
    """The candidate at the share; `state` is made where its training paused."""
    index = recipe.paced
    assert index is not None
    path = path_of(Recipe(recipe.steps[: index + 1]), "torch")
    if over == "length":
        fidelity = Fidelity(share, earlier, state)
        return prefixes.compute(path, len(path) - 1, before, fidelity)
    run = prefixes.run
    part = Part(run.task, share, run.seed)
    on_part = replace(prefixes, run=replace(run, task=part))
    return on_part.compute(path, len(path) - 1, before)


class Part(Delegate):
    """A task with a share of its training split; of one seed, less is a part of more.

    The split is held in memory.

    Args:
        task: the user's.
        share: of the samples, above 0 to 1; where targets are classes, of each class.
        seed: another one, another choice.
    """

    def __init__(self, task: Task, share: float, seed: int) -> None:
        super().__init__(task)
        self.share, self.seed = share, seed
        self._pool, self._rows = self._chosen()

    def batches(self, split: str) -> Iterable[tuple[Any, Any]]:
        return self._train() if split == "train" else self.task.batches(split)

    def _train(self) -> Iterator[tuple[Any, Any]]:
        pool, order = self._pool, np.random.permutation(self._rows)
        for begin in range(0, len(order), pool.batch):
            some = order[begin : begin + pool.batch]
            yield pick(pool.inputs, some), pick(pool.targets, some)

    def _chosen(self) -> tuple[Pool, np.ndarray]:
        alone = Delegate(self.task)
        alone.unlabelled = False
        pool = pool_of(alone)
        return pool, labelled(pool, self.share, self.seed)
