"""One launch: a fresh process with an artifact in it, seen from the parent's side."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from functools import cached_property
from typing import Any

from paretune.core import errors
from paretune.core.errors import MeasurementError, ParetuneError
from paretune.core.target import OperatorTime


class Launched:
    """A `core.meter.Launch` in a process of its own.

    The process dies with the thread that started it, and is killed by `close`.

    Args:
        request: what the process is to load, for `paretune.engine._launched`.
        what: the artifact and its runtime, for messages.
        surroundings: its environment variables, from `surroundings`.
        limit_s: seconds after which an answer is given up.
    """

    def __init__(
        self,
        request: dict[str, Any],
        what: str,
        surroundings: dict[str, str],
        limit_s: float,
    ) -> None:
        self._what = what
        self._limit_s = limit_s
        self._doing = "loading"
        self._unread = b""
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 closed by close()
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "paretune.engine._launched"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env=surroundings,
        )
        self._send({**request, "parent": os.getpid()})

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def import_s(self) -> float:
        """Seconds that importing the runtime took."""
        return self._ready["import_s"]

    @property
    def load_s(self) -> float:
        return self._ready["load_s"]

    @property
    def first_call_s(self) -> float:
        return self._ready["first_call_s"]

    def block(self, calls: int, start: int = 0, span: int = 0) -> list[float]:
        order = {"calls": calls, "start": start, "span": span}
        spent = self._ask("running", do="block", **order)
        return [nanoseconds * 1e-9 for nanoseconds in spent]

    def peak_memory(self, reset: bool = False) -> int:
        return int(self._ask("running", do="peak_memory", reset=reset))

    def profile(self, calls: int) -> tuple[OperatorTime, ...]:
        """What each operator takes, by the runtime's own profiler.

        Raises:
            UnsupportedError: the runtime has none ("profile"); the process has ended.
        """
        told = self._ask("being profiled", do="profile", calls=calls)
        return tuple(
            OperatorTime(**{**each, "values": tuple(each["values"])}) for each in told
        )

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._errors):
            if stream is not None and not stream.closed:
                try:
                    stream.close()
                except BrokenPipeError:  # an order that was never read
                    continue

    @cached_property
    def _ready(self) -> dict[str, float]:
        answer: dict[str, float] = self._answer()
        return answer

    def _ask(self, doing: str, **order: Any) -> Any:
        _ = self._ready
        self._doing = doing
        self._send(order)
        return self._answer()

    def _send(self, order: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(order).encode() + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise self._crash() from None

    def _answer(self) -> Any:
        answer = json.loads(self._line())
        if isinstance(answer, dict) and "error" in answer:
            raise self._error(**answer["error"])
        return answer

    def _line(self) -> bytes:
        assert self._process.stdout is not None
        handle = self._process.stdout.fileno()
        deadline = time.monotonic() + self._limit_s
        poll = select.poll()
        poll.register(handle, select.POLLIN)
        while b"\n" not in self._unread:
            left = deadline - time.monotonic()
            if left <= 0 or not poll.poll(left * 1000):
                self._process.kill()
                raise MeasurementError(
                    "launch-timeout",
                    f"{self._what} gave no answer within {self._limit_s:g} s "
                    f"while {self._doing}; the process was ended.",
                )
            if not (read := os.read(handle, 2**16)):
                raise self._crash()
            self._unread += read
        line, _, self._unread = self._unread.partition(b"\n")
        return line

    def _crash(self) -> MeasurementError:
        code = self._process.wait()
        if code < 0:
            how = f"died of {signal.Signals(-code).name}"
        else:
            how = f"ended with exit code {code}"
        self._errors.seek(0)
        said = self._errors.read()[-4096:].decode(errors="replace").strip()
        last = f": {said.splitlines()[-1]}" if said else "."
        return MeasurementError(
            "launch-crash",
            f"the process that ran {self._what} {how} while {self._doing}{last}",
        )

    def _error(self, kind: str, code: str, message: str) -> ParetuneError:
        known = getattr(errors, kind, None)
        if isinstance(known, type) and issubclass(known, ParetuneError):
            return known(code, message)
        short = "oom" if kind == "MemoryError" else "error"
        return MeasurementError(
            f"launch-{short}",
            f"{self._what} failed while {self._doing}: {kind} {message}",
        )
