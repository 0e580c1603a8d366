"""The task's data and model, and the fastest training loop written by hand for them."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from paretune.core.errors import TaskError
from paretune.core.task import Task, pick
from paretune.core.technique import Run
from paretune.engine.tasks import find_task
from paretune.infrastructure.formats import _training
from paretune.infrastructure.formats._modes import Mode, fastest
from paretune.infrastructure.formats.torch import clone, tensors

EXAMPLES = Path(__file__).parents[2] / "examples"
TASKS = {
    "fashion": "fashion",
    "cifar10": f"{EXAMPLES / 'cifar10' / 'task.py'}:task",
    "activity": f"{EXAMPLES / 'activity' / 'task.py'}:task",
}
RATE = 1e-4
EPOCHS = 2  # of `fit`: a search rarely trains for fewer
MODES = {
    "float32": Mode(),
    "channels_last": Mode(channels_last=True),
    "bf16": Mode(bf16=True),
    "bf16, channels_last": Mode(bf16=True, channels_last=True),
}


@cache
def available() -> tuple[str, ...]:
    """The tasks whose data and weights are here; says which are not, and why."""
    found = []
    for name, reference in TASKS.items():
        try:
            task = find_task(reference)
            task.model()
            next(iter(task.batches("train")))
        except TaskError as error:
            print(f"{name} is left out: {error}")
        else:
            found.append(name)
    return tuple(found)


def part(name: str, batches: int) -> Task:
    """A task whose train split is the first so many batches of its own."""
    whole: Any = find_task(TASKS[name])
    base: Any = type(whole)

    @cache
    def train() -> Any:
        rows = slice(0, batches * whole.batch)
        return tuple(pick(part, rows) for part in whole.split("train"))

    class Part(base):  # type: ignore[misc]
        def split(self, name: str) -> Any:
            return train() if name == "train" else super().split(name)

    return Part()  # type: ignore[no-any-return]


@dataclass(frozen=True)
class Work:
    """What is trained on: everything a loop needs, already in memory.

    Attributes:
        task: its loss and augmentation.
        model: trained copies of it.
        inputs: of the train split, as the model takes them.
        targets: likewise.
    """

    task: Task
    model: nn.Module
    inputs: torch.Tensor
    targets: torch.Tensor

    @property
    def batch(self) -> int:
        size: int = self.task.batch  # type: ignore[attr-defined]
        return size

    @property
    def modes(self) -> dict[str, Mode]:
        """Those that differ for this model: signals have no channels_last."""
        images = self.inputs.dim() == 4
        return {k: m for k, m in MODES.items() if images or not m.channels_last}

    @property
    def ours(self) -> Mode:
        """The mode that paretune takes."""

        def attempt(mode: Mode, model: nn.Module) -> None:
            few = slice(0, self.batch)
            outputs = mode.call(model, self.inputs[few])
            self.task.loss(outputs, self.targets[few]).backward()

        return fastest(self.model, attempt)


def work(task: Task) -> Work:
    """All that a loop needs of a task."""
    parts = [tensors(batch) for batch in task.batches("train")]
    inputs, targets = (torch.cat(column) for column in zip(*parts, strict=True))
    return Work(task, task.model(), inputs, targets)


def by_hand(
    given: Work,
    mode: Mode,
    batch: int | None = None,
    wrap: Callable[[nn.Module], nn.Module] = lambda model: model,
) -> Callable[[], float]:
    """A function that trains for one pass and gives its samples per second.

    Tensors stay in memory in the layout of the mode, the optimizer is fused, gradients
    are dropped and not zeroed, and nothing is checked, clipped or reported.
    Augmentation is the task's own, since another would be another training.
    """
    batch = batch or given.batch
    model = wrap(mode.prepare(clone(given.model).train()))
    inputs = given.inputs
    if mode.channels_last and inputs.dim() == 4:
        inputs = inputs.contiguous(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, fused=True)

    def run() -> float:
        begin = time.perf_counter()
        order = torch.randperm(len(inputs))
        seen = 0
        for start in range(0, len(order) - batch + 1, batch):
            rows = order[start : start + batch]
            x, y = given.task.augment(inputs[rows], given.targets[rows])
            with torch.autocast("cpu", torch.bfloat16, enabled=mode.bf16):
                outputs = model(_laid_out(x, mode))
            loss = given.task.loss(outputs.float(), y)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            seen += batch
        return seen / (time.perf_counter() - begin)

    return run


def _laid_out(x: torch.Tensor, mode: Mode) -> torch.Tensor:
    if mode.channels_last and x.dim() == 4:
        return x.contiguous(memory_format=torch.channels_last)
    return x


def by_fit(given: Work, whole: list[float]) -> Callable[[], float]:
    """A function that calls `fit` and gives the samples per second of its steps.

    Args:
        given: what is trained on.
        whole: gets the samples per second of the whole call.
    """

    def loss(forward: Any, inputs: Any, targets: Any) -> Any:
        return given.task.loss(forward(inputs), targets)

    def run() -> float:
        stamps: list[float] = []
        begin = time.perf_counter()
        _training.fit(
            given.model,
            loss,
            Run(given.task),
            epochs=EPOCHS,
            learning_rate=RATE,
            after_step=lambda model, done, total: stamps.append(time.perf_counter()),
        )
        whole.append(len(stamps) * given.batch / (time.perf_counter() - begin))
        return (len(stamps) - 1) * given.batch / (stamps[-1] - stamps[0])

    return run


def alternate(runs: Sequence[Callable[[], float]], rounds: int) -> list[list[float]]:
    """What each gives in every round, one after the other, so that all see the same.

    One more round comes first and doesn't count.
    """
    for run in runs:
        run()
    found: list[list[float]] = [[] for _ in runs]
    for number in range(rounds):
        order = range(len(runs)) if number % 2 == 0 else reversed(range(len(runs)))
        for place in order:
            found[place].append(runs[place]())
    return found


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> tuple[float, float, float]:
    """(median, low, high) of the ratios of the rounds; 95 % by the bootstrap."""
    ratios = np.array(ours) / np.array(theirs)
    rng = np.random.default_rng(0)
    drawn = rng.choice(ratios, (2000, len(ratios)))
    low, high = np.quantile(np.median(drawn, axis=1), (0.025, 0.975))
    return statistics.median(ratios), float(low), float(high)
