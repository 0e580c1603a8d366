"""Works in a process of its own, so that a crash costs one trial."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from paretune.core.worker import Job, Worker, WorkFailed
from paretune.workers._answer import result
from paretune.workers._process import Process
from paretune.workers._start import STARTER, start

GRACE_S = 1.0  # for a process that has closed its answers to end by itself
PATIENCE_S = 10.0  # for the thread that uses a closed worker to notice


class Isolated(Worker):
    """Starts its process at the first operation, and again after a loss.

    A task that a reference names is loaded by a fresh interpreter. A task that lives in
    this process alone can only be handed down by a fork.
    """

    def __init__(self, job: Job, progress: Callable[[str, float], None]) -> None:
        super().__init__(job, progress)
        self._process: Process | None = None
        self._closed = False
        self._using = threading.RLock()

    def do(
        self,
        operation: str,
        arguments: Mapping[str, Any],
        timeout_s: float | None = None,
    ) -> dict[str, Any]:
        with self._using:
            try:
                process = self._process
                if process is None:
                    process = STARTER.thread.submit(self._start).result()
                request = {"do": operation, "with": dict(arguments)}
                process.say(json.dumps(request))
                answered = self._answer(process, operation, timeout_s)
            except BaseException:
                self._drop()  # its answer would be taken for that of the next operation
                raise
            finally:
                if self._closed:
                    self._drop()
        return result(answered)

    def close(self) -> None:
        with STARTER.lock:
            self._closed = True
            process = self._process
        if process is not None:
            process.kill()
        # Who uses it gives it back as well, should that take longer than we wait.
        if self._using.acquire(timeout=PATIENCE_S):
            try:
                self._drop()
            finally:
                self._using.release()

    def _start(self) -> Process:
        with STARTER.lock:
            if self._closed:
                raise _stopped()
            self._process = start(self.job)
            return self._process

    def _answer(
        self, process: Process, operation: str, timeout_s: float | None
    ) -> dict[str, Any]:
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while True:
            try:
                message: dict[str, Any] = json.loads(process.line(deadline))
            except TimeoutError:
                where = self._bury(process, 0.0)[1]
                text = f"{operation} took longer than {timeout_s:.0f} s{where}."
                raise WorkFailed("timeout", "timeout", text, lost=True) from None
            except (EOFError, json.JSONDecodeError):
                word, where = self._bury(process, GRACE_S)
                if self._closed:
                    raise _stopped() from None
                text = f"the worker ended during {operation}: {word}{where}."
                raise WorkFailed(word, "worker-lost", text, lost=True) from None
            if "progress" not in message:
                process.mark()
                return message
            self.progress(*message["progress"])
            if self._closed:
                raise _stopped()

    def _bury(self, process: Process, grace_s: float) -> tuple[str, str]:
        """How a lost process ended, and what ends a sentence: where its output is."""
        logs = None if self._closed else self.job.root / "logs"
        word, log = process.end(grace_s, logs)
        self._process = None
        return word, f"; its output is in {log}" if log else ""

    def _drop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.end(0.0)
            self._process = None


def _stopped() -> WorkFailed:
    return WorkFailed("stopped", "stopped", "the search was stopped.", lost=True)
