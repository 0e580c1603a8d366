"""Layers replaced by chains of smaller ones that compute almost the same."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from paretune.core.errors import UnsupportedError
from paretune.core.space import Choice, Integer, Real, Text
from paretune.core.technique import Run, Technique, param

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class LowRankFactorization(Technique):
    """Takes weights apart into products of smaller ones; fine-tune afterwards.

    A linear layer, or a convolution with a kernel of 1, becomes two in a row by its
    singular values; any other convolution becomes

    - "tucker": a 1x1, a kxk and a 1x1 convolution with fewer channels in between;
    - "cp": a 1x1, a depthwise kxk and a 1x1 convolution: fewer multiplications at the
      same rank, and harder to train on.

    A layer that would get no smaller is left alone, and so are grouped and transposed
    convolutions, recurrent and attention layers of PyTorch's own, layers in two places,
    weights that two layers share, and layers whose inside the model's own code reads.

    Attributes:
        by: what `keep` is a share of. "energy": of the sum of squares of each weight;
            "size": of the number of weights in all these layers, where each keeps the
            same share of its energy, the largest that there is room for.
        keep: that share.
        convolutions: how those with a kernel are taken apart: see above, or "none".
        data: whether the energy of a weight matrix is that of its outputs on
            calibration data ("calibration"), or its own ("none"); with more than
            6,144 inputs it is always its own.
        samples: of the calibration split.
        round_to: ranks are a multiple of it: kernels work on blocks of channels.
        skip: comma-separated layers ("head", "layers.0.*") and types of layers
            ("Conv2d") that are left alone; "" for none.

    Example:
        >>> LowRankFactorization(keep=0.4).to_json()["by"]
        'size'
    """

    source: ClassVar[str] = (
        "Denton et al. 2014, arXiv:1404.0736; Tucker: Kim et al. 2016, "
        "arXiv:1511.06530; CP: Lebedev et al. 2015, arXiv:1412.6553; with data: Wang "
        "et al. 2024, arXiv:2403.07378"
    )
    refuses: ClassVar[frozenset[str]] = frozenset(
        {"quantized", "quantization_aware", "clustered", "sparse"}
    )
    gives: ClassVar[frozenset[str]] = frozenset({"factorized"})
    lowers: ClassVar[frozenset[str]] = frozenset(
        {"size", "transfer_size", "parameters", "macs", "latency_p50", "peak_memory"}
    )

    by: str = param("size", Choice(("size", "energy")))
    keep: float = param(0.5, Real(0.05, 0.99))
    convolutions: str = param("tucker", Choice(("tucker", "cp", "none")))
    data: str = param("calibration", Choice(("calibration", "none")))
    samples: int = param(256, Integer(16, 4096, log=True))
    round_to: int = param(8, Choice((1, 2, 4, 8, 16)), "channel")
    skip: str = param("", Text(""))

    def on_torch(self, model: nn.Module, run: Run) -> nn.Module:
        """A smaller copy in evaluation mode.

        Raises:
            UnsupportedError: no layer gets smaller, or `skip` names none.
            TaskError: the calibration split is empty.
        """
        from paretune.compression._lowrank import layers, ranks

        copy = layers.copied(model)
        found = layers.candidates(copy, run, self.skip, self.convolutions)
        spread = {}
        if self.data == "calibration":
            spread = layers.spread(copy, found, run, self.samples)
        factors = {}
        for number, (name, layer) in enumerate(found.items()):
            run.give_way()
            run.progress("take apart", number / len(found))
            factors[name] = layers.factors(
                layer, spread.get(name), self.convolutions, self.round_to
            )
        choose = {"size": ranks.by_size, "energy": ranks.by_energy}[self.by]
        chosen = choose(factors, self.keep)
        left = [
            name
            for name, rank in chosen.items()
            if not layers.replaced(copy, name, factors[name].build(rank), run)
        ]
        if len(left) == len(chosen):
            raise UnsupportedError(
                "not-applicable",
                f"no layer of this model gets smaller at keep {self.keep:g} and "
                f"round_to {self.round_to}; lower one of them, or leave this step out.",
            )
        told = f"took apart {len(chosen) - len(left)} of {len(found)}"
        wide = [name for name in chosen if layers.is_wide(found[name])]
        if wide and self.data != "none":
            told += f"; without data, as too wide: {', '.join(wide)}"
        run.progress(told, 1.0)
        return copy
