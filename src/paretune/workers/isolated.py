"""Works in a process of its own, so that a crash costs one trial."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from paretune.core.worker import Job, Worker, WorkFailed
from paretune.workers._answer import result

# One thread a worker: two on the same core spin for each other and lose manyfold.
ONE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_WAIT_POLICY": "PASSIVE",
    "KMP_BLOCKTIME": "0",
}


class Isolated(Worker):
    """Starts its process at the first operation, and again after a loss.

    A task that a reference names is loaded by a fresh interpreter. A task that lives in
    this process alone can only be handed down by a fork.
    """

    def __init__(self, job: Job, progress: Callable[[str, float], None]) -> None:
        super().__init__(job, progress)
        self._process: _Process | None = None
        self._closed = False

    def do(
        self,
        operation: str,
        arguments: Mapping[str, Any],
        timeout_s: float | None = None,
    ) -> dict[str, Any]:
        if self._closed:
            raise WorkFailed("stopped", "stopped", "the search was stopped.", True)
        if self._process is None:
            self._process = _start(self.job)
        process = self._process
        request = {"do": operation, "with": dict(arguments)}
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        try:
            os.write(process.requests, (json.dumps(request) + "\n").encode())
            while True:
                line = process.line(deadline)
                message = json.loads(line)
                if "progress" not in message:
                    return result(message)
                self.progress(*message["progress"])
        except TimeoutError:
            self._drop()
            message = f"{operation} took longer than {timeout_s:.0f} s."
            raise WorkFailed("timeout", "timeout", message, lost=True) from None
        except (EOFError, BrokenPipeError, json.JSONDecodeError):
            word = self._drop()
            if self._closed:
                word = "stopped"
            raise WorkFailed(
                word,
                "worker-lost",
                f"the worker ended during {operation}: {word}; its output is in "
                f"{process.log}.",
                lost=True,
            ) from None

    def close(self) -> None:
        self._closed = True
        if self._process is not None:
            self._process.kill()

    def _drop(self) -> str:
        """Buries the process; the word for how it ended."""
        process, self._process = self._process, None
        return process.end() if process else "crash"


@dataclass
class _Process:
    pid: int
    requests: int
    answers: int
    log: Path
    rest: bytes = b""

    def line(self, deadline: float | None) -> bytes:
        """The next line of the answers.

        Raises:
            TimeoutError: the deadline (of time.monotonic) is past.
            EOFError: the process has ended.
        """
        while b"\n" not in self.rest:
            wait = None if deadline is None else max(0.0, deadline - time.monotonic())
            ready, _, _ = select.select([self.answers], [], [], wait)
            if not ready:
                raise TimeoutError
            chunk = os.read(self.answers, 1 << 16)
            if not chunk:
                raise EOFError
            self.rest += chunk
        line, _, self.rest = self.rest.partition(b"\n")
        return line

    def kill(self) -> None:
        """Ends the process and all that it started."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)

    def end(self) -> str:
        """How it ended: "crash(SIGSEGV)", "crash(exit 3)"."""
        deadline = time.monotonic() + 1.0
        status = None
        while status is None and time.monotonic() < deadline:
            pid, code = os.waitpid(self.pid, os.WNOHANG)
            status = code if pid else None
            time.sleep(0.0 if pid else 0.01)
        self.kill()
        if status is None:
            _, status = os.waitpid(self.pid, 0)
        for handle in (self.requests, self.answers):
            os.close(handle)
        code = os.waitstatus_to_exitcode(status)
        if code < 0:
            return f"crash({signal.Signals(-code).name})"
        return f"crash(exit {code})"


def _start(job: Job) -> _Process:
    """A worker process in a session of its own, with its output in a log file."""
    inward, requests = os.pipe()
    answers, outward = os.pipe()
    folder = job.root / "logs"
    folder.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix="worker-", suffix=".log", dir=folder)
    if job.task is None:
        told = {
            "reference": job.reference,
            "target": job.target.to_json(),
            "root": str(job.root),
            "seed": job.seed,
            "requests": inward,
            "answers": outward,
        }
        pid = _spawn(json.dumps(told), handle, (inward, outward))
    else:
        pid = _fork(job, handle, inward, outward, (requests, answers))
    for used in (inward, outward, handle):
        os.close(used)
    return _Process(pid, requests, answers, Path(name))


def _spawn(told: str, log: int, keep: tuple[int, ...]) -> int:
    import subprocess

    child = subprocess.Popen(
        [sys.executable, "-m", "paretune.workers._serve", told],
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        pass_fds=keep,
        start_new_session=True,
        env={**os.environ, **ONE_THREAD},
    )
    child.returncode = 0  # the process is waited for by its number, in _Process.end
    return child.pid


def _fork(
    job: Job, log: int, inward: int, outward: int, others: tuple[int, ...]
) -> int:
    pid = os.fork()
    if pid:
        return pid
    try:
        os.setsid()
        os.dup2(log, 1)
        os.dup2(log, 2)
        for handle in others:
            os.close(handle)
        os.environ.update(ONE_THREAD)
        if "torch" in sys.modules:
            sys.modules["torch"].set_num_threads(1)
        from paretune.workers._serve import serve

        serve(job, inward, outward)
    finally:
        os._exit(0)
