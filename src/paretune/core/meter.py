"""The contract of a meter, and of the fresh process that it measures in."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Protocol

from paretune.core.candidate import Artifact
from paretune.core.measurement import Measurement
from paretune.core.target import Session, Target
from paretune.core.task import Task


class Launch(Protocol):
    """A fresh process that loads one artifact and waits to be told to run it.

    It may still be starting when it is handed out, so that two can start side by side:
    whatever is asked of it first waits until it is ready.
    """

    @property
    def load_s(self) -> float:
        """Seconds that loading the artifact took, imports not counted."""

    @property
    def first_call_s(self) -> float:
        """Seconds of the very first call."""

    def block(self, calls: int, start: int = 0, span: int = 0) -> list[float]:
        """Seconds of each of `calls` calls, made one after the other.

        Args:
            calls: 1 or more.
            start: which of the fixed inputs the first call gets; the next calls get
                the next ones, round and round.
            span: after that many calls the first input comes again; 0 for never.
        """

    def peak_memory(self, reset: bool = False) -> int:
        """The largest resident size of the process so far, in bytes.

        Args:
            reset: whether the next answer counts from now on, where the system can.
        """

    def close(self) -> None: ...


@dataclass(frozen=True)
class Subject:
    """An artifact on a target, with what a meter may do to it.

    Attributes:
        artifact: the deployable file.
        target: where it will run.
        task: the data and the metric that quality is judged by.
        load: gives a session in this process.
        launch: gives a fresh process with the artifact loaded; with True, one with
            an empty session of the same runtime, to subtract.
    """

    artifact: Artifact
    target: Target
    task: Task = field(repr=False)
    load: Callable[[], Session] = field(repr=False)
    launch: Callable[[bool], Launch] = field(repr=False)


class Meter(ABC):
    """Takes one or more figures of artifacts; the file's name is the meter's name.

    Attributes:
        metrics: the names of the footprint metrics that it gives; empty for quality,
            whose names are the task's.
        alone: whether nothing else of ours may run while it measures.
    """

    metrics: ClassVar[tuple[str, ...]] = ()
    alone: ClassVar[bool] = False

    @abstractmethod
    def measure(
        self, subjects: Sequence[Subject], baseline: Subject
    ) -> list[tuple[Measurement, ...]]:
        """The figures of each subject, in order.

        Raises:
            MeasurementError: they can't be taken here, and why.
        """
