"""The child's side of a launch: one artifact, one process, told what to do by a pipe.

Lines of JSON come in on standard input and go out on what was standard output. Nothing
heavy is imported before the process is bound to its cores.
"""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import functools
import gc
import importlib
import json
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from paretune.core.target import Arrays, OperatorTime, Session

DIES_WITH_PARENT = 1  # PR_SET_PDEATHSIG


def main() -> None:
    """Obeys until standard input ends."""
    answers = _answers()
    request = json.loads(sys.stdin.readline())
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides when to end
    _die_with(int(request["parent"]))
    if request["cores"] and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, request["cores"])
    try:
        work, ready = _load(request)
        _say(answers, ready)
        for line in sys.stdin:
            order = json.loads(line)
            _say(answers, work[order.pop("do")](**order))
    except BaseException as error:
        _say(answers, {"error": _told(error)})


def _load(request: dict[str, Any]) -> tuple[dict[str, Callable[..., Any]], Any]:
    """(what can be asked, the first answer)."""
    begin = time.perf_counter()
    from paretune.catalog import usable_runtime
    from paretune.core.candidate import Artifact
    from paretune.core.target import Target

    runtime = usable_runtime(request["runtime"])
    if hasattr(runtime, "resolve"):  # it runs the task's own code
        from paretune.engine.tasks import find_task

        runtime.resolve = find_task
    for module in runtime.provides:
        importlib.import_module(module)
    samples = _samples(Path(request["inputs"]))
    imported = time.perf_counter()
    ready = {"import_s": imported - begin, "load_s": 0.0, "first_call_s": 0.0}
    work: dict[str, Callable[..., Any]] = {"peak_memory": _peak_memory}
    if (record := request["artifact"]) is not None:
        artifact = Artifact(**{**record, "path": Path(record["path"])})
        if request["empty"]:
            samples = [_nothing()]
        session = runtime.load(artifact, Target.from_json(request["target"]))
        loaded = time.perf_counter()
        session(samples[0])
        called = time.perf_counter()
        ready |= {"load_s": loaded - imported, "first_call_s": called - loaded}
        if not request["empty"]:
            work["block"] = functools.partial(_block, session, samples)
            target = Target.from_json(request["target"])
            profile = functools.partial(runtime.profile, artifact, target, samples)
            work["profile"] = functools.partial(_profile, profile)
    gc.collect()
    gc.freeze()
    return work, ready


def _block(
    session: Session, samples: list[Arrays], calls: int, start: int, span: int
) -> list[int]:
    """Nanoseconds of each call."""
    numbers = (start + (i % span if span else i) for i in range(calls))
    inputs = [samples[number % len(samples)] for number in numbers]
    spent = [0] * calls
    clock = time.perf_counter_ns
    gc.disable()
    try:
        for i, sample in enumerate(inputs):
            begin = clock()
            outputs = session(sample)
            spent[i] = clock() - begin
            del outputs
    finally:
        gc.enable()
    return spent


def _profile(
    profile: Callable[[int], tuple[OperatorTime, ...]], calls: int
) -> list[dict[str, Any]]:
    return [dataclasses.asdict(operator) for operator in profile(calls)]


def _samples(path: Path) -> list[Arrays]:
    """The batches that `launches.write_inputs` wrote, in order."""
    import numpy as np

    found: dict[str, Arrays] = {}
    with np.load(path, allow_pickle=False) as file:
        for key in file.files:
            number, _, name = key.partition("/")
            found.setdefault(number, {})[name] = file[key]
    return [found[number] for number in sorted(found)]


def _nothing() -> Arrays:
    """What an empty session answers."""
    import numpy as np

    return {"x": np.zeros(1, np.float32)}


def _peak_memory(reset: bool = False) -> int:
    """The largest resident size so far, in bytes."""
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        import resource

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024
    if reset:
        with contextlib.suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")
    line = next(row for row in status.splitlines() if row.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024


def _answers() -> TextIO:
    """A private copy of standard output; prints, even native ones, go to the errors."""
    private = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return private


def _die_with(parent: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(DIES_WITH_PARENT, signal.SIGKILL)
        if os.getppid() != parent:  # it died before the line above
            os._exit(1)


def _say(answers: TextIO, answer: Any) -> None:
    answers.write(json.dumps(answer) + "\n")
    answers.flush()


def _told(error: BaseException) -> dict[str, str]:
    lines = str(error).splitlines()
    return {
        "kind": type(error).__name__,
        "code": getattr(error, "code", ""),
        "message": getattr(error, "message", lines[0] if lines else ""),
    }


if __name__ == "__main__":
    main()
