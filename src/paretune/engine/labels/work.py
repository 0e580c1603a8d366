"""One cell at a worker: trained, kept, and judged in its runtime."""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from paretune.catalog import TECHNIQUES
from paretune.core.candidate import Artifact, Candidate
from paretune.core.errors import RecipeError, UnsupportedError, nearest
from paretune.core.meter import Launch, Subject
from paretune.core.target import Target
from paretune.core.task import Task
from paretune.core.technique import Run, Technique
from paretune.engine.labels.few import Few, Pool, Taught, labelled, pool_of, varies
from paretune.engine.labels.plan import PRETRAINED, PRETRAINING, TEACHING, Cell
from paretune.engine.path import formats
from paretune.infrastructure.runtimes.torch_eager import TorchEager
from paretune.measurement.quality import Quality
from paretune.store._files import storing

if TYPE_CHECKING:
    from torch import nn

RATE, DECAY = 2e-3, 0.05
# A short training can't use more. Synonyms would come from the embedding of the task's
# own model, which has seen all labels.
GENTLE = {"strength": 0.3, "erase": 0.1, "synonyms": 0.0}
SOFT, TEMPERATURE = 0.7, 4.0  # weight and temperature of a teacher


def answer(
    task: Task,
    target: Target,
    give_way: Callable[[], None],
    progress: Callable[[str, float], None],
    what: str,
    cell: Mapping[str, Any] | None = None,
    steps: int = 1,
    folder: str = "",
    validation: Mapping[str, float] | None = None,
    teacher: str | None = None,
) -> dict[str, Any]:
    """What a worker is asked to do.

    Args:
        task: the user's.
        target: of the worker.
        give_way: called between batches.
        progress: called with (what runs, share done).
        what: "survey", "train" a cell, or "test" a trained one.
        cell: which labels, and how.
        steps: of a training.
        folder: where the models of cells are.
        validation: quality of the cells that this one needs, by key.
        teacher: one of the task's own, for distillation.
    """
    if what == "survey" or cell is None:
        return survey(task, teacher)
    place, which = Path(folder), Cell.from_json(cell)
    trainer = Trainer(task, target, place, steps, give_way, progress, teacher)
    if what == "test":
        return {"test": trainer.judge(which, "test")}
    return trainer.train(which, validation or {})


def survey(task: Task, teacher: str | None = None) -> dict[str, Any]:
    """What has to be known before anything is planned.

    Args:
        task: the user's.
        teacher: the name of one that the user wants, or None.

    Returns:
        {"count": labelled samples, "batch": in a batch of the task, "classes": how
        many, or None where targets are no classes}.

    Raises:
        TaskError: the training split can't be divided.
        RecipeError: there is no such teacher.
    """
    known = {"baseline", *task.teachers}
    if teacher is not None and teacher not in known:
        raise RecipeError(
            "recipe-value",
            f"{task.name} has no teacher {teacher!r}; {nearest(teacher, known)}",
        )
    pool = pool_of(task)
    classes = None if pool.classes is None else len(np.unique(pool.classes))
    return {"count": pool.count, "batch": pool.batch, "classes": classes}


@dataclass(frozen=True)
class Trainer:
    """Trains the cells of one study.

    Attributes:
        task: the user's.
        target: of the worker.
        folder: where the models of cells are kept.
        steps: of a training with labels.
        give_way: called between batches.
        progress: called with (what runs, share done).
        teacher: a teacher of the task's own that has seen more labels; by default the
            better of those that learned from the same labels.
    """

    task: Task
    target: Target
    folder: Path
    steps: int
    give_way: Callable[[], None]
    progress: Callable[[str, float], None]
    teacher: str | None = None

    @cached_property
    def pool(self) -> Pool:
        return pool_of(self.task)

    def train(self, cell: Cell, validation: Mapping[str, float]) -> dict[str, Any]:
        """Trains a cell and keeps its model; what there is to know about it.

        Args:
            cell: that isn't there yet.
            validation: quality of the cells that it needs, by key.

        Returns:
            {"labels": how many, "seconds", "teacher", "validation": the task's first
            metric}; of pretraining, the seconds alone; {"unsupported": why} where the
            method can't be used on this task.
        """
        begin = time.monotonic()
        try:
            found = self._made(cell, validation)
        except UnsupportedError as error:
            return {"seconds": 0.0, "unsupported": error.message}
        return {**found, "seconds": time.monotonic() - begin}

    def _made(self, cell: Cell, validation: Mapping[str, float]) -> dict[str, Any]:
        if cell.method == PRETRAINING:
            self._keep(cell, self._pretrained(cell))
            return {}
        few = self._few(cell, own=cell.method != "plain")
        taught = self._teaching(cell, validation)
        self._keep(cell, self._trained(cell, few, taught))
        return {
            "labels": few.labels,
            "teacher": taught,
            "validation": self.judge(cell, "validation"),
        }

    def _few(self, cell: Cell, own: bool) -> Few:
        rows = labelled(self.pool, cell.share, cell.seed)
        return Few(self.task, self.pool, rows, self.steps, own)

    def _pretrained(self, cell: Cell) -> nn.Module:
        every = np.arange(self.pool.count)
        steps = math.ceil(PRETRAINED * self.steps)
        task = Few(self.task, self.pool, every, steps, own=True)
        step = self._technique(
            "self_supervision", epochs=task.epochs, learning_rate=RATE, start="fresh"
        )
        return self._applied(step, self.task.model(), self._run(task, cell))

    def _trained(self, cell: Cell, few: Few, taught: str | None) -> nn.Module:
        common = {"epochs": few.epochs, "learning_rate": RATE}
        run = self._run(few, cell)
        if cell.method != "plain":
            run = self._varied(run, cell)
        if cell.method in ("plain", "augmentation"):
            step = self._technique(
                "fine_tuning", start="fresh", weight_decay=DECAY, **common
            )
            return self._applied(step, self.task.model(), run)
        if cell.method == "self_supervision":
            model = self._load(Cell(PRETRAINING, 0.0, cell.seed))
            step = self._technique("fine_tuning", weight_decay=DECAY, **common)
            return self._applied(step, model, run)
        assert taught is not None
        teacher = {taught: lambda: self._teacher(cell, taught)}
        run = replace(run, task=Taught(run.task, teacher))
        step = self._technique(
            "distillation",
            teacher=taught,
            weight=SOFT,
            temperature=TEMPERATURE,
            unlabelled=few.unlabelled,
            **common,
        )
        # The student begins where its teacher began.
        student = self._start(cell, taught)
        return self._applied(step, student, run)

    def _start(self, cell: Cell, taught: str) -> nn.Module:
        if taught == "self_supervision":
            return self._load(Cell(PRETRAINING, 0.0, cell.seed))
        from paretune.infrastructure.formats._fresh import fresh

        return fresh(self.task.model(), cell.seed)

    def _teaching(self, cell: Cell, validation: Mapping[str, float]) -> str | None:
        """Who teaches: by default the better on validation of the same labels."""
        if cell.method != "distillation":
            return None
        if self.teacher is not None:
            return self.teacher
        sign = 1 if self.task.metrics[self.task.metric] == "higher" else -1
        cells = {m: Cell(m, cell.share, cell.seed).key for m in TEACHING}
        known = {m: validation[key] for m, key in cells.items() if key in validation}
        best = max(known, key=lambda m: sign * known[m], default="plain")
        if Cell(best, cell.share, cell.seed).key not in validation:
            raise UnsupportedError(
                "labels-teacher", "no training with the same labels can teach."
            )
        return best

    def _teacher(self, cell: Cell, taught: str) -> Any:
        if self.teacher is not None:
            return {"baseline": self.task.model, **self.task.teachers}[taught]()
        return self._load(Cell(taught, cell.share, cell.seed))

    def _varied(self, run: Run, cell: Cell) -> Run:
        """With augmented batches, where the inputs are of a kind that can be varied.

        Raises:
            UnsupportedError: nothing, nor the task, varies what a training with
                augmentation would be told to have varied.
        """
        step = self._technique("data_augmentation", **GENTLE)
        try:
            self._applied(step, self.task.model(), run)
        except UnsupportedError:
            if cell.method == "augmentation" and not varies(self.task, self.pool):
                raise
            return run
        return step.sets(run)

    def _run(self, task: Task, cell: Cell) -> Run:
        def told(what: str, share: float) -> None:
            self.progress(cell.key, share)

        return Run(task, cell.seed, 1, self.give_way, told)

    def _technique(self, name: str, **parameters: Any) -> Technique:
        return TECHNIQUES[name].build(parameters)

    def _applied(self, step: Technique, model: Any, run: Run) -> nn.Module:
        formats("torch").seed(run.seed)
        found: nn.Module = step.apply(Candidate(model, "torch"), run).model
        return found

    def _keep(self, cell: Cell, model: nn.Module) -> None:
        target = self.folder / cell.key
        with storing(target), tempfile.TemporaryDirectory(dir=self.folder) as draft:
            made = Path(draft) / "model"
            formats("torch").save(Candidate(model, "torch"), self.task, made)
            if not target.exists():
                made.rename(target)

    def _load(self, cell: Cell) -> nn.Module:
        found: nn.Module = (
            formats("torch").load(self.folder / cell.key, self.task).model
        )
        return found

    def judge(self, cell: Cell, split: str) -> dict[str, Any]:
        """The task's first metric on a split, of a cell's model as it is in PyTorch."""
        model, task = self._load(cell), self.task
        artifact = Artifact(self.folder / cell.key, "torch", "", 0)
        subject = Subject(
            artifact,
            self.target,
            task,
            lambda: TorchEager().session(model),
            _unlaunched,
        )
        ((first, *_),) = Quality(split).measure([subject], subject)
        return first.to_json()


def _unlaunched(_: bool) -> Launch:
    raise NotImplementedError("quality is judged in this process")
