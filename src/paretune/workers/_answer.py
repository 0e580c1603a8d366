"""Turns an operation into an answer that can be written as a line of JSON."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from paretune.core import errors
from paretune.core.errors import ParetuneError, TaskError
from paretune.core.worker import Job, WorkFailed
from paretune.engine.bench import Bench
from paretune.engine.tasks import find_task
from paretune.workers import _memory

_WORDS = {
    "nan": "nan",
    "launch-crash": "crash",
    "launch-timeout": "timeout",
    "launch-oom": "oom",
}


def answer(
    bench: Bench, operation: str, arguments: Mapping[str, Any]
) -> dict[str, Any]:
    """{"result": ...} or {"error": {"type", "code", "message", "word"}}."""
    try:
        return {"result": bench.do(operation, arguments)}
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # a technique may even call sys.exit
        return {"error": describe(error)}


def describe(error: BaseException) -> dict[str, str]:
    """The error as JSON."""
    if isinstance(error, ParetuneError):
        code, message = error.code, error.message
    else:
        text = str(error).splitlines()[0] if str(error) else ""
        code, message = "error", f"{type(error).__name__}: {text}"
    return {
        "type": type(error).__name__,
        "code": code,
        "message": message,
        "details": getattr(error, "details", ""),
        "word": _word(error, code),
    }


def _word(error: BaseException, code: str) -> str:
    if isinstance(error, MemoryError) or _memory.SAYS.search(str(error)):
        return "oom"
    if isinstance(error, errors.ParityError):
        return "parity"
    if isinstance(error, errors.UnsupportedError):
        return "unsupported"
    return _WORDS.get(code, "error")


def result(answered: Mapping[str, Any]) -> dict[str, Any]:
    """The result in an answer.

    Raises:
        TaskError, RecipeError, UnavailableError, StoreError: as they were raised.
        WorkFailed: any other error, with the trial's word for it.
    """
    if "result" in answered:
        found: dict[str, Any] = answered["result"]
        return found
    told = answered["error"]
    kind = getattr(errors, told["type"], None)
    fatal = (errors.TaskError, errors.UnavailableError, errors.StoreError)
    if kind in (*fatal, errors.RecipeError):
        raise kind(told["code"], told["message"], told["details"])
    raise WorkFailed(told["word"], told["code"], told["message"])


def bench_of(
    job: Job, progress: Callable[[str, float], None], scratch: Path | None = None
) -> Bench:
    """The bench of a job, with a folder of the caller's for its temporary files."""
    if job.task is None and job.reference is None:
        raise TaskError("task-not-found", "the job names no task.")
    task = job.task or find_task(str(job.reference))
    return Bench(task, job.target, job.root, scratch, seed=job.seed, progress=progress)
