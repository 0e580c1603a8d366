"""Few distinct values in each layer, so that an index stands for a weight."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from paretune.core.space import Choice, Text
from paretune.core.technique import Run, Technique, param

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class WeightClustering(Technique):
    """Moves each weight to the nearest of a few values that its layer shares.

    The values are the centres that k-means finds, from evenly spaced ones at the
    start. The file then holds a table of the values and an index of 1 to 6 or of 8 bits
    a weight; the runtime looks the weights up once, when it loads the file, so that
    speed is that of the float model. Where a layer has weights of 0, 0 is one of its
    values and all zeros stay. Biases and normalisation are left as they are; batch
    normalisation is folded into the layer before it first, since its factors would make
    other values in each channel of the exported weights.

    `codebook_tuning` after it trains the shared values. The runtime looks the values up
    when it loads the file: a session is as fast as before, but starting one takes
    several bytes of memory a weight for a moment, so `peak_memory` can rise.

    Attributes:
        clusters: distinct values in a layer, with 0 where it has weights of 0.
        skip: comma-separated layers ("head", "layers.0.*") and types of layers
            ("Embedding") that are left alone; "" for none.

    Example:
        >>> WeightClustering(clusters=32).to_json()["clusters"]
        32
    """

    source: ClassVar[str] = "Han et al. 2016, arXiv:1510.00149"
    refuses: ClassVar[frozenset[str]] = frozenset(
        {"quantized", "quantization_aware", "clustered"}
    )
    gives: ClassVar[frozenset[str]] = frozenset({"clustered"})
    lowers: ClassVar[frozenset[str]] = frozenset({"size", "transfer_size"})

    clusters: int = param(16, Choice((4, 8, 16, 32, 64, 256)))
    skip: str = param("", Text(""))

    def on_torch(self, model: nn.Module, run: Run) -> nn.Module:
        """A copy with shared values, in evaluation mode.

        Raises:
            UnsupportedError: no layer has more values than that, or `skip` names none.
        """
        from paretune.compression._clustering import sharing
        from paretune.infrastructure.formats import _folding
        from paretune.infrastructure.formats import torch as torch_format

        copy = torch_format.clone(model)
        _folding.fold(copy, run.task)
        sharing.share(copy, self.clusters, self.skip, run)
        return copy
