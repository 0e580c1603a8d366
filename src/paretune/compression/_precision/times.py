"""What each layer takes in the runtime, by the runtime's own profiler.

Times are kept on disk by what they depend on: the operators and the shapes of a graph,
the runtime, and the processor. So the same model gets the same precisions again, also
when its weights were trained in between.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np
import onnx
import onnxruntime

from paretune.compression._precision.mix import Part
from paretune.core.candidate import Candidate
from paretune.core.target import Target
from paretune.core.technique import Run
from paretune.infrastructure.formats import _parts
from paretune.infrastructure.formats import onnx as onnx_format
from paretune.infrastructure.runtimes.onnxruntime import OnnxRuntime

CALLS = 60


@dataclass(frozen=True)
class Times:
    """Seconds of one call.

    Attributes:
        parts: of the parts' own layers.
        rest: of all else.
    """

    parts: tuple[float, ...]
    rest: float

    @property
    def total(self) -> float:
        return sum(self.parts) + self.rest


@dataclass(frozen=True)
class Timer:
    """Times graphs on one sample.

    Attributes:
        run: gives the threads.
        feed: the sample, by input.
    """

    run: Run
    feed: Mapping[str, np.ndarray]

    def layers(self, model: onnx.ModelProto, parts: Sequence[Part]) -> Times:
        """What each part takes in a graph."""
        by_layer = self._by_layer(model)
        owners = [{_parts.layer(name) for name in part.nodes} for part in parts]
        shared = Counter(name for own in owners for name in own)
        each = tuple(
            sum(by_layer.get(name, 0.0) / shared[name] for name in sorted(own))
            for own in owners
        )
        return Times(each, sum(by_layer.values()) - sum(each))

    def _by_layer(self, model: onnx.ModelProto) -> dict[str, float]:
        kept = _folder() / f"{self._key(model)}.json"
        with contextlib.suppress(OSError, ValueError):
            return {str(k): float(v) for k, v in json.loads(kept.read_text()).items()}
        found = self._profiled(model)
        with contextlib.suppress(OSError):  # a home that can't be written to
            kept.parent.mkdir(parents=True, exist_ok=True)
            own = kept.with_suffix(f".{os.getpid()}")
            own.write_text(json.dumps(found))
            own.replace(kept)
        return found

    def _profiled(self, model: onnx.ModelProto) -> dict[str, float]:
        """Seconds by layer; under "" what belongs to none."""
        with tempfile.TemporaryDirectory(prefix="paretune-") as folder:
            candidate = Candidate(model, "onnx")
            artifact = onnx_format.write(candidate, self.run.task, Path(folder))
            self.run.give_way()
            operators = OnnxRuntime().profile(
                artifact, Target(threads=self.run.threads), [dict(self.feed)], CALLS
            )
            written = onnx.load_model(artifact.path)
        parts = _parts.parts(written, _parts.names(written, model))
        given = [(o.name, o.op, o.kind, o.values) for o in operators]
        owners = _parts.operator_layers(parts, given)
        found: dict[str, float] = {}
        for owner, operator in zip(owners, operators, strict=True):
            own = owner if operator.kind == "compute" else ""
            found[own] = found.get(own, 0.0) + operator.seconds
        return found

    def _key(self, model: onnx.ModelProto) -> str:
        """What the times depend on."""
        bare = onnx.ModelProto()
        bare.CopyFrom(model)
        for weight in bare.graph.initializer:
            if weight.data_type in (onnx.TensorProto.INT64, onnx.TensorProto.BOOL):
                continue  # shapes and axes
            for content in ("raw_data", "float_data", "int32_data"):
                weight.ClearField(content)
        digest = sha256(bare.SerializeToString(deterministic=True))
        shapes = {k: (str(v.dtype), v.shape) for k, v in sorted(self.feed.items())}
        around = (onnxruntime.__version__, self.run.threads, _processor(), shapes)
        digest.update(repr(around).encode())
        return digest.hexdigest()[:32]


def _folder() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "paretune" / "times"


def _processor() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor()
