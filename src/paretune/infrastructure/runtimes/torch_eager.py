"""PyTorch in eager mode: the reference that the other runtimes are held against."""

from __future__ import annotations

import importlib.util
import statistics
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, ClassVar

from paretune.core.candidate import Artifact
from paretune.core.errors import MeasurementError, UnsupportedError
from paretune.core.target import Arrays, OperatorTime, Runtime, Target
from paretune.core.task import Task, as_arrays

Resolve = Callable[[str], Task]
_WARM = 5  # calls before a profile counts


class TorchEager(Runtime):
    """The candidate's own module, operator by operator.

    Args:
        resolve: gives the task of a reference: an artifact holds edits and weights,
            and the task holds the architecture.
    """

    format: ClassVar[str] = "torch"
    provides: ClassVar[tuple[str, ...]] = ("torch",)

    def __init__(self, resolve: Resolve | None = None) -> None:
        self.resolve = resolve

    def missing(self) -> str | None:
        if importlib.util.find_spec("torch") is None:
            return "torch is not installed: pip install torch."
        return None

    def load(self, artifact: Artifact, target: Target) -> TorchSession:
        from paretune.infrastructure.formats import torch as torch_format

        candidate = torch_format.open_artifact(artifact.path, self._task)
        return TorchSession(candidate.model, target.threads)

    def profile(
        self, artifact: Artifact, target: Target, inputs: Sequence[Arrays], calls: int
    ) -> tuple[OperatorTime, ...]:
        """What each module without parts takes; what lies between them isn't told."""
        import time

        session = self.load(artifact, target)
        began: dict[str, float] = {}
        spent: dict[str, float] = {}
        leaves = [
            (name, part)
            for name, part in session.modules()
            if name and not any(part.children())
        ]

        def begin(name: str, *_: object) -> None:
            began[name] = time.perf_counter()

        def end(name: str, *_: object) -> None:
            took = time.perf_counter() - began[name]
            spent[name] = spent.get(name, 0.0) + took

        for name, part in leaves:
            part.register_forward_pre_hook(partial(begin, name))
            part.register_forward_hook(partial(end, name))
        taken: dict[str, list[float]] = {}
        for number in range(_WARM + calls):
            spent.clear()
            session(inputs[number % len(inputs)])
            for name, seconds in spent.items() if number >= _WARM else ():
                taken.setdefault(name, []).append(seconds)
        kinds = {name: type(part).__name__ for name, part in leaves}
        return tuple(
            OperatorTime(f"{name}/{kinds[name]}", kinds[name], statistics.median(each))
            for name, each in taken.items()
        )

    def session(self, model: Any, threads: int | None = None) -> TorchSession:
        """A session straight from a module.

        Args:
            model: a `torch.nn.Module`; it is put into evaluation mode.
            threads: 1 or more; by default as torch is set.
        """
        return TorchSession(model.eval(), threads)

    def _task(self, reference: str | None) -> Task:
        if self.resolve is None or reference is None:
            raise UnsupportedError(
                "task-needed",
                "a torch artifact holds no architecture: its task is needed, from a "
                "task file or a built-in name; export to onnx to do without.",
            )
        return self.resolve(reference)


class TorchSession:
    """Calls a module; inputs by the names that `as_arrays` gives them."""

    def __init__(self, model: Any, threads: int | None) -> None:
        self._model = model
        self._threads = threads

    def __call__(self, inputs: Arrays) -> Arrays:
        """The outputs by name.

        Raises:
            MeasurementError: the model can't take these inputs.
        """
        import torch

        from paretune.infrastructure.formats import torch as torch_format

        if self._model is None:
            raise MeasurementError("session-closed", "the session is closed.")
        before = torch.get_num_threads()
        threads = self._threads or before
        if threads != before:
            torch.set_num_threads(threads)
        try:
            with torch.inference_mode():
                outputs = torch_format.call(self._model, _arguments(inputs))
        except (RuntimeError, TypeError, IndexError, ValueError) as error:
            got = ", ".join(f"{k} {v.dtype}{v.shape}" for k, v in inputs.items())
            reason = str(error).strip().partition("\n")[0]
            raise MeasurementError(
                "run", f"the model can't take {got}: {reason}"
            ) from error
        finally:
            if threads != before:
                torch.set_num_threads(before)
        return as_arrays(outputs, "output")

    def modules(self) -> Iterator[tuple[str, Any]]:
        """The modules by their paths."""
        yield from self._model.named_modules()

    def close(self) -> None:
        self._model = None


def _arguments(inputs: Arrays) -> Any:
    from paretune.infrastructure.formats import torch as torch_format

    tensors = torch_format.tensors(inputs)
    if list(inputs) == ["input"]:
        return tensors["input"]
    if list(inputs) == [f"input_{i}" for i in range(len(inputs))]:
        return tuple(tensors.values())
    return tensors
