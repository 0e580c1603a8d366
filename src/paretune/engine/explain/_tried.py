"""Tries proposals that train nothing, before anybody is told to try them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from paretune import catalog
from paretune.core.candidate import Artifact
from paretune.core.errors import ParetuneError
from paretune.core.target import Runtime, Target
from paretune.core.trial import Trial
from paretune.engine.explain._judge import Judge, differences
from paretune.engine.explain._operators import NOISE, call_times
from paretune.engine.explain._states import States
from paretune.engine.explain._steps import quality_of
from paretune.engine.path import formats
from paretune.engine.realise import Prefixes

MOST = 5  # proposals
UNTRAINED = "Not tried here: it trains, or what it stands on is no longer in the cache."

Proposal = dict[str, Any]


@dataclass
class Trials:
    """Proposals that were made into files.

    Args:
        proposals: all of them.
        files: of those that could be made without training, by number.
    """

    proposals: list[Proposal]
    files: dict[int, Artifact] = field(default_factory=dict)

    def make(
        self,
        prefixes: Prefixes,
        judge: Judge,
        member: Trial,
        folder: Path,
        give_way: Callable[[], None],
    ) -> None:
        """Makes a file of each proposal that needs no training, and judges it.

        Where the trained model is gone, one with untrained weights is made to be
        timed, if time is what the proposal is about.
        """
        format_, before = judge.runtime.format, quality_of(member, judge.task)
        for number, proposal in enumerate(self.proposals):
            if len(self.files) >= MOST:
                break
            give_way()
            recipe = catalog.recipe(proposal["steps"])
            path = folder / f"proposal {number}.{format_}"
            try:
                made = States(prefixes, recipe, format_).final
                judged = made is not None
                if made is None and proposal["aim"] == "faster":
                    made = States(prefixes, recipe.structure(), format_).final
                if made is None:
                    proposal["said"] = UNTRAINED
                    continue
                artifact = formats(format_).write(made, judge.task, path)
                after = judge.file(artifact) if judged else {}
            except MemoryError:
                raise
            except ParetuneError as error:
                proposal |= {"helps": False, "said": error.message}
                continue
            except Exception as error:  # of a graph that nobody has seen before
                said = (str(error).splitlines() or [""])[0][:200]
                proposal["said"] = f"It can't be made: {type(error).__name__} {said}."
                continue
            if artifact.sha256 == member.artifact:
                proposal |= {"helps": False, "said": "It gives the very same file."}
                continue
            self.files[number] = artifact
            proposal["change"] = differences(after, before)

    def measure(
        self, runtime: Runtime, target: Target, inputs: Path, member: Artifact
    ) -> None:
        """Times the files beside the member, and says which ones do what they are for.

        Nothing else of ours may run meanwhile.
        """
        if not self.files:
            return
        arms = [member, *self.files.values()]
        try:
            mine, *others = call_times(runtime, target, inputs, arms)
        except ParetuneError as error:
            for number in self.files:
                self.proposals[number]["said"] = error.message
            return
        for number, its in zip(self.files, others, strict=True):
            self.proposals[number] |= {
                "call_s": its[0],
                "member_s": mine[0],
                "helps": _helps(self.proposals[number], mine, its),
            }


def _helps(proposal: Proposal, mine: Sequence[float], its: Sequence[float]) -> bool:
    verdicts = [c["verdict"] for c in proposal["change"].values()][:1]
    if proposal["aim"] == "better":
        return verdicts == [1]
    faster = its[2] < mine[1] and its[0] < (1 - NOISE) * mine[0]
    return faster and -1 not in verdicts
