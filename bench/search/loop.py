"""The loop that an expert writes with optuna, over the recipes that a search has.

NSGA-II, with the budget as constraints. Every trial is trained, exported, checked,
judged and measured from the task's own model, by the very code that a search runs, and
nothing is taken over from another trial; only a recipe that was tried is not tried
again. What the engine keeps for its cache and its report is not the loop's to pay: its
processor time is left out.
"""

from __future__ import annotations

import math
import tempfile
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from bench.search import reference
from bench.search.reference import QUALITY, Event
from paretune.core.budget import Budget
from paretune.core.errors import ParetuneError
from paretune.core.measurement import Measurement
from paretune.core.recipe import Recipe
from paretune.core.space import Choice
from paretune.core.strategy import told
from paretune.core.target import Target
from paretune.engine.bench import Bench
from paretune.engine.realise import Prefixes
from paretune.engine.tasks import find_task
from paretune.measurement._cpu import cpu_s
from paretune.strategies.shrink_and_improve import ShrinkAndImprove

POPULATION = 16
AXES = (QUALITY, "size", "latency")
WORST = (0.0, 10.0, 10.0)  # what a failed trial is told with; size in baselines


@dataclass
class Loop:
    """One run of the loop.

    Args:
        task: of `reference.TASKS`.
        seed: of the sampler and of everything random in the recipes.
        epochs: of the usual training.
        path: where its events are kept; the sampler's study lies beside it.
    """

    task: str
    seed: int
    epochs: int
    path: Path
    events: list[Event] = field(init=False)
    _known: dict[str, Event] = field(init=False)
    _spared: float = field(default=0.0, init=False)

    def __post_init__(self) -> None:
        self.events, _ = reference.read(self.path)
        self._known = {told(e.steps): e for e in self.events}
        self._held = find_task(reference.TASKS[self.task])
        self._budget = Budget.parse(reference.REQUIRE, {QUALITY: "higher"})
        self._recipes = ShrinkAndImprove(epochs=self.epochs).recipes()
        self._before = self.events[-1].cpu_s if self.events else 0.0
        self._began = cpu_s() if self.events else 0.0  # imports count once

    def run(self, limit_s: float, piece_s: float) -> bool:
        """Goes on until so many CPU-seconds are spent; whether all of them are.

        Args:
            limit_s: of the whole run.
            piece_s: of this process.
        """
        with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            optuna.logging.set_verbosity(optuna.logging.WARNING)
            self._root = Path(folder)
            self._first = self._measured_base()
            study = self._study()
            while self._spent() < limit_s and cpu_s() < piece_s:
                self._turn(study)
            done = self._spent() >= limit_s
        reference.write(self.path, self.events, done)
        return done

    def _spent(self) -> float:
        return self._before + cpu_s() - self._began - self._spared

    def _study(self) -> optuna.Study:
        journal = self.path.with_suffix(".optuna")
        storage = JournalStorage(JournalFileBackend(str(journal)))
        sampler = optuna.samplers.NSGAIISampler(
            population_size=POPULATION, seed=self.seed + 1000 * len(self.events)
        )
        return optuna.create_study(
            storage=storage,
            study_name="loop",
            sampler=sampler,
            directions=["maximize", "minimize", "minimize"],
            load_if_exists=True,
        )

    def _measured_base(self) -> str:
        """The baseline's artifact; its cost counts the first time only."""
        begin = cpu_s()
        bench, realised = self._realise(Recipe())
        artifact = str(realised["artifact"])
        if not self.events:
            values = self._values(bench, realised, artifact)
            self._note(Event(self._spent(), 0, (), "ok", values))
        else:
            self._spared += cpu_s() - begin
        return artifact

    def _turn(self, study: optuna.Study) -> None:
        """One trial, unless the sampler repeats one: then its figures, at no cost."""
        trial = study.ask()
        recipe = self._suggested(trial)
        found = self._known.get(told(recipe.to_json()))
        if found is None:
            found = self._tried(recipe)
            self._note(found)
        base = self.events[0].values
        figures = dict(zip(AXES, WORST, strict=True))
        if found.values.keys() >= set(AXES):
            figures = {**found.values, "size": found.values["size"] / base["size"]}
        for name, missed in self._missed(figures).items():
            trial.set_constraint(name, missed)
        study.tell(trial, [figures[axis] for axis in AXES])

    def _suggested(self, trial: optuna.Trial) -> Recipe:
        chosen = trial.suggest_categorical("recipe", range(len(self._recipes)))
        recipe, values = self._recipes[chosen], {}
        for key, domain in recipe.space.items():
            assert isinstance(domain, Choice)
            name, last = key.partition(".")[2], len(domain.options) - 1
            if all(isinstance(o, int | float) for o in domain.options):
                index = trial.suggest_int(name, 0, last)
            else:
                index = trial.suggest_categorical(name, range(last + 1))
            values[key] = domain.options[index]
        bound: Recipe = recipe.bind(values)
        return bound

    def _missed(self, figures: Mapping[str, float]) -> dict[str, float]:
        """By how much each limit is missed: above 0 where it is."""
        base = self.events[0].values
        return {
            QUALITY: base[QUALITY] - reference.LOST - figures[QUALITY],
            "size": math.log(figures["size"] * reference.SMALLER),
            "latency": math.log(figures["latency"] * reference.FASTER),
        }

    def _tried(self, recipe: Recipe) -> Event:
        steps, number = tuple(recipe.to_json()), len(self.events)
        try:
            bench, realised = self._realise(recipe)
            values = self._values(bench, realised, self._first)
        except ParetuneError as error:
            return Event(self._spent(), number, steps, f"failed:{error.code}", {})
        return Event(self._spent(), number, steps, "ok", values)

    def _realise(self, recipe: Recipe) -> tuple[Bench, dict[str, Any]]:
        """A recipe's artifact, with nothing at hand but the task's own model."""
        bench = Bench(self._held, Target(), self._root, self._root, seed=self.seed)
        # Under a fingerprint of its own nothing is ever found in the cache.
        alone = f"{self.seed} {len(self.events)} {recipe.digest}"
        with _Bare() as bare:
            told = bench.realise(recipe.to_json(), fingerprint=alone)
        self._spared += bare.seconds
        return bench, told

    def _values(
        self, bench: Bench, realised: Mapping[str, Any], base: str
    ) -> dict[str, float]:
        taken = bench.measure([realised["artifact"]], base, ["latency"])
        (times,) = taken["measurements"]
        figures = {
            k: Measurement.from_json(m)
            for k, m in {**realised["measurements"], **times}.items()
        }
        ratio = figures["latency_p50"].ratio
        assert ratio is not None
        return {
            QUALITY: figures[QUALITY].value,
            "size": figures["size"].value,
            "latency": ratio[0],
        }

    def _note(self, found: Event) -> None:
        self.events.append(found)
        self._known[told(found.steps)] = found
        reference.write(self.path, self.events, False)


class _Bare:
    """While it lasts, the processor time that goes to keeping results is counted.

    Attributes:
        seconds: of it.
    """

    def __init__(self) -> None:
        self.seconds = 0.0

    def __enter__(self) -> _Bare:
        self._keep = keep = Prefixes.keep

        def timed(prefixes: Prefixes, *rest: Any, **named: Any) -> Any:
            begin = cpu_s()
            try:
                return keep(prefixes, *rest, **named)
            finally:
                self.seconds += cpu_s() - begin

        Prefixes.keep = timed  # type: ignore
        return self

    def __exit__(self, *_: object) -> None:
        Prefixes.keep = self._keep  # type: ignore
