"""Fresh processes that an artifact is timed in, seen from the parent's side."""

from __future__ import annotations

import importlib
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from paretune import catalog
from paretune.core import errors
from paretune.core.candidate import Artifact
from paretune.core.errors import MeasurementError, ParetuneError
from paretune.core.meter import Subject
from paretune.core.target import Arrays, OperatorTime, Runtime, Target
from paretune.core.task import Task, as_arrays
from paretune.measurement._samples import by_shape, count, rows

DISTINCT = 16  # batches of inputs
LARGEST = 2**28  # bytes of inputs; large batches get fewer of them
LIMIT_S = 300.0  # for one answer
PACKAGE = Path(__file__).parents[2]
TOPOLOGY = "/sys/devices/system/cpu/cpu{}/topology/core_cpus_list"


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


def start(
    runtime: str,
    artifact: Artifact | None,
    target: Target,
    inputs: Path,
    cores: Sequence[int] | None = None,
    limit_s: float = LIMIT_S,
) -> Launched:
    """Starts a process and returns at once; it gets ready meanwhile.

    Args:
        runtime: its name.
        artifact: what to load; None stands for an empty session of the runtime, or
            for its import alone where its format has none.
        target: threads and batch.
        inputs: a file that `write_inputs` wrote.
        cores: that the process is bound to; by default `cores_for(target.threads)`.
        limit_s: seconds after which an answer is given up.

    Raises:
        MeasurementError: the target wants more threads than there are cores. Later,
            from the launch itself, "launch-crash", "launch-timeout" or "launch-oom".
    """
    loaded = _empty(runtime, inputs.parent) if artifact is None else artifact
    request = {
        "runtime": runtime,
        "artifact": None if loaded is None else _record(loaded),
        "empty": artifact is None,
        "target": target.to_json(),
        "inputs": str(inputs),
        "cores": list(cores_for(target.threads) if cores is None else cores),
    }
    name = "no artifact" if artifact is None else artifact.path.name
    around = surroundings(target.threads, catalog.RUNTIMES[runtime].serving)
    return Launched(request, f"{name} on {runtime}", around, limit_s)


def subject(
    runtime: Runtime, artifact: Artifact, target: Target, task: Task, inputs: Path
) -> Subject:
    """An artifact as meters take it."""
    return Subject(
        artifact,
        target,
        task,
        load=lambda: runtime.load(artifact, target),
        launch=lambda empty: start(
            runtime.name(), None if empty else artifact, target, inputs
        ),
    )


def check_target(runtime: Runtime, target: Target) -> None:
    """Refuses what can't be measured here, before anything is spent on it.

    Raises:
        MeasurementError: more threads than cores, or a scenario that the runtime can't
            serve.
    """
    cores_for(target.threads)
    if target.scenario not in runtime.scenarios:
        raise MeasurementError(
            "scenario",
            f"{runtime.name()} can't serve the scenario {target.scenario!r}; it can "
            f"{' and '.join(map(repr, runtime.scenarios))}.",
        )


def cores_for(threads: int) -> list[int]:
    """The cores for that many threads: the last ones, one hardware thread of each.

    The first core, which most interrupts and the parent come to, stays free if it can.

    Raises:
        MeasurementError: there are not as many.
    """
    if not hasattr(os, "sched_getaffinity"):
        return []
    cores: dict[str, int] = {}
    siblings: list[int] = []
    for cpu in sorted(os.sched_getaffinity(0)):
        path = Path(TOPOLOGY.format(cpu))
        core = path.read_text() if path.is_file() else str(cpu)
        if cores.setdefault(core, cpu) != cpu:
            siblings.append(cpu)
    usable = [*siblings, *cores.values()]
    if threads > len(usable):
        raise MeasurementError(
            "target-threads",
            f"the target has {threads} threads and this process may use "
            f"{len(usable)} cores; give it at most {max(1, len(usable) - 1)}, so that "
            "one is left for the rest of the system.",
        )
    return usable[-threads:]


def write_inputs(task: Task, target: Target, path: Path) -> None:
    """Writes real batches of `target.batch` validation samples, for launches to run on.

    There are 16, as distinct as the split allows, of every shape in turn; fewer, but
    2 at least, where they would be larger than 256 MiB.

    Raises:
        TaskError: the split is empty.
    """
    batches = (as_arrays(inputs, "input") for inputs, _ in task.batches("validation"))
    groups = by_shape(batches, DISTINCT * target.batch)
    if not groups:
        raise errors.TaskError(
            "data-empty",
            f"batches('validation') of task {task.name!r} gives no sample to time on.",
        )
    arrays: dict[str, np.ndarray] = {}
    written = 0
    for number, batch in enumerate(_batches(groups, target.batch)):
        if number >= 2 and written > LARGEST:
            break
        written += sum(array.nbytes for array in batch.values())
        arrays |= {f"{number:03d}/{name}": array for name, array in batch.items()}
    with path.open("wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]


def _batches(groups: list[Arrays], size: int) -> Iterator[Arrays]:
    """16 batches of `size`, from each group in turn."""
    rng = np.random.default_rng(0)
    for number in range(DISTINCT):
        group = groups[number % len(groups)]
        begin = number // len(groups) * size
        if begin and begin + size > count(group):  # new mixtures of the same samples
            order = rng.permutation(count(group))
            group, begin = {name: a[order] for name, a in group.items()}, 0
        yield rows(group, begin, size)


def _empty(runtime: str, folder: Path) -> Artifact | None:
    """The artifact of an empty session, for runtimes whose format has one."""
    format_ = catalog.RUNTIMES[runtime].format
    module = importlib.import_module(f"paretune.infrastructure.formats.{format_}")
    if not hasattr(module, "write_empty"):
        return None
    artifact: Artifact = module.write_empty(folder / f"empty.{format_}")
    return artifact


def _record(artifact: Artifact) -> dict[str, Any]:
    return {
        "path": str(artifact.path.resolve()),
        "format": artifact.format,
        "sha256": artifact.sha256,
        "size": artifact.size,
    }


def surroundings(threads: int, serving: Mapping[str, str]) -> dict[str, str]:
    """A launch's environment: this package, and native threads that never spin.

    Args:
        threads: that native libraries may start.
        serving: what the runtime is served with.
    """
    limits = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    found = {
        **os.environ,
        **serving,
        **dict.fromkeys(limits, str(threads)),
        "OMP_WAIT_POLICY": "PASSIVE",
        "KMP_BLOCKTIME": "0",
    }
    if not PACKAGE.name.endswith("-packages"):  # installed ones are found anyway
        paths = filter(None, [str(PACKAGE), os.environ.get("PYTHONPATH")])
        found["PYTHONPATH"] = os.pathsep.join(paths)
    return found
