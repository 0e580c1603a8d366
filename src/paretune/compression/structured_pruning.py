"""Whole channels and attention heads removed, with everything that depends on them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from paretune.core.errors import UnsupportedError
from paretune.core.space import Choice, Real
from paretune.core.technique import Run, Technique, param

if TYPE_CHECKING:
    from torch import nn

    from paretune.compression._pruning.plan import Units


@dataclass(frozen=True)
class StructuredPruning(Technique):
    """Removes the least important channels, so that the model is smaller everywhere.

    Channels that depend on each other (through residual sums, concatenation,
    normalisation, depthwise convolutions) are found in the graph of one forward pass
    and go together. Layers that make the model's outputs keep all their features. In
    attention whole heads go, out of query, key, value and output projections alike.

    Each removal is checked on real samples: what is left must compute what the model
    computed with those channels cut off. What fails that is left alone and the rest
    is pruned; so are the insides of recurrent layers and, since PyTorch fixes its
    head size, everything added to the output of `nn.MultiheadAttention`.

    Attributes:
        ratio: share of the channels, and of the heads, that goes.
        importance: "magnitude": squared weights of all that depends on a channel;
            "taylor": squared first-order change of the loss without it, on 512
            samples of the train split; "bn_scale": the factor that batch
            normalisation gives it.
        scope: "uniform": the same share in each layer; "global": the least important
            of all layers together, at most 90 % of one layer.
        round_to: channel counts end as a multiple of it where they can: kernels work
            on blocks of channels, and a block that isn't full costs as much.
        heads: whether attention heads are removed.

    Example:
        >>> StructuredPruning(ratio=0.25).to_json()["round_to"]
        8
    """

    source: ClassVar[str] = (
        "Fang et al. 2023, arXiv:2301.12900; importance: Li et al. 2017, "
        "arXiv:1608.08710; Molchanov et al. 2019, arXiv:1906.10771; Liu et al. 2017, "
        "arXiv:1708.06519"
    )
    refuses: ClassVar[frozenset[str]] = frozenset({"quantized"})
    gives: ClassVar[frozenset[str]] = frozenset({"pruned"})

    ratio: float = param(0.5, Real(0.05, 0.95))
    importance: str = param("magnitude", Choice(("magnitude", "taylor", "bn_scale")))
    scope: str = param("uniform", Choice(("uniform", "global")))
    round_to: int = param(8, Choice((1, 2, 4, 8, 16)), "channel")
    heads: bool = param(True, Choice((True, False)))

    def on_torch(self, model: nn.Module, run: Run) -> nn.Module:
        """A smaller copy in evaluation mode; its modules have the same names.

        Raises:
            UnsupportedError: nothing in the model can be pruned like this.
        """
        from paretune.compression._pruning.dependency import Pruner
        from paretune.compression._pruning.plan import normal, plan
        from paretune.compression._pruning.saliency import saliency
        from paretune.infrastructure.formats import torch as torch_format

        torch_format.seed(run.seed)
        worth = saliency(model, self.importance, run)
        left_alone: set[str] = set()
        while True:
            run.give_way()
            run.progress("prune", 0.0)
            pruner = Pruner(model, run.task, worth)
            channels = {
                name: units
                for name, units in pruner.channels().items()
                if name not in left_alone
            }
            heads = {
                name: units
                for name, units in pruner.heads().items()
                if self.heads and name not in left_alone
            }
            self._require(channels, heads)
            if self.importance == "magnitude":
                channels, heads = normal(channels), normal(heads)
            planned = plan(channels, self.ratio, self.scope, self.round_to)
            planned |= plan(heads, self.ratio, self.scope, 1)
            if not planned:
                raise UnsupportedError(
                    "not-applicable",
                    f"ratio {self.ratio:g} with round_to {self.round_to} removes no "
                    "channel of these layers; raise ratio or lower round_to.",
                )
            for number, (name, units) in enumerate(planned.items()):
                run.progress("prune", number / len(planned))
                if not pruner.remove(name, units):
                    # What a failed removal did can't be undone in place: again.
                    left_alone.add(name)
                    break
            else:
                alone = f"; left alone: {', '.join(sorted(left_alone))}"
                run.progress(f"pruned{alone if left_alone else ''}", 1.0)
                return pruner.finished()

    def _require(
        self, channels: Mapping[str, Units], heads: Mapping[str, Units]
    ) -> None:
        if channels or heads:
            return
        if self.importance == "bn_scale":
            raise UnsupportedError(
                "not-applicable",
                "bn_scale finds no batch normalisation on channels that can be "
                "removed; use importance: magnitude.",
            )
        raise UnsupportedError(
            "not-applicable",
            "no channel of this model can be removed without changing its outputs' "
            "shapes or its sense; leave structured_pruning out.",
        )
