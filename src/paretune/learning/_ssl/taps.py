"""A model as a maker of features: what its last linear layer is given."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from paretune.core.errors import UnsupportedError
from paretune.infrastructure.formats.torch import call
from paretune.learning._augment.texts import embedding


@torch.no_grad()
def last_linear(model: nn.Module, inputs: Any) -> tuple[str, int]:
    """(name, features) of the linear layer that runs last.

    Args:
        model: in evaluation mode.
        inputs: a batch that it is run on.

    Raises:
        UnsupportedError: it has none.
    """
    seen: list[str] = []
    linear = {n: m for n, m in model.named_modules() if isinstance(m, nn.Linear)}
    handles = [
        m.register_forward_pre_hook(lambda *_, name=n: seen.append(name))
        for n, m in linear.items()
    ]
    try:
        call(model, inputs)
    finally:
        for handle in handles:
            handle.remove()
    if not seen:
        raise UnsupportedError(
            "features",
            "the model runs no linear layer, whose inputs would be its features; "
            "pretraining without labels needs one at its end.",
        )
    return seen[-1], linear[seen[-1]].in_features


def features(model: nn.Module, at: str, inputs: Any) -> Tensor:
    """What the layer `at` is given, averaged over all axes but the first and last."""
    caught: list[Tensor] = []
    handle = model.get_submodule(at).register_forward_pre_hook(
        lambda _, given: caught.append(given[0])
    )
    try:
        call(model, inputs)
    finally:
        handle.remove()
    found = caught[-1]
    return found.flatten(1, -2).mean(1) if found.dim() > 2 else found


class Tapped(nn.Module):
    """A model with something else than its own end; it takes one or more batches.

    Args:
        model: that is pretrained.
        at: the name of its last linear layer.
        head: from the features to what the pretraining asks for; thrown away after.
        tokens: whether that is scores of tokens, by the model's own embedding.
    """

    def __init__(
        self, model: nn.Module, at: str, head: nn.Module, tokens: bool = False
    ) -> None:
        super().__init__()
        self.model = model
        self.at = at
        self.head = head
        self.tokens = tokens

    def forward(self, *batches: Any) -> Tensor:
        """What the head makes of all batches, one under the other."""
        answer: Tensor = self.head(features(self.model, self.at, together(batches)))
        if not self.tokens:
            return answer
        table = embedding(self.model)
        assert table is not None
        return functional.linear(answer, table)


def together(batches: tuple[Any, ...]) -> Any:
    """Batches of one structure as one."""
    first = batches[0]
    if len(batches) == 1:
        return first
    if isinstance(first, Tensor):
        return torch.cat(batches)
    if isinstance(first, dict):
        return {k: together(tuple(b[k] for b in batches)) for k in first}
    return tuple(together(parts) for parts in zip(*batches, strict=True))


def projector(wide: int, narrow: int) -> nn.Module:
    """Two layers with a normalisation between them."""
    return nn.Sequential(
        nn.Linear(wide, max(wide, narrow)),
        nn.BatchNorm1d(max(wide, narrow)),
        nn.ReLU(),
        nn.Linear(max(wide, narrow), narrow),
    )
