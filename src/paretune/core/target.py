"""Where a model must run, and the contract of what runs it there."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Protocol

import numpy as np

from paretune.core.candidate import Artifact
from paretune.core.errors import MeasurementError

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
