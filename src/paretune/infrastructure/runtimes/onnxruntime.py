"""ONNX Runtime on the CPU."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from typing import Any, ClassVar

from paretune.core.candidate import Artifact
from paretune.core.errors import MeasurementError, UnavailableError, UnsupportedError
from paretune.core.target import Arrays, Runtime, Target

_FATAL_ONLY = 4  # what fails is raised; the log would say it a second time
_NUMPY = {
    "float": "float32",
    "double": "float64",
    "float16": "float16",
    "bool": "bool",
    **{f"{u}int{b}": f"{u}int{b}" for u in ("", "u") for b in (8, 16, 32, 64)},
}


class OnnxRuntime(Runtime):
    """ONNX Runtime's CPU provider; all graph optimisations, no spinning threads.

    Idle threads that spin would take the core that another session measures on.

    Source: https://onnxruntime.ai
    """

    format: ClassVar[str] = "onnx"
    dtypes: ClassVar[frozenset[str]] = frozenset({"float32", "int8"})
    provides: ClassVar[tuple[str, ...]] = ("onnxruntime",)
    # Weights are copied while a file is loaded. glibc keeps what is freed then unless
    # its thresholds are fixed: a convolutional network holds 3 times its weights for
    # good, against once. Calls are no slower, since ONNX Runtime has an arena.
    serving: ClassVar[Mapping[str, str]] = {
        "MALLOC_MMAP_THRESHOLD_": "131072",
        "MALLOC_TRIM_THRESHOLD_": "131072",
    }

    def missing(self) -> str | None:
        if importlib.util.find_spec("onnxruntime") is None:
            return "onnxruntime is not installed: pip install onnxruntime."
        return None

    def load(self, artifact: Artifact, target: Target) -> OnnxSession:
        if reason := self.missing():
            raise UnavailableError("runtime-missing", reason)
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = target.threads
        options.inter_op_num_threads = 1
        options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
        options.graph_optimization_level = (
            onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        )
        options.log_severity_level = _FATAL_ONLY
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.add_session_config_entry("session.inter_op.allow_spinning", "0")
        try:
            session = onnxruntime.InferenceSession(
                str(artifact.path), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # its errors have no common base of their own
            reason = " ".join(str(error).split())
            raise UnsupportedError(
                "unsupported-op",
                f"onnxruntime can't load {artifact.path.name}: {reason[:400]}",
            ) from error
        return OnnxSession(session)


class OnnxSession:
    """A loaded graph; outputs come in the graph's order."""

    def __init__(self, session: Any) -> None:
        self._session = session
        self._names = [o.name for o in session.get_outputs()]

    def __call__(self, inputs: Arrays) -> Arrays:
        """The outputs by name.

        Raises:
            MeasurementError: an input has another name, type or shape than the graph
                takes; nothing is cast or reshaped.
        """
        try:
            outputs = self._session.run(self._names, inputs)
        except Exception as error:
            raise self._mismatch(inputs, error) from error
        return dict(zip(self._names, outputs, strict=True))

    def close(self) -> None:
        self._session = None

    def _mismatch(self, inputs: Arrays, error: Exception) -> MeasurementError:
        if self._session is None:
            return MeasurementError("session-closed", "the session is closed.")
        wanted = {i.name: i for i in self._session.get_inputs()}
        if wanted.keys() != inputs.keys():
            return MeasurementError(
                "input-names",
                f"got inputs {sorted(inputs)}, the model takes {sorted(wanted)}.",
            )
        for name, spec in wanted.items():
            got, kind = inputs[name], spec.type.removeprefix("tensor(").rstrip(")")
            dtype = _NUMPY.get(kind, kind)
            if str(got.dtype) != dtype:
                return MeasurementError(
                    "data-dtype",
                    f"input {name!r} is {got.dtype}, the model takes {dtype}; convert "
                    "the data.",
                )
            fits = len(got.shape) == len(spec.shape) and all(
                not isinstance(size, int) or size == has
                for size, has in zip(spec.shape, got.shape, strict=True)
            )
            if not fits:
                takes = ", ".join(str(size) for size in spec.shape)
                return MeasurementError(
                    "data-shape",
                    f"input {name!r} is {got.shape}, the model takes ({takes}).",
                )
        return MeasurementError("run", f"onnxruntime failed: {error}")
