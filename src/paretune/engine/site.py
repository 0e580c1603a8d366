"""Where a worker's artifacts are: a task, a target and a store, ready to measure."""

from __future__ import annotations

import hashlib
import tempfile
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from paretune import catalog
from paretune.core.candidate import Artifact
from paretune.core.errors import UnsupportedError
from paretune.core.measurement import Measurement
from paretune.core.meter import Subject
from paretune.core.target import Runtime, Target
from paretune.core.task import Task
from paretune.engine import launches
from paretune.engine.comparison import static
from paretune.engine.environment import environment
from paretune.engine.path import formats
from paretune.measurement.quality import Quality
from paretune.store._files import storing
from paretune.store.artifacts import Artifacts

SUFFIXES = {".onnx", ".safetensors", ".tflite", ".keras"}


@dataclass
class Site:
    """What has to be at hand before anything can be measured.

    Args:
        task: the user's task.
        target: where artifacts will be served.
        root: the store's folder.
        scratch: for temporary files; by default a folder of its own.
    """

    task: Task
    target: Target
    root: Path
    scratch: Path | None = None

    @cached_property
    def runtime(self) -> Runtime:
        """The target's runtime."""
        return self._served(self.target.runtime)

    def _served(self, name: str) -> Runtime:
        runtime = catalog.usable_runtime(name)
        if hasattr(runtime, "resolve"):  # it runs the task's own code
            runtime.resolve = lambda reference: self.task
        return runtime

    @cached_property
    def artifacts(self) -> Artifacts:
        """The store's files."""
        return Artifacts(self.root)

    @cached_property
    def _environment(self) -> str:
        return str(environment(self.runtime, self.target)["digest"])

    def inputs(self) -> Path:
        """The real samples that launches are fed with."""
        path = self.folder / "inputs.npz"
        if not path.exists():
            with storing(path):
                launches.write_inputs(self.task, self.target, path)
        return path

    @cached_property
    def folder(self) -> Path:
        """For temporary files."""
        return self.scratch or Path(self._temporary.name)

    @cached_property
    def _temporary(self) -> tempfile.TemporaryDirectory[str]:
        return tempfile.TemporaryDirectory(prefix="paretune-")

    def artifact(self, sha256: str) -> Artifact:
        """One that is in the store."""
        path = self.artifacts.path(sha256, self.runtime.format)
        return Artifact(path, self.runtime.format, sha256, path.stat().st_size)

    def subject(self, artifact: Artifact) -> Subject:
        """An artifact of the target's runtime, as meters take it."""
        return launches.subject(
            self.runtime, artifact, self.target, self.task, self.inputs()
        )

    def static(self, artifact: Artifact) -> dict[str, Measurement]:
        """Figures of the file alone, by metric."""
        taken = static(self.subject(artifact))
        return {k: self.stamp(m) for k, m in taken.items()}

    def quality(self, artifact: Artifact, split: str) -> dict[str, Measurement]:
        """The task's own metrics on a split, by metric."""
        subject = self.subject(artifact)
        (taken,) = Quality(split).measure([subject], subject)
        return {m.metric: self.stamp(m) for m in taken}

    def foreign(self, path: str, runtime: str = "") -> Subject:
        """A file that may come from anywhere, on this target or on another runtime."""
        file = Path(path)
        target = replace(self.target, runtime=runtime or self.target.runtime)
        served = self._served(target.runtime)
        launches.check_target(served, target)
        wanted = formats(served.format).SUFFIX
        if file.suffix in SUFFIXES - {wanted}:
            raise UnsupportedError(
                "format",
                f"{target.runtime} runs {wanted} files, and {file.name} is none; name "
                "another runtime for it, or another file.",
            )
        content = hashlib.sha256(file.read_bytes()).hexdigest()
        artifact = Artifact(file, served.format, content, file.stat().st_size)
        return launches.subject(served, artifact, target, self.task, self.inputs())

    def stamp(self, measurement: Measurement) -> Measurement:
        """With where it was taken."""
        return replace(measurement, environment=self._environment)
