"""Single weights set to zero, without training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from paretune.core.space import Choice, Integer, Real, Text
from paretune.core.technique import Run, Technique, param

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class MagnitudePruning(Technique):
    """Sets the least important weights to zero, at once.

    Weights of linear, convolutional, recurrent, attention and embedding layers; biases
    and normalisation stay. The shapes stay, and so does the time of a call: kernels of
    CPU runtimes multiply by zero as by any number. The file gets smaller, since weights
    with many zeros are stored without them.

    Training steps that follow keep the zeros. `gradual_pruning` trains meanwhile, and
    loses less at high sparsity.

    Attributes:
        sparsity: share of the weights that are zero afterwards. Not used with a
            pattern, which means one half.
        pattern: "unstructured"; "2:4" and "4:8": at most 2 of every 4 (4 of every 8)
            weights side by side along the input axis stay, which some accelerators run
            faster. Embeddings have no such axis, and stay.
        scope: "uniform": the same share in each tensor; "global": the share of each
            follows from ranking all weights together, relative to those of the same
            tensor that are larger (LAMP).
        criterion: which weights of a tensor go. "magnitude": the smallest; "wanda":
            of each output those with the smallest product of size and norm of what
            comes in; "sparsegpt": those that change the layer's output least, given
            that the others are moved to make up for it. The last two need samples and
            work for linear layers and 1-D and 2-D convolutions; other tensors, and
            those of more than 6,144 inputs an output, go by magnitude.
        samples: of the calibration split, for "wanda" and "sparsegpt".
        settle: whether statistics of batch normalisation are taken anew on the
            calibration split: without, a model with many zeros is often useless until
            it is trained. Training steps take them anew themselves.
        skip: comma-separated layers ("head", "layers.0.*") and types of layers
            ("Embedding") that are left alone; "" for none.

    Example:
        >>> MagnitudePruning(sparsity=0.9).to_json()["pattern"]
        'unstructured'
    """

    source: ClassVar[str] = (
        "Han et al. 2015, arXiv:1506.02626; global: Lee et al. 2021, arXiv:2010.07611; "
        "N:M: Mishra et al. 2021, arXiv:2104.08378; wanda: Sun et al. 2024, "
        "arXiv:2306.11695; sparsegpt: Frantar & Alistarh 2023, arXiv:2301.00774; "
        "settle: Li et al. 2020, arXiv:2007.02491"
    )
    refuses: ClassVar[frozenset[str]] = frozenset(
        {"quantized", "quantization_aware", "clustered"}
    )
    gives: ClassVar[frozenset[str]] = frozenset({"sparse"})
    lowers: ClassVar[frozenset[str]] = frozenset({"size", "transfer_size"})

    sparsity: float = param(0.5, Real(0.05, 0.98))
    pattern: str = param("unstructured", Choice(("unstructured", "2:4", "4:8")))
    scope: str = param("global", Choice(("uniform", "global")))
    criterion: str = param("magnitude", Choice(("magnitude", "wanda", "sparsegpt")))
    samples: int = param(256, Integer(16, 4096, log=True))
    settle: bool = param(True, Choice((True, False)))
    skip: str = param("", Text("Embedding"))

    def on_torch(self, model: nn.Module, run: Run) -> nn.Module:
        """A copy with zeros, in evaluation mode.

        Raises:
            UnsupportedError: nothing can be set to zero like this, or `skip` names
                a layer that isn't there.
            TaskError: the calibration split is empty.
        """
        from paretune.compression._sparsity.one_shot import Goal, prune

        goal = Goal(self.sparsity, self.pattern, self.scope)
        return prune(
            model, goal, self.criterion, self.samples, self.settle, self.skip, run
        )
