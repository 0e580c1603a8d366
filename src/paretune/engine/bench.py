"""A worker's bench: one task, one target, one store, and what can be done with them.

Every operation takes and gives JSON, so that a worker may be a thread, a process or a
machine.
"""

from __future__ import annotations

import contextlib
import hashlib
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from paretune import catalog
from paretune.core.candidate import Artifact
from paretune.core.errors import UnsupportedError
from paretune.core.measurement import Measurement
from paretune.core.meter import Subject
from paretune.core.quiet import Quiet
from paretune.core.target import Runtime, Target
from paretune.core.task import Task, as_arrays
from paretune.core.technique import Run
from paretune.core.trial import Trial
from paretune.engine import launches, preflight
from paretune.engine.comparison import side_by_side
from paretune.engine.environment import environment
from paretune.engine.explain import Explainer
from paretune.engine.realise import Prefixes, Realised, formats
from paretune.measurement import _parity
from paretune.measurement._counters import Counter
from paretune.measurement._cpu import cpu_s
from paretune.measurement._energy import counter
from paretune.measurement._reasons import Graphs
from paretune.measurement.quality import Quality
from paretune.store._files import storing
from paretune.store.artifacts import Artifacts
from paretune.store.cache import Cache

# Meters that look at the file alone.
STATIC = ("size", "transfer_size", "parameters", "macs")
SUFFIXES = {".onnx", ".safetensors", ".tflite", ".keras"}
Progress = Callable[[str, float], None]


@dataclass
class Bench:
    """What a worker can do.

    Args:
        task: the user's task.
        target: where artifacts will be served.
        root: the store's folder.
        seed: of everything random.
        progress: called with (what runs, share done).
        scratch: for temporary files; by default a folder of its own.
    """

    task: Task
    target: Target
    root: Path
    seed: int = 0
    progress: Progress = field(default=lambda what, share: None, repr=False)
    scratch: Path | None = None

    def do(self, operation: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """The JSON result of an operation: the name of a method below.

        Its "cost" has "cpu_s": processor time of this process, and of those that it
        started and that have ended meanwhile.
        """
        begin = cpu_s()
        result: dict[str, Any] = getattr(self, operation)(**arguments)
        spent = {**result.get("cost", {}), "cpu_s": cpu_s() - begin}
        return {**result, "cost": spent}

    def describe(self) -> dict[str, Any]:
        """The task's name, metrics and reference."""
        return {
            "name": self.task.name,
            "metrics": dict(self.task.metrics),
            "reference": self.task.reference,
        }

    def preflight(self) -> dict[str, Any]:
        """Checks model, data, loss and metric; what was found out about them.

        Raises:
            TaskError: one of them can't be used, and what to do about it.
        """
        launches.check_target(self.runtime, self.target)
        with Quiet().working():
            found = preflight.check(self.task)
            self._inputs()
        return {**found, "environment": environment(self.runtime, self.target)}

    def realise(
        self,
        steps: Sequence[Mapping[str, Any]],
        fingerprint: str,
        judge: bool = True,
    ) -> dict[str, Any]:
        """A recipe's artifact in the store, with its figures.

        Args:
            steps: the recipe.
            fingerprint: the task's, as `preflight` found it.
            judge: whether parity and quality are taken; without, only the figures
                that need no trained weights.

        Returns:
            {"artifact", "format", "measurements", "parity", "trace", "cost"}.
        """
        with Quiet().working() as give_way:
            waited = 0.0

            def politely() -> None:
                nonlocal waited
                begin = time.monotonic()
                give_way()
                waited += time.monotonic() - begin

            run = Run(self.task, self.seed, 1, politely, self.progress)
            prefixes = Prefixes(run, fingerprint, Cache(self.root))
            recipe = catalog.recipe(steps)
            realised = prefixes.realise(recipe, self.runtime.format)
            begin = time.monotonic()
            artifact = self._write(realised)
            measurements = self._static(artifact)
            parity: dict[str, float] = {}
            written = time.monotonic()
            if judge:
                self.progress("checking", 0.0)
                parity = self._parity(realised, artifact)
                measurements |= self._quality(artifact, "validation")
        return {
            "artifact": artifact.sha256,
            "format": artifact.format,
            "measurements": {k: m.to_json() for k, m in measurements.items()},
            "parity": parity,
            "trace": list(realised.trace),
            "cost": {
                **realised.cost,
                "train_s": max(0.0, realised.cost["train_s"] - waited),
                "wait_s": waited,
                "export_s": realised.cost["export_s"] + written - begin,
                "judge_s": time.monotonic() - written,
            },
        }

    def measure(
        self,
        artifacts: Sequence[str],
        baseline: str,
        meters: Sequence[str],
        protocol: str = "screening",
        settings: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> dict[str, Any]:
        """Figures of artifacts in the store that want fresh processes.

        Args:
            artifacts: by SHA-256.
            baseline: what they are measured beside.
            meters: by name.
            protocol: of those that must be alone.
            settings: further arguments of a meter, by its name.

        Returns:
            {"measurements": one {metric: measurement} per artifact, "cost": ...}.
        """
        begin = time.monotonic()
        found: list[dict[str, Any]] = [{} for _ in artifacts]
        subjects = [self._subject(self._artifact(a)) for a in artifacts]
        base = self._subject(self._artifact(baseline))
        with self._quiet(any(catalog.METERS[m].alone for m in meters)):
            waited = time.monotonic() - begin
            for name in meters:
                meter = catalog.METERS[name]
                given = (settings or {}).get(name, {})
                some = (protocol,) if meter.alone else ()
                made = meter(*some, **given)
                for into, taken in zip(
                    found, made.measure(subjects, base), strict=True
                ):
                    into |= {m.metric: self._stamp(m).to_json() for m in taken}
        spent = time.monotonic() - begin - waited
        return {"measurements": found, "cost": {"measure_s": spent, "wait_s": waited}}

    def certify(self, artifacts: Sequence[str]) -> dict[str, Any]:
        """Quality of artifacts in the store on the test split."""
        with Quiet().working() as give_way:
            found = []
            for number, sha256 in enumerate(artifacts):
                self.progress("reading the test split", number / len(artifacts))
                taken = self._quality(self._artifact(sha256), "test")
                found.append({k: m.to_json() for k, m in taken.items()})
                give_way()
        return {"measurements": found}

    def explain(
        self,
        member: Mapping[str, Any],
        baseline: Mapping[str, Any],
        fingerprint: str,
    ) -> dict[str, Any]:
        """Why a trial is or isn't faster, and is or isn't worse, than the baseline.

        Args:
            member: a finished trial, as `Trial.to_json` gives it.
            baseline: trial 0 of the same study, likewise.
            fingerprint: the task's, as `preflight` found it.

        Returns:
            {"explanation": see `paretune.engine.explain`}.
        """
        trials = Trial.from_json(member), Trial.from_json(baseline)
        with Quiet().working() as give_way:
            run = Run(self.task, self.seed, 1, give_way, self.progress)
            explainer = Explainer(
                self.runtime,
                self.target,
                Prefixes(run, fingerprint, Cache(self.root)),
                (
                    self._artifact(str(trials[0].artifact)),
                    self._artifact(str(trials[1].artifact)),
                ),
                trials,
                catalog.recipe(trials[0].steps),
                self._inputs(),
                self._folder,
            )
            self.progress("taking the models apart", 0.1)
            explainer.prepare()
            found = explainer.quality()
        self.progress("profiling", 0.9)
        with Quiet().measuring():
            found |= explainer.speed()
        with Quiet().working():
            made = explainer.propose(found)
        self.progress("timing what may help", 0.97)
        with Quiet().measuring():
            return {"explanation": explainer.finished(found, made)}

    def judge(self, path: str, estimate_energy: bool = False) -> dict[str, Any]:
        """All figures of a file that may come from anywhere, by the full protocol.

        Energy is among them where something counts joules, or an estimate is welcome.
        """
        subject = self._foreign(path)
        artifact = subject.artifact
        with Quiet().working():
            taken = self._static(artifact) | self._quality(artifact, "validation")
        with Quiet().measuring():
            counted = isinstance(counter(self.target.device), Counter)
            energy = ["energy"] * (counted or estimate_energy)
            for name in ("latency", "peak_memory", "cold_start", *energy):
                meter = catalog.METERS[name]
                tail = {"tail": True} if name == "latency" else {}
                made = meter(*["full"] * meter.alone, **tail)
                (some,) = made.measure([subject], subject)
                taken |= {m.metric: self._stamp(m) for m in some}
        return {"measurements": {k: m.to_json() for k, m in taken.items()}}

    def compare(self, paths: Sequence[str], runtimes: Sequence[str]) -> dict[str, Any]:
        """Two files that may come from anywhere, side by side.

        Args:
            paths: of the first and the second.
            runtimes: that serve them.

        Returns:
            {"measurements": [the first's, the second's], "noise": see `side_by_side`}.
        """
        *figures, noise = side_by_side(*map(self._foreign, paths, runtimes))
        found = [{k: m.to_json() for k, m in some.items()} for some in figures]
        return {"measurements": found, "noise": noise}

    def _foreign(self, path: str, runtime: str = "") -> Subject:
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
        return launches.subject(served, artifact, target, self.task, self._inputs())

    @cached_property
    def runtime(self) -> Runtime:
        return self._served(self.target.runtime)

    def _served(self, name: str) -> Runtime:
        runtime = catalog.usable_runtime(name)
        if hasattr(runtime, "resolve"):  # it runs the task's own code
            runtime.resolve = lambda reference: self.task
        return runtime

    @cached_property
    def _store(self) -> Artifacts:
        return Artifacts(self.root)

    @cached_property
    def _environment(self) -> str:
        return str(environment(self.runtime, self.target)["digest"])

    def _inputs(self) -> Path:
        """The real samples that launches are fed with."""
        path = self._folder / "inputs.npz"
        if not path.exists():
            with storing(path):
                launches.write_inputs(self.task, self.target, path)
        return path

    @cached_property
    def _folder(self) -> Path:
        return self.scratch or Path(self._temporary.name)

    @cached_property
    def _temporary(self) -> tempfile.TemporaryDirectory[str]:
        return tempfile.TemporaryDirectory(prefix="paretune-")

    def _write(self, realised: Realised) -> Artifact:
        format_ = realised.candidate.format
        scratch = self._folder
        with storing(scratch), tempfile.TemporaryDirectory(dir=scratch) as folder:
            path = Path(folder) / f"model.{format_}"
            formats(format_).write(realised.candidate, self.task, path)
            sha256, _ = self._store.put(path, format_)
        return replace(self._artifact(sha256), traits=realised.candidate.traits)

    def _artifact(self, sha256: str) -> Artifact:
        path = self._store.path(sha256, self.runtime.format)
        return Artifact(path, self.runtime.format, sha256, path.stat().st_size)

    def _subject(self, artifact: Artifact) -> Subject:
        return launches.subject(
            self.runtime, artifact, self.target, self.task, self._inputs()
        )

    def _static(self, artifact: Artifact) -> dict[str, Measurement]:
        subject = self._subject(artifact)
        taken = (catalog.METERS[m]().measure([subject], subject)[0] for m in STATIC)
        return {m.metric: self._stamp(m) for some in taken for m in some}

    def _quality(self, artifact: Artifact, split: str) -> dict[str, Measurement]:
        subject = self._subject(artifact)
        (taken,) = Quality(split).measure([subject], subject)
        return {m.metric: self._stamp(m) for m in taken}

    def _parity(self, realised: Realised, artifact: Artifact) -> dict[str, float]:
        from paretune.infrastructure.runtimes.torch_eager import TorchEager

        session = self.runtime.load(artifact, self.target)
        batches = self.task.batches("validation")
        try:
            return _parity.check(
                TorchEager().session(realised.source.model),
                session,
                [as_arrays(inputs, "input") for inputs, _ in batches],
                quantized="quantized" in artifact.traits,
                sizes=sorted({*_parity.SIZES, self.target.batch}),
                graphs=self._graphs(realised),
            )
        finally:
            session.close()

    def _graphs(self, realised: Realised) -> Graphs | None:
        """The graphs in which parity finds the layer where an artifact goes wrong."""
        made = realised.candidate
        if made.format != "onnx":
            return None

        def source() -> Any:
            if "quantized" not in made.traits:
                return formats("onnx").from_torch(realised.source, self.task).model
            exported = realised.exported
            if exported is None or "quantized" in exported.traits:
                return None
            return exported.model

        return Graphs(made.model, source)

    def _stamp(self, measurement: Measurement) -> Measurement:
        return replace(measurement, environment=self._environment)

    @contextlib.contextmanager
    def _quiet(self, alone: bool) -> Iterator[None]:
        with Quiet().measuring() if alone else contextlib.nullcontext():
            yield
