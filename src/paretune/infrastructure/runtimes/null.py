"""A runtime that computes nothing, for tests of timing and of the search."""

from __future__ import annotations

import json
import time
from typing import Any, ClassVar

import numpy as np

from paretune.core.candidate import Artifact
from paretune.core.target import Arrays, Runtime, Target


class Null(Runtime):
    """Answers zeros after an exactly known time.

    The artifact's file says what to answer, as JSON: {"outputs": {name: [size, ...]},
    "sleep_s": seconds, "holds": bytes of memory}, all of them optional, sizes without
    the batch axis. Any other file is answered with
    one zero a sample, at once, so real artifacts can be "run" too. It waits busily to
    a deadline: the latency of a call is right to a microsecond on an idle core.
    """

    format: ClassVar[str] = "onnx"
    dtypes: ClassVar[frozenset[str]] = frozenset({"float32", "int8"})

    def load(self, artifact: Artifact, target: Target) -> NullSession:
        try:
            settings = json.loads(artifact.path.read_bytes())
        except ValueError:
            settings = {}
        return NullSession(settings if isinstance(settings, dict) else {})


class NullSession:
    """Zeros of the shapes that `settings` names."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self._shapes = {
            str(name): tuple(int(size) for size in shape)
            for name, shape in settings.get("outputs", {"output": [1]}).items()
        }
        self._wait_s = float(settings.get("sleep_s", 0.0))
        self._held = bytearray(b"\1") * int(settings.get("holds", 0))

    def __call__(self, inputs: Arrays) -> Arrays:
        deadline = time.perf_counter() + self._wait_s
        batch = len(next(iter(inputs.values()), ()))
        outputs = {
            name: np.zeros((batch, *shape), np.float32)
            for name, shape in self._shapes.items()
        }
        while time.perf_counter() < deadline:
            pass
        return outputs

    def close(self) -> None: ...
