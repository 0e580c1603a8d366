"""A worker's bench: one task, one target, one store, and what can be done with them.

Every operation takes and gives JSON, so that a worker may be a thread, a process or a
machine.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from paretune import catalog
from paretune.core.quiet import Quiet, Waits
from paretune.core.technique import Over, Run
from paretune.core.trial import Trial
from paretune.engine import launches, pace, preflight
from paretune.engine.comparison import side_by_side
from paretune.engine.environment import environment
from paretune.engine.explain import Explainer
from paretune.engine.exporting import agreement, written
from paretune.engine.kinds import kinds
from paretune.engine.realise import Prefixes
from paretune.engine.site import Site
from paretune.engine.sketch import sketch, torch_part
from paretune.measurement._counters import Counter
from paretune.measurement._cpu import cpu_s
from paretune.measurement._energy import counter
from paretune.store.cache import Cache

Progress = Callable[[str, float], None]


@dataclass
class Bench(Site):
    """What a worker can do.

    Args:
        task: the user's task.
        target: where artifacts will be served.
        root: the store's folder.
        scratch: for temporary files; by default a folder of its own.
        seed: of everything random.
        progress: called with (what runs, share done).
    """

    seed: int = 0
    progress: Progress = field(default=lambda what, share: None, repr=False)

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
            self.inputs()
            data = kinds(self.task)
        return {**found, **data, "environment": environment(self.runtime, self.target)}

    def realise(
        self,
        steps: Sequence[Mapping[str, Any]],
        fingerprint: str,
        judge: bool = True,
        share: float = 1.0,
        paused: Sequence[float] = (),
        over: Over = "length",
    ) -> dict[str, Any]:
        """A recipe's artifact in the store, with its figures; or how good it is so far.

        Args:
            steps: the recipe.
            fingerprint: the task's, as `preflight` found it.
            judge: whether parity and quality are taken; without, only the figures
                that need no trained weights.
            share: of its training at which it is judged; 1 for all of it.
            paused: smaller shares at which that training may have been paused.
            over: what they are shares of.

        Returns:
            {"artifact", "format", "measurements", "parity", "trace", "cost"}, and
            what `sketch` gives if nothing is judged; below a share of 1 {"rung",
            "trace", "cost"}, see `engine.pace`, unless there is nothing to pause.
        """
        with Quiet().working() as give_way:
            waits = Waits(give_way)
            run = Run(self.task, self.seed, 1, waits, self.progress)
            prefixes = Prefixes(run, fingerprint, Cache(self.root))
            recipe = catalog.recipe(steps)
            trained_s = 0.0
            if share < 1:
                at = pace.rung(prefixes, recipe, share, paused, over)
                if isinstance(at, pace.Rung):
                    told = {"rung": at.facts, "trace": list(at.trace)}
                    return {**told, "cost": waits.apart(at.cost)}
                trained_s = at
            begun = pace.resumed(prefixes, recipe, paused)
            realised = prefixes.realise(recipe, self.runtime.format, begun)
            cost = {**realised.cost, "train_s": realised.cost["train_s"] + trained_s}
            begin = time.monotonic()
            artifact = written(self, realised)
            measurements = self.static(artifact)
            parity: dict[str, float] = {}
            stored = time.monotonic()
            if judge:
                self.progress("checking", 0.0)
                parity = agreement(self, realised, artifact)
                measurements |= self.quality(artifact, "validation")
            known = {} if judge else sketch(realised.source, recipe, self.task)
        return {
            **known,
            "artifact": artifact.sha256,
            "format": artifact.format,
            "measurements": {k: m.to_json() for k, m in measurements.items()},
            "parity": parity,
            "trace": list(realised.trace),
            "cost": {
                **waits.apart(cost),
                "export_s": cost["export_s"] + stored - begin,
                "judge_s": time.monotonic() - stored,
            },
        }

    def sketch(
        self, steps: Sequence[Mapping[str, Any]], fingerprint: str
    ) -> dict[str, Any]:
        """What is known of a recipe's speed before it is exported.

        Args:
            steps: the recipe; those of its torch part are realised.
            fingerprint: the task's, as `preflight` found it.

        Returns:
            {"layers", "group", "cost"}; see `engine.sketch`.
        """
        with Quiet().working() as give_way:
            waits = Waits(give_way)
            run = Run(self.task, self.seed, 1, waits, self.progress)
            recipe = catalog.recipe(steps)
            inside = torch_part(recipe, self.runtime.format)
            prefixes = Prefixes(run, fingerprint, Cache(self.root))
            realised = prefixes.realise(inside, "torch")
            begin = time.monotonic()
            told = sketch(realised.candidate, recipe, self.task)
        return {
            **told,
            "cost": {
                **waits.apart(realised.cost),
                "judge_s": time.monotonic() - begin,
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
        subjects = [self.subject(self.artifact(a)) for a in artifacts]
        base = self.subject(self.artifact(baseline))
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
                    into |= {m.metric: self.stamp(m).to_json() for m in taken}
        spent = time.monotonic() - begin - waited
        return {"measurements": found, "cost": {"measure_s": spent, "wait_s": waited}}

    def certify(self, artifacts: Sequence[str]) -> dict[str, Any]:
        """Quality of artifacts in the store on the test split."""
        with Quiet().working() as give_way:
            found = []
            for number, sha256 in enumerate(artifacts):
                self.progress("reading the test split", number / len(artifacts))
                taken = self.quality(self.artifact(sha256), "test")
                found.append({k: m.to_json() for k, m in taken.items()})
                give_way()
        return {"measurements": found}

    def labels(self, **asks: Any) -> dict[str, Any]:
        """A piece of work on what labels are worth; see `engine.labels.work.answer`."""
        from paretune.engine.labels.work import answer

        with Quiet().working() as give_way:
            return answer(self.task, self.target, give_way, self.progress, **asks)

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
                    self.artifact(str(trials[0].artifact)),
                    self.artifact(str(trials[1].artifact)),
                ),
                trials,
                catalog.recipe(trials[0].steps),
                self.inputs(),
                self.folder,
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
        subject = self.foreign(path)
        artifact = subject.artifact
        with Quiet().working():
            taken = self.static(artifact) | self.quality(artifact, "validation")
        with Quiet().measuring():
            counted = isinstance(counter(self.target.device), Counter)
            energy = ["energy"] * (counted or estimate_energy)
            for name in ("latency", "peak_memory", "cold_start", *energy):
                meter = catalog.METERS[name]
                tail = {"tail": True} if name == "latency" else {}
                made = meter(*["full"] * meter.alone, **tail)
                (some,) = made.measure([subject], subject)
                taken |= {m.metric: self.stamp(m) for m in some}
        return {"measurements": {k: m.to_json() for k, m in taken.items()}}

    def compare(self, paths: Sequence[str], runtimes: Sequence[str]) -> dict[str, Any]:
        """Two files that may come from anywhere, side by side.

        Args:
            paths: of the first and the second.
            runtimes: that serve them.

        Returns:
            {"measurements": [the first's, the second's], "noise": see `side_by_side`}.
        """
        *figures, noise = side_by_side(*map(self.foreign, paths, runtimes))
        found = [{k: m.to_json() for k, m in some.items()} for some in figures]
        return {"measurements": found, "noise": noise}

    @contextlib.contextmanager
    def _quiet(self, alone: bool) -> Iterator[None]:
        with Quiet().measuring() if alone else contextlib.nullcontext():
            yield
