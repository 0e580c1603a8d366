"""Where a model must run, and the contract of what runs it there."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Protocol

import numpy as np

from paretune.core.candidate import Artifact
from paretune.core.errors import MeasurementError, UnsupportedError

Arrays = dict[str, np.ndarray]

SCENARIOS = ("single_stream", "offline")


@dataclass(frozen=True)
class Target:
    """Where the artifact will be served.

    Attributes:
        runtime: a runtime's file name, such as "onnxruntime".
        device: "cpu".
        threads: of one session, 1 or more.
        batch: samples in one call.
        scenario: MLPerf's word for how requests come: "single_stream", "offline".
    """

    runtime: str = "onnxruntime"
    device: str = "cpu"
    threads: int = 1
    batch: int = 1
    scenario: str = "single_stream"

    def __post_init__(self) -> None:
        if self.threads < 1 or self.batch < 1:
            raise MeasurementError(
                "target",
                f"threads={self.threads} and batch={self.batch}: both are 1 or more.",
            )
        if self.scenario not in SCENARIOS:
            raise MeasurementError(
                "target",
                f"scenario {self.scenario!r} is not one of {', '.join(SCENARIOS)}.",
            )

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Target:
        return cls(**record)


class Session(Protocol):
    """A loaded model. A call blocks until its outputs are on the host.

    Inputs and outputs are arrays by name, as `core.task.as_arrays` names them.
    """

    def __call__(self, inputs: Arrays) -> Arrays: ...

    def close(self) -> None: ...


@dataclass(frozen=True)
class OperatorTime:
    """What one operator takes of a call, as the runtime's own profiler tells it.

    Attributes:
        name: as the runtime calls it.
        op: its type, such as "Conv".
        seconds: of one call: the mean of the middle half of the calls, without what
            the profiler itself costs.
        dtype: the number format that it computes in: "float32", "int8", ...
        kind: "compute", "quantize" (it changes number formats) or "layout" (it moves
            numbers about in memory).
        values: names in the artifact of what it makes and of the weights that it
            uses, as far as the runtime keeps them: what it is matched with layers by.
        least_s: what an operator costs here that has next to nothing to do, in s.
    """

    name: str
    op: str
    seconds: float
    dtype: str = "float32"
    kind: str = "compute"
    values: tuple[str, ...] = ()
    least_s: float = 0.0


class Runtime(ABC):
    """Loads artifacts of one format and runs them on this machine.

    The file's name is the runtime's name.

    Attributes:
        format: the artifact format that it loads.
        dtypes: number formats that it computes in (not merely stores).
        provides: modules that hold it; `paretune doctor` prints their versions.
        scenarios: MLPerf's words for how requests come, of those that it can serve.
        serving: environment variables that a process which serves with it is started
            with; measuring does so too, and a deploy bundle names them.
    """

    format: ClassVar[str]
    dtypes: ClassVar[frozenset[str]] = frozenset({"float32"})
    provides: ClassVar[tuple[str, ...]] = ()
    scenarios: ClassVar[tuple[str, ...]] = SCENARIOS
    serving: ClassVar[Mapping[str, str]] = {}

    @classmethod
    def name(cls) -> str:
        return cls.__module__.rpartition(".")[2]

    def missing(self) -> str | None:
        """Why this runtime can't be used here, with the remedy; None if it can."""
        return None

    @abstractmethod
    def load(self, artifact: Artifact, target: Target) -> Session:
        """A session on `artifact`.

        Raises:
            UnsupportedError: the file holds something that this runtime can't run.
        """

    def profile(
        self, artifact: Artifact, target: Target, inputs: Sequence[Arrays], calls: int
    ) -> tuple[OperatorTime, ...]:
        """What each operator of `artifact` takes, in the order that they run in.

        Args:
            artifact: the file.
            target: threads and the like; the session is the one that `load` gives.
            inputs: batches that the calls take in turn.
            calls: 1 or more, after a warm-up.

        Raises:
            UnsupportedError: this runtime tells nothing of the kind ("profile").
        """
        raise UnsupportedError(
            "profile",
            f"{self.name()} doesn't tell what its operators take; the rest of an "
            "explanation does without.",
        )
