"""Finds the task that a reference names."""

from __future__ import annotations

import importlib.util
import inspect
import sys
import traceback
from pathlib import Path
from types import ModuleType

from paretune.catalog import TASKS
from paretune.core.errors import TaskError, nearest
from paretune.core.task import Task


def find_task(reference: str) -> Task:
    """The task of a built-in name or "path/to/task.py[:name]".

    Without a name, the file's attribute `task` is taken, or else its only Task.

    Raises:
        TaskError: no such name or file, the file raises, or no one task is in it.

    Example:
        >>> find_task("fashion").name
        'fashion'
    """
    path, name = _split(reference)
    if path is None:
        if reference not in TASKS:
            raise TaskError(
                "task-not-found",
                f"There is no built-in task {reference!r} (a file ends in .py); "
                + nearest(reference, TASKS),
            )
        built_in = TASKS[reference]()
        built_in.reference = reference
        return built_in
    module = _execute(path)
    found = _pick(module, path, name)
    task = _instance(found, path) if inspect.isclass(found) else found
    if not isinstance(task, Task):
        raise TaskError(
            "task-type",
            f"{path}:{name or 'task'} is a {type(task).__name__}; "
            "it must be an instance or subclass of paretune.Task.",
        )
    task.reference = f"{path.resolve()}:{name}" if name else str(path.resolve())
    return task


def _split(reference: str) -> tuple[Path | None, str]:
    """(path, name) of a file reference; (None, "") of a built-in name."""
    path, colon, name = reference.rpartition(":")
    if colon and path.endswith(".py"):
        return Path(path), name
    if reference.endswith(".py") or "/" in reference:
        return Path(reference), ""
    return None, ""


def _execute(path: Path) -> ModuleType:
    if not path.is_file():
        near = (
            [p.name for p in path.parent.glob("*.py")] if path.parent.is_dir() else []
        )
        hint = f" {nearest(path.name, near).capitalize()}" if near else ""
        what = "is a folder" if path.is_dir() else "There is no file"
        text = f"{path} {what}." if path.is_dir() else f"{what} {path}.{hint}"
        raise TaskError("task-not-found", text)
    folder = str(path.resolve().parent)
    if folder not in sys.path:
        sys.path.insert(0, folder)
    name = f"paretune_task_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except (TaskError, MemoryError):
        raise
    except Exception as error:
        raise raised(error, path, "the task file") from error
    return module


def first_line(error: BaseException) -> str:
    """The first line of what an error says; its type's name if it says nothing."""
    return (str(error).splitlines() or [type(error).__name__])[0]


def raised(error: BaseException, path: Path | None, what: str) -> TaskError:
    """The one sentence for an error of the user's own code, with where it happened."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [f for f in frames if path and Path(f.filename).resolve() == path.resolve()]
    at = (own or frames)[-1] if frames else None
    where = f"{Path(at.filename).name}:{at.lineno}" if at else "?"
    if isinstance(error, SyntaxError):
        where = f"{Path(error.filename or '?').name}:{error.lineno}"
    text = first_line(error)
    shown = traceback.StackSummary.from_list(own).format() if own else []
    return TaskError(
        "task-raises",
        f"{what} raised {type(error).__name__} at {where}: {text}",
        "".join([*shown, *traceback.format_exception_only(error)]),
    )


def _pick(module: ModuleType, path: Path, name: str) -> object:
    if name:
        if not hasattr(module, name):
            public = [n for n in vars(module) if not n.startswith("_")]
            raise TaskError(
                "task-not-found", f"{path} has no {name!r}; {nearest(name, public)}"
            )
        return getattr(module, name)
    if hasattr(module, "task"):
        return module.task
    own = [
        v
        for v in vars(module).values()
        if inspect.isclass(v)
        and issubclass(v, Task)
        and v.__module__ == module.__name__
        and not inspect.isabstract(v)
    ]
    if len(own) == 1:
        return own[0]
    tasks = ", ".join(v.__name__ for v in own) or "none"
    raise TaskError(
        "task-not-found",
        f"{path} needs one paretune.Task subclass, or an instance called `task`; "
        f"it has {tasks}. Name one as {path.name}:NAME.",
    )


def _instance(found: type, path: Path) -> object:
    try:
        return found()
    except (TaskError, MemoryError):
        raise
    except Exception as error:
        raise raised(error, path, f"{found.__name__}()") from error
