"""Turns a recipe into a candidate, paying for every shared beginning once.

A recipe is a path of nodes: the task's model, then one node a step and one a change of
format. The result of each node is kept in the cache under a key of everything that it
depends on; work starts at the last node that is there.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np

from paretune.core.candidate import Candidate
from paretune.core.errors import TaskError
from paretune.core.recipe import Recipe
from paretune.core.task import as_arrays
from paretune.core.technique import Fidelity, Over, Run, Stage
from paretune.engine.path import Node, convert, formats, key_of, path_of
from paretune.measurement._cpu import cpu_s
from paretune.store.cache import Cache

RUNG = "rung.json"  # beside the state of a paused training
TRACED_SAMPLES = 1024  # quality after each step is for the reader, not for the search


@dataclass(frozen=True)
class Realised:
    """What a recipe came to.

    Attributes:
        candidate: the end of the path, in the runtime's format.
        source: the last torch candidate on it: what the end must agree with.
        trace: one record a node: step, format, parameters, macs, quality, seconds,
            cached.
        cost: seconds spent now, by what they went to.
        recall: fetches `exported` when it is asked for.
    """

    candidate: Candidate
    source: Candidate
    trace: tuple[dict[str, Any], ...]
    cost: Mapping[str, float]
    recall: Callable[[], Candidate | None] = field(
        default=lambda: None, repr=False, compare=False
    )

    @cached_property
    def exported(self) -> Candidate | None:
        """The candidate right after the path left torch, before any step that follows.

        It is the float source of a quantized artifact. None if the path ends in torch.
        """
        return self.recall()


@dataclass(frozen=True)
class Prefixes:
    """The shared-prefix engine.

    Args:
        run: the task, the seed, and how to give way.
        fingerprint: of the task's model, data and code.
        cache: where node results are kept.
    """

    run: Run
    fingerprint: str
    cache: Cache

    def realise(self, recipe: Recipe, to: str, state: Path | None = None) -> Realised:
        """The candidate of `recipe` in the format `to`.

        Args:
            recipe: every parameter has a value.
            to: the format.
            state: folder with what the paced step's training goes on from, if any.

        Raises:
            RecipeError: the steps can't follow one another.
            UnsupportedError: a step or format can't handle the model.
        """
        recipe.check()
        path = path_of(recipe, to)
        keys = [self.key(node) for node in path]
        torch = max(i for i, n in enumerate(path) if n.format == "torch")
        start = next((i for i in reversed(range(len(path))) if self._has(keys[i])), -1)
        trace = [self._facts(keys[i], path[i]) for i in range(start + 1)]
        cost = dict.fromkeys(("train_s", "export_s", "cache_s"), 0.0)
        candidate = self._load(path, start, keys) if start >= 0 else None
        source = candidate
        first = next((i for i, n in enumerate(path) if n.format != "torch"), None)
        exported = candidate if start == first else None
        for i in range(start + 1, len(path)):
            begin = time.monotonic()
            # Its holder may be waiting for a measurement, which waits for this process.
            with self.cache.lock(keys[i], self.run.give_way):
                if self._has(keys[i]):  # another process was quicker
                    candidate = self._load(path, i, keys)
                    trace.append(self._facts(keys[i], path[i]))
                else:
                    paced = path[i].step != "export" and _paced(recipe, path[i])
                    fidelity = Fidelity(begin=state if paced else None)
                    used = cpu_s()
                    candidate = self.compute(path, i, candidate, fidelity)
                    spent = time.monotonic() - begin
                    # To wait for a lock, or while others measure, is no work.
                    work = min(spent, cpu_s() - used)
                    work += spent_s(state) if paced else 0.0
                    facts = self.keep(path[i], candidate, work)
                    trace.append({**facts, "cached": False})
                    cost["train_s" if path[i].format == "torch" else "export_s"] += (
                        spent
                    )
                    begin += spent
            source = candidate if path[i].format == "torch" else source
            exported = candidate if i == first else exported
            cost["cache_s"] += time.monotonic() - begin
        if source is None or source.format != "torch":
            source = self._load(path, torch, keys)
        assert candidate is not None

        def recall() -> Candidate | None:
            if exported is not None or first is None:
                return exported
            return self._load(path, first, keys)

        return Realised(candidate, source, tuple(trace), cost, recall)

    def has(self, node: Node) -> bool:
        """Whether the result of a node is in the cache."""
        return self._has(self.key(node))

    def _has(self, key: str) -> bool:
        return self.cache.get(key) is not None

    def compute(
        self,
        path: tuple[Node, ...],
        i: int,
        before: Candidate | None,
        fidelity: Fidelity | None = None,
    ) -> Candidate:
        """The candidate of node `i`, from that of the node before it.

        Args:
            path: of the recipe.
            i: index of the node.
            before: the candidate of the node before; None for the first.
            fidelity: how much of a training is done, and what it goes on from.
        """
        node = path[i]
        formats("torch").seed(self.run.seed)
        if before is None:
            return Candidate(self.run.task.model(), "torch")
        if node.step == "export":
            return convert(before, node.format, self.run)
        *earlier, step = node.recipe.steps
        fidelity = fidelity or Fidelity()
        run = replace(self.run, stages=self._stages(path[:i]), fidelity=fidelity)
        for other in earlier:
            run = other.sets(run)
        return step.apply(before, run)

    def _stages(self, path: tuple[Node, ...]) -> tuple[Stage, ...]:
        return tuple(
            Stage(n.step, n.teaches, partial(self._model, path, i))
            for i, n in enumerate(path)
            if n.step != "export"
        )

    def _model(self, path: tuple[Node, ...], i: int) -> Any:
        return self._load(path, i, [self.key(node) for node in path]).model

    def key(self, node: Node, share: float = 1.0, over: Over = "length") -> str:
        """What the result of a node, or its training at a share, is kept under."""
        pause = {} if share == 1 else {"share": share, "over": over}
        return key_of(
            node.recipe, node.format, self.fingerprint, self.run.seed, **pause
        )

    def _load(self, path: tuple[Node, ...], i: int, keys: list[str]) -> Candidate:
        folder = self.cache.get(keys[i])
        if folder is None:  # evicted, or found to be corrupt, since it was looked up
            before = self._load(path, i - 1, keys) if i else None
            return self.compute(path, i, before)
        loaded: Candidate = formats(path[i].format).load(folder, self.run.task)
        return loaded

    def keep(self, node: Node, candidate: Candidate, seconds: float) -> dict[str, Any]:
        """Puts the result of a node into the cache; the facts that are noted of it."""
        facts = {
            "step": node.step,
            "format": node.format,
            **formats(node.format).count(candidate, self.run.task),
            **_zeros(candidate),
            "quality": self._quality(candidate),
            "seconds": seconds,
        }

        def fill(folder: Path) -> None:
            formats(node.format).save(candidate, self.run.task, folder)
            (folder / "facts.json").write_text(json.dumps(facts))

        self.cache.put(self.key(node), fill, seconds)
        return facts

    def _facts(self, key: str, node: Node) -> dict[str, Any]:
        """What was noted of a node; its name alone if it was evicted."""
        folder = self.cache.get(key)
        facts = {"step": node.step, "format": node.format}
        if folder is not None:
            facts = json.loads((folder / "facts.json").read_text())
        return {**facts, "cached": True}

    def _quality(self, candidate: Candidate) -> dict[str, float]:
        """Quality of a torch candidate on the first validation samples, if it has one.

        It is for the reader: what the metric can't do with a part of the split, or with
        a model that is cut but not yet trained, is no reason to drop the candidate.
        """
        if candidate.format != "torch":
            return {}
        try:
            return self.scores(candidate, TRACED_SAMPLES)
        except TaskError:
            return {}

    def scores(
        self, candidate: Candidate, samples: float = math.inf
    ) -> dict[str, float]:
        """Quality of a torch candidate on the validation split, or its beginning.

        Raises:
            TaskError: the metric can't be taken.
        """
        from paretune.infrastructure.runtimes.torch_eager import TorchEager
        from paretune.measurement.quality import outputs_of, scores

        task, session = self.run.task, TorchEager().session(candidate.model)
        batches, count = [], 0
        for inputs, targets in task.batches("validation"):
            batches.append((inputs, targets))
            count += len(next(iter(as_arrays(inputs, "input").values())))
            if count >= samples:
                break
        outputs, targets = outputs_of(session, batches)
        found = scores(task, outputs, targets)
        return {k: float(np.mean(v)) for k, v in found.items()}


def _paced(recipe: Recipe, node: Node) -> bool:
    """Whether the node is that of the recipe's paced step."""
    return recipe.paced is not None and len(node.recipe.steps) == recipe.paced + 1


def _zeros(candidate: Candidate) -> dict[str, float]:
    """What its zeros come to, by what the format knows of them.

    "zeros": the share of weights, where they are not yet rounded to something;
    "spared": bytes, about, by which they make the file smaller.
    """
    known = formats(candidate.format)
    return {
        name: getattr(known, name)(candidate)
        for name in ("zeros", "spared")
        if hasattr(known, name)
    }


def spent_s(state: Path | None) -> float:
    """Processor time that went into a paused training, before it goes on from there."""
    if state is None:
        return 0.0
    told = json.loads((state.parent / RUNG).read_text())
    return float(told.get("spent_s", told["cpu_s"]))
