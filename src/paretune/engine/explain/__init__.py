"""Why a trial is or isn't faster, and why it is or isn't worse, than the baseline."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from paretune.core.candidate import Artifact, Candidate
from paretune.core.errors import ParetuneError
from paretune.core.recipe import Recipe
from paretune.core.target import Runtime, Target
from paretune.core.trial import Trial
from paretune.engine.explain._advice import proposals
from paretune.engine.explain._judge import Judge, differences, is_share
from paretune.engine.explain._layers import pruned, quantized
from paretune.engine.explain._operators import Arm, profiles, side_by_side
from paretune.engine.explain._states import States
from paretune.engine.explain._steps import flips, quality_of, steps, unavailable
from paretune.engine.explain._tried import Trials
from paretune.engine.path import formats
from paretune.engine.realise import Prefixes

VERSION = 1

Explanation = dict[str, Any]


@dataclass
class Explainer:
    """Finds out about one trial what its figures don't tell.

    Args:
        runtime: that serves the artifacts.
        target: threads and the like.
        prefixes: the cache of a recipe's states, and the task.
        files: the artifacts of the member and of the baseline.
        trials: the member and the baseline, with their scores.
        recipe: the member's.
        inputs: a file of `launches.write_inputs`.
        folder: for temporary files.
    """

    runtime: Runtime
    target: Target
    prefixes: Prefixes
    files: tuple[Artifact, Artifact]
    trials: tuple[Trial, Trial]
    recipe: Recipe
    inputs: Path
    folder: Path

    def quality(self) -> Explanation:
        """What each step and each layer does to the quality, and to which samples."""
        run, judge = self.prefixes.run, Judge(self.runtime, self.target, self._task)
        member, baseline = self.trials
        layers: Explanation = {}
        base = self.files[1]
        ways: dict[str, Callable[[], Any]] = {
            "quantized": lambda: quantized(self._states, judge, run.give_way),
            "pruned": lambda: pruned(self._states, judge, base, run.give_way),
        }
        for trait in (t for t in ways if t in self._traits):
            run.progress(f"one layer {trait} at a time", 0.4)
            if self.runtime.format == "onnx":
                layers[trait] = _part(ways[trait])
            else:
                why = f"layers are judged in ONNX graphs, not in {self.runtime.name()}"
                layers[trait] = unavailable(why)
        run.progress("quality after each step", 0.8)
        return {
            "total": _part(
                lambda: differences(
                    quality_of(member, self._task), quality_of(baseline, self._task)
                )
            ),
            "steps": _part(lambda: steps(self._states, judge, member, baseline)),
            "layers": layers,
            "flips": _part(lambda: flips(self._task, member, baseline)),
        }

    def speed(self) -> Explanation:
        """Where the time goes. Nothing else of ours may run meanwhile."""
        return {"operators": _part(self._operators)}

    def prepare(self) -> None:
        """Makes what `speed` needs while others may still work."""
        _part(lambda: (self._arms, self._narrow))

    def propose(self, found: Mapping[str, Any]) -> Trials:
        """What the facts speak for; what trains nothing is made and judged at once."""
        run = self.prefixes.run
        member, _ = self.trials
        metric, dtypes = self._task.metric, self.runtime.dtypes
        first = quality_of(member, self._task).get(metric)
        share = first is not None and is_share(first)
        made = Trials(proposals(found, member.steps, metric, dtypes, share))
        run.progress("trying what may help", 0.93)
        judge = Judge(self.runtime, self.target, self._task)
        made.make(self.prefixes, judge, member, self.folder, run.give_way)
        return made

    def finished(self, found: Mapping[str, Any], made: Trials) -> Explanation:
        """The whole explanation. Nothing else of ours may run meanwhile."""
        made.measure(self.runtime, self.target, self.inputs, self.files[0])
        member, baseline = self.trials
        whole = {
            "version": VERSION,
            "trial": member.number,
            "artifact": member.artifact,
            "baseline": baseline.artifact,
            **found,
            "advice": made.proposals,
        }
        clean: Explanation = _finite(whole)
        return clean

    @property
    def _task(self) -> Any:
        return self.prefixes.run.task

    @cached_property
    def _traits(self) -> frozenset[str]:
        return self.recipe.check()

    @cached_property
    def _states(self) -> States:
        return States(self.prefixes, self.recipe, self.runtime.format)

    def _operators(self) -> Explanation:
        found = profiles(self.runtime, self.target, self.inputs, self._arms)
        return side_by_side(found, self._narrow, "quantized" in self._traits)

    @cached_property
    def _arms(self) -> dict[str, Arm]:
        """The files to profile, with the names of their parts."""
        member, baseline = self.files
        if self.runtime.format != "onnx":
            return {"baseline": Arm(baseline), "member": Arm(member)}
        plain = States(self.prefixes, Recipe(), self.runtime.format).final
        like = _Named(baseline, plain)
        arms = {
            "baseline": Arm(baseline, like.names),
            "member": Arm(member, _Named(member, self._states.final, like).names),
        }
        if {"quantized", "pruned"} <= self._traits:
            source = self._states.shape
            if source is not None:
                path = self.folder / "twin.onnx"
                twin: Artifact = formats("onnx").write(source, self._task, path)
                arms["twin"] = Arm(twin, _Named(twin, source).names)
        return arms

    @cached_property
    def _narrow(self) -> set[str]:
        """Layers whose weights the member's file holds in fewer bits."""
        if self.runtime.format != "onnx" or "quantized" not in self._traits:
            return set()
        from paretune.infrastructure.formats import _layers, _parts

        final = self._states.final
        stored = _layers.quantized_layers(final.model) if final else []
        return {_parts.layer(name) for name in stored}


@dataclass
class _Named:
    """A file with the names of its nodes.

    Args:
        artifact: the file.
        source: what it was written from, if that is at hand.
        like: another file of the same architecture, for when it isn't.
    """

    artifact: Artifact
    source: Candidate | None
    like: _Named | None = None

    @cached_property
    def model(self) -> Any:
        return formats("onnx").open_artifact(self.artifact.path, None).model

    @cached_property
    def names(self) -> Sequence[str]:
        from paretune.infrastructure.formats import _parts

        if self.source is not None:
            return _parts.names(self.model, self.source.model)
        if self.like is None:
            return _parts.names(self.model)
        return _parts.matched(self.model, self.like.model, self.like.names)


def _part(make: Callable[[], Any]) -> Any:
    """A part of the explanation, or why it can't be given.

    Graphs are taken apart that nobody has seen before: what fails on one of them must
    not take the rest of the explanation with it.
    """
    try:
        return make()
    except MemoryError:
        raise
    except ParetuneError as error:
        return unavailable(error.message)
    except Exception as error:
        said = (str(error).splitlines() or [""])[0]
        return unavailable(f"{type(error).__name__} {said[:200]}".strip())


def _finite(value: Any) -> Any:
    """Without numbers that JSON can't hold."""
    if isinstance(value, dict):
        return {str(k): _finite(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


__all__ = ["Explainer", "Explanation"]
