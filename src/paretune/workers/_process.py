"""The process behind an isolated worker: what it says, and how it ends."""

from __future__ import annotations

import contextlib
import math
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from paretune.store._files import set_aside
from paretune.workers import _memory

LOOK_S = 0.1  # how often to look, where the kernel can't tell of a process's end
DEATH_S = 10.0  # that a killed process may take
TAIL = 1 << 14  # bytes of output in which the cause of a crash is looked for
OUTPUT = "worker"


class Process:
    """A worker process in a session of its own; any thread may end it.

    Args:
        pid: its number; also that of its process group.
        requests: where to write to it.
        answers: where to read from it.
        folder: its own, with its output; what it leaves there goes with it.
        held: the folder and all handles, given back when it has ended.
    """

    def __init__(
        self, pid: int, requests: int, answers: int, folder: Path, held: ExitStack
    ) -> None:
        self.pid = pid
        self._requests, self._answers = requests, answers
        self._folder, self._held = folder, held
        self._lock = threading.RLock()
        self._rest = b""
        self._status: int | None = None
        self._killed = self._over = False
        self._watch = _watch(pid)
        if self._watch is not None:
            held.callback(os.close, self._watch)
        self.mark()

    def mark(self) -> None:
        """What was said, and whom memory killed, until now has not ended it."""
        self._kills = _memory.oom_kills()
        self._said = 0
        with contextlib.suppress(OSError):
            self._said = (self._folder / OUTPUT).stat().st_size

    def say(self, line: str) -> None:
        """Writes a line; one that can't arrive shows in what `line` raises."""
        with contextlib.suppress(BrokenPipeError):
            os.write(self._requests, line.encode() + b"\n")

    def line(self, deadline: float | None) -> bytes:
        """The next line of the answers.

        Raises:
            TimeoutError: the deadline (of time.monotonic) is past.
            EOFError: the process has ended, and all that it said has been read.
        """
        while b"\n" not in self._rest:
            self._wait(deadline)
            chunk = os.read(self._answers, 1 << 16)
            if not chunk:
                raise EOFError
            self._rest += chunk
        line, _, self._rest = self._rest.partition(b"\n")
        return line

    def _wait(self, deadline: float | None) -> None:
        """Until there is something to read.

        A process that the worker started may hold the pipe open beyond the worker's
        own death, which is therefore waited for besides.
        """
        both = [self._answers] if self._watch is None else [self._answers, self._watch]
        while True:
            left = math.inf if deadline is None else deadline - time.monotonic()
            look = math.inf if self._watch is not None else LOOK_S
            if self._answers in _readable(both, min(left, look)):
                return
            if self._ended(0.0):
                if self._answers in _readable([self._answers], 0.0):
                    return
                raise EOFError
            if left <= 0:
                raise TimeoutError

    def kill(self) -> None:
        """Ends the process and all that it started."""
        with self._lock:
            if not self._over:
                self._killed = self._killed or not self._ended(0.0)
                self._signal()

    def end(self, grace_s: float, logs: Path | None = None) -> tuple[str, Path | None]:
        """Waits for its end, kills it if need be, and gives back all that it held.

        Args:
            grace_s: how long it may take to end by itself.
            logs: a folder to keep its output in.

        Returns:
            How it ended, such as "crash(SIGSEGV)", "crash(exit 3)" or "oom"; and the
            file with its output if that was kept.
        """
        with self._lock:
            if not self._over:
                self._killed = self._killed or not self._ended(grace_s)
                self._signal()
                self._ended(DEATH_S)
                self._reap()
                self._over = True
            word = self._word()
            kept = None
            if logs is not None:
                with contextlib.suppress(OSError):
                    kept = set_aside(self._folder / OUTPUT, logs)
            self._held.close()
            return word, kept

    def _ended(self, within_s: float) -> bool:
        """Whether it ends within that time."""
        if self._watch is not None:
            return bool(_readable([self._watch], within_s))
        deadline = time.monotonic() + within_s
        while not self._reap() and time.monotonic() < deadline:
            time.sleep(min(within_s, 0.01))
        return self._status is not None

    def _signal(self) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        if self._status is None:  # it may not have a group of its own yet
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)

    def _reap(self) -> bool:
        with self._lock:
            if self._status is None:
                try:
                    pid, status = os.waitpid(self.pid, os.WNOHANG)
                except ChildProcessError:  # the program has waited for it elsewhere
                    pid, status = self.pid, 0
                if pid:
                    self._status = status
        return self._status is not None

    def _word(self) -> str:
        status = signal.SIGKILL if self._status is None else self._status
        code = os.waitstatus_to_exitcode(status)
        if code == -signal.SIGKILL:
            by_kernel = not self._killed and _memory.oom_kills() > self._kills
            return "oom" if by_kernel else "crash(SIGKILL)"
        if (code > 0 or code == -signal.SIGABRT) and _memory.SAYS.search(self._tail()):
            return "oom"
        if code < 0:
            return f"crash({signal.Signals(-code).name})"
        return f"crash(exit {code})"

    def _tail(self) -> str:
        """The end of what it has said since the last mark."""
        try:
            with (self._folder / OUTPUT).open("rb") as file:
                size = file.seek(0, os.SEEK_END)
                file.seek(max(self._said, size - TAIL))
                return file.read().decode(errors="replace")
        except OSError:
            return ""


def _watch(pid: int) -> int | None:
    """A handle that can be read once the process has ended, where there is such."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            return os.pidfd_open(pid)
    return None


def _readable(handles: Sequence[int], within_s: float) -> set[int]:
    """Those that can be read, or have reached their end, within that time."""
    poll = select.poll()
    for handle in handles:
        poll.register(handle, select.POLLIN)
    limit = None if within_s == math.inf else math.ceil(max(0.0, within_s) * 1e3)
    return {handle for handle, _ in poll.poll(limit)}
