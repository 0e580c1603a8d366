"""The contract of who does the work, and how it may be lost."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from paretune.core.errors import ParetuneError
from paretune.core.target import Target
from paretune.core.task import Task


class WorkFailed(ParetuneError):
    """An operation failed, or its worker was lost; `word` is the trial's state.

    Args:
        word: one of core.trial.FAILURES, such as "nan" or "crash(SIGSEGV)".
        code: of the error.
        message: one sentence.
        lost: whether the worker is gone and a new one was started.
    """

    def __init__(self, word: str, code: str, message: str, lost: bool = False) -> None:
        super().__init__(code, message)
        self.word = word
        self.lost = lost


@dataclass(frozen=True)
class Job:
    """What every worker of a search is told once.

    Attributes:
        reference: of the task; None if it lives in this process only.
        task: in that case, the task.
        target: where artifacts will be served.
        root: the store's folder.
        seed: of everything random.
    """

    reference: str | None
    target: Target
    root: Path
    seed: int = 0
    task: Task | None = field(default=None, repr=False)


class Worker(ABC):
    """Does the operations of a bench, one at a time; the file's name is its name.

    Args:
        job: what it works on.
        progress: called with (what runs, share done).
    """

    def __init__(self, job: Job, progress: Callable[[str, float], None]) -> None:
        self.job = job
        self.progress = progress

    @abstractmethod
    def do(
        self,
        operation: str,
        arguments: Mapping[str, Any],
        timeout_s: float | None = None,
    ) -> dict[str, Any]:
        """The operation's JSON result.

        Raises:
            ParetuneError: what is wrong with the task or the request.
            WorkFailed: the operation failed, or the worker was lost with it.
        """

    @abstractmethod
    def close(self) -> None:
        """Ends the worker, and whatever it runs, at once."""
