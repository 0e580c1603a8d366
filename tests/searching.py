"""Searches whose workers compute for real, or not at all, and measure nothing."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from bench.search.engine import SPEC, Instant, realised
from paretune import studies
from paretune.automation.samplers.random_search import RandomSearch
from paretune.catalog import recipe as recipe_of
from paretune.compression.structured_pruning import StructuredPruning
from paretune.core.budget import Budget
from paretune.core.limits import Limits
from paretune.core.recipe import Recipe
from paretune.core.space import Real
from paretune.core.strategy import Strategy
from paretune.core.technique import Run
from paretune.course import Course
from paretune.engine.path import keys_of
from paretune.engine.queue import Queue
from paretune.engine.realise import Prefixes
from paretune.experiment import Experiment
from paretune.ledger import Ledger
from paretune.search import Search
from paretune.store.artifacts import Artifacts
from paretune.store.cache import Cache
from paretune.store.trials import Trials
from tests.toys import ConvNet

FINGERPRINT = "f"


def unheard(*_: object) -> None: ...


def search(
    root,
    strategy,
    workers,
    trials=None,
    seconds=None,
    on_event=unheard,
    name="s",
    queue=None,
):
    """One that is ready to run, on a study of its own name."""
    store = Trials.open(root)
    store.create_study(name, SPEC)
    course = Course(
        store,
        Artifacts(root),
        store.acquire(name, str(os.getpid())),
        partial(studies.load_study, name, store, root),
    )
    budget = Budget.parse(str(SPEC["require"]), ["accuracy"])
    ledger = Ledger(len(workers))
    experiment = Experiment(FINGERPRINT, budget, ("size",), ledger, quick=True)
    limits = Limits(seconds, trials)
    made = Search(course, strategy, workers, experiment, limits, 0, on_event)
    made.queue = queue or made.queue
    return made


def queue(root):
    """A queue that knows what is in the store's cache."""
    keys = partial(keys_of, to="torch", fingerprint=FINGERPRINT, seed=0)
    return Queue(cache=Cache(root), name=keys)


class Filing(Instant):
    """Makes up the figures of a recipe, and a file for it."""

    def __init__(self, root) -> None:
        super().__init__()
        self.root = root

    def do(self, operation, arguments, timeout_s=None):
        if operation != "realise":
            return super().do(operation, arguments)
        recipe = recipe_of(arguments["steps"])
        path = self.root / f"{recipe.digest}.onnx"
        path.write_text(recipe.digest)
        file, _ = Artifacts(self.root).put(path, "onnx")
        steps = [{"share": 0.5}] if recipe.steps else []
        told = realised({**arguments, "steps": steps})
        return {**told, "artifact": file, "trace": self.trace(recipe)}

    def trace(self, recipe):
        return []


class Counting(Prefixes):
    """Writes the key of every node that it has computed to a file."""

    log = Path()

    def keep(self, node, candidate, seconds):
        facts = super().keep(node, candidate, seconds)
        with self.log.open("a") as log:
            log.write(f"{self.key(node)}\n")
        return facts


class Making(Filing):
    """Computes every node of a recipe, and makes up the figures of its end."""

    def trace(self, recipe):
        Counting.log = self.root / "computed"
        prefixes = Counting(Run(ConvNet()), FINGERPRINT, Cache(self.root))
        return [dict(record) for record in prefixes.realise(recipe, "torch").trace]


@dataclass(frozen=True)
class Free(Strategy):
    """Whatever random search draws that was not tried yet."""

    source: ClassVar[str] = "none"

    def recipes(self):
        ratio: Any = Real(0.1, 0.9)  # a domain in the place of a value
        return (Recipe((StructuredPruning(ratio),)),)

    def next(self, history, rng):
        while True:
            found = RandomSearch().next(self.recipes(), history, rng)
            if not history.seen(found):
                return found
