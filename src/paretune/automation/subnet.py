"""A narrower and shallower net out of a supernet, with its weights there."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from paretune.core.candidate import Candidate
from paretune.core.errors import UnsupportedError
from paretune.core.space import Choice
from paretune.core.technique import Run, Technique, param

if TYPE_CHECKING:
    from torch import nn

_SHARES = Choice((0.25, 0.375, 0.5, 0.625, 0.75, 1.0))


@dataclass(frozen=True)
class Subnet(Technique):
    """Takes one of the nets out that `supernet` has trained; no training of its own.

    The first channels and heads of each layer stay, those of its third of the depth in
    one share; channel counts end as a multiple of 8 where they can. Statistics of batch
    normalisation are taken anew on the train split. The net is a candidate like any
    other, which can be trained on and quantized.

    Attributes:
        early: share of the channels that stays in the first third of the depth.
        middle: likewise, in the second third.
        late: likewise, in the last third.
        depth: share of the residual blocks that is cut: the last ones of each stage.

    Example:
        >>> Subnet(early=0.5).to_json()["late"]
        0.5
    """

    source: ClassVar[str] = (
        "Yu & Huang 2019, arXiv:1903.05134; Cai et al. 2020, arXiv:1908.09791"
    )
    needs: ClassVar[frozenset[str]] = frozenset({"elastic"})
    refuses: ClassVar[frozenset[str]] = frozenset(
        {"quantized", "quantization_aware", "clustered", "sparse"}
    )
    gives: ClassVar[frozenset[str]] = frozenset({"pruned"})
    breaks: ClassVar[frozenset[str]] = frozenset({"elastic"})
    lowers: ClassVar[frozenset[str]] = frozenset(
        {
            *("size", "transfer_size", "parameters", "macs", "peak_memory", "energy"),
            *("latency_p50", "latency_p90", "latency_p99", "cold_start"),
        }
    )

    early: float = param(0.5, _SHARES)
    middle: float = param(0.5, _SHARES)
    late: float = param(0.5, _SHARES)
    depth: float = param(0.0, Choice((0.0, 0.25, 0.5)))

    def apply(self, candidate: Candidate, run: Run) -> Candidate:
        """The candidate after this step; the given one is unchanged.

        Raises:
            UnsupportedError: the supernet wasn't trained for so narrow a net, or the
                model has no residual blocks to cut.
        """
        steps = [json.loads(step) for step in candidate.lineage]
        for step in steps[::-1]:
            if step["technique"] == "supernet":
                self._check(step["narrowest"], step["depth"])
                break
        return super().apply(candidate, run)

    def on_torch(self, model: nn.Module, run: Run) -> nn.Module:
        """The narrower copy in evaluation mode.

        Raises:
            UnsupportedError: `depth` is above 0 and the model has no residual blocks.
            TaskError: the "train" split is empty.
        """
        from paretune.infrastructure.formats import _elastic, _judging
        from paretune.infrastructure.formats import torch as torch_format

        torch_format.seed(run.seed)
        known = _elastic.anatomy(model, run, self.depth > 0)
        cut = _elastic.Cut(self.early, self.middle, self.late, self.depth)
        run.progress(self.name(), 0.0)
        small = _elastic.narrow(model, cut, known, run)
        _judging.resettle(small, run)
        run.progress(self.name(), 1.0)
        return small

    def _check(self, narrowest: float, deepest: float) -> None:
        """Nothing if such a net was trained."""
        least = min(self.early, self.middle, self.late)
        if least < narrowest:
            raise UnsupportedError(
                "not-applicable",
                f"a share of {least:g} is narrower than the supernet's narrowest net, "
                f"which has {narrowest:g}; raise the share, or lower supernet's "
                "narrowest.",
            )
        if self.depth > deepest:
            raise UnsupportedError(
                "not-applicable",
                f"depth {self.depth:g} cuts more blocks than the supernet's shallowest "
                f"net is without, {deepest:g}; lower it, or raise supernet's depth.",
            )
