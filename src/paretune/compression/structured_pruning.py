"""Channels, heads and blocks removed, with everything that depends on them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from paretune.core.errors import UnsupportedError
from paretune.core.space import Choice, Integer, Real
from paretune.core.technique import Run, Technique, param

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class StructuredPruning(Technique):
    """Removes the least important channels, so that the model is smaller everywhere.

    Channels that depend on each other (through residual sums, concatenation,
    normalisation, depthwise convolutions) are found in the graph of one forward pass
    and go together: the widths of layers and of perceptrons, and that of the embedding
    with all that is added to it. Layers that make the model's outputs keep all their
    features. In attention whole heads go, out of query, key, value and output
    projections alike. Whole residual blocks go first, if `depth` says so.

    Each removal is checked on real samples: what is left must compute what the model
    computed with those channels cut off. What fails that is left alone and the rest
    is pruned; so are the insides of recurrent layers and, since PyTorch fixes its
    head size, everything that `nn.MultiheadAttention` adds to: of a
    `nn.TransformerEncoderLayer` the perceptron gets narrower. What was left alone is
    told at the end.

    To train between removals, repeat the step in a recipe with training after it.

    Attributes:
        ratio: share of the channels, and of the heads, that goes; with the scopes
            "macs" and "latency" the share of the multiply-accumulates, or of the time.
            0: only `depth` counts.
        importance: "magnitude": squared weights of all that depends on a channel;
            "taylor": squared first-order change of the loss without it, on 512
            samples of the train split; "bn_scale": the factor that batch
            normalisation gives it.
        scope: "uniform": the same share in each layer; "global": the least important
            of all layers together, at most 90 % of one layer; "macs": those that save
            the most multiply-accumulates for what they are worth, counted layer by
            layer; "latency": those that save the most time, as ONNX Runtime's profiler
            tells it of each layer of the exported model, one sample a call on one
            thread. That depends on the machine, and may differ from run to run; in a
            study its result is kept and not measured again.
        rounds: the ratio is reached in so many removals, and importance is taken anew
            on what is left after each.
        round_to: channel counts end as a multiple of it where they can: kernels work
            on blocks of channels, and a block that isn't full costs as much.
        heads: whether attention heads are removed.
        embedding: whether the embedding gets narrower, with everything that is added
            to it; without it layers inside the blocks still do.
        depth: share of the residual blocks that is cut, before anything else: those
            that change their input least on 128 calibration samples. The ratio counts
            on what is left.

    Example:
        >>> StructuredPruning(ratio=0.25).to_json()["round_to"]
        8
    """

    source: ClassVar[str] = (
        "Fang et al. 2023, arXiv:2301.12900; importance: Li et al. 2017, "
        "arXiv:1608.08710; Molchanov et al. 2019, arXiv:1906.10771; Liu et al. 2017, "
        "arXiv:1708.06519; by cost: Shen et al. 2021, arXiv:2110.10811; Lee et al. "
        "2021, arXiv:2010.07611; depth: Gromov et al. 2024, arXiv:2403.17887; Men et "
        "al. 2024, arXiv:2403.03853"
    )
    refuses: ClassVar[frozenset[str]] = frozenset({"quantized", "quantization_aware"})
    gives: ClassVar[frozenset[str]] = frozenset({"pruned"})
    lowers: ClassVar[frozenset[str]] = frozenset(
        {
            *("size", "transfer_size", "parameters", "macs", "peak_memory", "energy"),
            *("latency_p50", "latency_p90", "latency_p99", "cold_start"),
        }
    )

    ratio: float = param(0.5, Real(0.0, 0.95))
    importance: str = param("magnitude", Choice(("magnitude", "taylor", "bn_scale")))
    scope: str = param("uniform", Choice(("uniform", "global", "macs", "latency")))
    rounds: int = param(1, Integer(1, 10))
    round_to: int = param(8, Choice((1, 2, 4, 8, 16)), "channel")
    heads: bool = param(True, Choice((True, False)))
    embedding: bool = param(True, Choice((True, False)))
    depth: float = param(0.0, Real(0.0, 0.75))

    def on_torch(self, model: nn.Module, run: Run) -> nn.Module:
        """A smaller copy in evaluation mode; but for cut blocks, its modules have the
        same names.

        Raises:
            UnsupportedError: nothing in the model can be pruned like this.
        """
        from paretune.compression._pruning.rounds import Order, narrower
        from paretune.infrastructure.formats import torch as torch_format
        from paretune.infrastructure.formats._depth import shallower

        if not self.ratio and not self.depth:
            raise UnsupportedError(
                "not-applicable",
                "ratio and depth are both 0; raise one of them, or leave "
                "structured_pruning out.",
            )
        torch_format.seed(run.seed)
        small, cut, notes = model, list[str](), list[str]()
        if self.depth:
            small, cut = shallower(model, self.depth, run)
            notes.append(f"cut {', '.join(cut)}" if cut else "cut no block")
        if not self.ratio and not cut:
            raise UnsupportedError(
                "not-applicable",
                f"depth {self.depth:g} is less than half a block of this model; raise "
                "it.",
            )
        if self.ratio:
            order = Order(
                self.ratio,
                self.importance,
                self.scope,
                self.rounds,
                self.round_to,
                self.heads,
                self.embedding,
            )
            small, said = narrower(small, order, run, must=not cut)
            notes += said
        run.progress("; ".join(["pruned", *notes]), 1.0)
        return small
