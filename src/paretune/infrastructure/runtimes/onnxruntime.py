"""ONNX Runtime on the CPU."""

from __future__ import annotations

import contextlib
import importlib.util
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from paretune.core.candidate import Artifact
from paretune.core.errors import MeasurementError, UnavailableError, UnsupportedError
from paretune.core.target import Arrays, OperatorTime, Runtime, Session, Target

_FATAL_ONLY = 4  # what fails is raised; the log would say it a second time
_WARM = 20  # calls before a profile counts
_CHAINS = (8, 72)  # operators in models that do nothing
_CHAIN_CALLS = 200
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
        return OnnxSession(_session(artifact.path, _options(target)))

    def profile(
        self, artifact: Artifact, target: Target, inputs: Sequence[Arrays], calls: int
    ) -> tuple[OperatorTime, ...]:
        """What each operator takes, by the runtime's own profiler.

        The profiler slows a call down by several microseconds an operator. What of
        that falls into the times of the operators is found out by calls without it:
        each operator is relieved of an equal part, so that all together they take
        what such a call takes beyond that of an empty model.
        """
        from paretune.infrastructure.formats import _profile

        with tempfile.TemporaryDirectory(prefix="paretune-") as folder:
            optimised, calls_file = Path(folder) / "model.onnx", Path(folder) / "calls"
            options = _options(target)
            options.optimized_model_filepath = str(optimised)
            with contextlib.suppress(UnsupportedError):  # too large a graph to write
                _session(artifact.path, options)
            known = _profile.anchors(artifact.path, optimised)
            wide = _profile.in_bytes(artifact.path)
            options = _options(target)
            options.enable_profiling = True
            options.profile_file_prefix = str(calls_file)
            profiled = _session(artifact.path, options)
            plain = self.load(artifact, target)
            _seconds(plain, inputs, _WARM)
            spent = _seconds(plain, inputs, calls)
            _seconds(OnnxSession(profiled), inputs, _WARM + calls)
            spent += _seconds(plain, inputs, calls)
            operators = _profile.timed(Path(profiled.end_profiling()), _WARM)
        least, empty = _least(target)
        raw = [o.middle_s for o in operators]
        beyond = sum(raw) - (_profile.middle(spent) - empty)
        each = max(0.0, beyond / max(1, len(raw)))
        values = _profile.values_of(operators, known)
        return tuple(
            OperatorTime(
                o.name,
                o.op,
                max(least, seconds - each),
                "int8"
                if o.op in _profile.IN_BLOCKS and wide.intersection((o.name, *own))
                else o.dtype,
                o.kind,
                own,
                least,
            )
            for o, seconds, own in zip(operators, raw, values, strict=True)
        )


def _options(target: Target) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = target.threads
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.log_severity_level = _FATAL_ONLY
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    return options


def _session(model: Path | bytes, options: Any) -> Any:
    """An `onnxruntime.InferenceSession`.

    Raises:
        UnsupportedError: the file holds something that this runtime can't run.
    """
    import onnxruntime

    what = model if isinstance(model, bytes) else str(model)
    try:
        return onnxruntime.InferenceSession(
            what, options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # its errors have no common base of their own
        reason = " ".join(str(error).split())
        name = "a model" if isinstance(model, bytes) else model.name
        raise UnsupportedError(
            "unsupported-op", f"onnxruntime can't load {name}: {reason[:400]}"
        ) from error


def _seconds(session: Session, inputs: Sequence[Arrays], calls: int) -> list[float]:
    """What each call takes."""
    spent = []
    for number in range(calls):
        sample = inputs[number % len(inputs)]
        begin = time.perf_counter()
        session(sample)
        spent.append(time.perf_counter() - begin)
    return spent


def _least(target: Target) -> tuple[float, float]:
    """(seconds of an operator with nothing to do, of a call without operators)."""
    from paretune.infrastructure.formats import _profile

    inputs, took = [{"x": np.ones(1, np.float32)}], []
    for length in _CHAINS:
        session = OnnxSession(_session(_profile.chain(length), _options(target)))
        _seconds(session, inputs, _WARM)
        took.append(_profile.middle(_seconds(session, inputs, _CHAIN_CALLS)))
    short, long = took
    each = max(0.0, (long - short) / (_CHAINS[1] - _CHAINS[0]))
    return each, max(0.0, short - _CHAINS[0] * each)


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
