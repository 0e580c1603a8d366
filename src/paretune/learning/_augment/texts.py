"""Text: tokens dropped, swapped and replaced by near ones."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from paretune.learning._augment.policy import Policy

NEAR = 5  # words that one may be replaced by
CHUNK = 1024  # rows of the table at a time


def vary(tokens: Tensor, policy: Policy, near: Tensor | None) -> Tensor:
    """The texts, each changed in its own way; whole numbers (n, length).

    Args:
        tokens: numbers up to `policy.padding` are left alone, and where they are.
        policy: what to do.
        near: of each token, tokens near it, shape (vocabulary, `NEAR`).
    """
    if policy.swap:
        tokens = _swapped(tokens, policy)
    if policy.synonyms and near is not None:
        chosen = torch.randint(0, near.shape[1], tokens.shape)
        other = near[tokens.clamp(0, len(near) - 1), chosen].to(tokens.dtype)
        hit = (torch.rand(tokens.shape) < policy.synonyms) & (tokens > policy.padding)
        tokens = torch.where(hit & (tokens < len(near)), other, tokens)
    if policy.drop:
        hit = (torch.rand(tokens.shape) < policy.drop) & (tokens > policy.padding)
        tokens = tokens.masked_fill(hit, policy.padding)
    return tokens


def _swapped(tokens: Tensor, policy: Policy) -> Tensor:
    length = tokens.shape[1]
    hit = torch.rand(tokens.shape) < policy.swap
    hit &= (tokens > policy.padding) & (tokens.roll(-1, 1) > policy.padding)
    hit[:, -1] = False
    # A token takes part in one swap only.
    for column in range(1, length):
        hit[:, column] &= ~hit[:, column - 1]
    places = torch.arange(length) + hit.long() - hit.roll(1, 1).long()
    return tokens.gather(1, places)


def embedding(model: nn.Module) -> Tensor | None:
    """The largest table of tokens of a model; None without one."""
    tables = [m.weight for m in model.modules() if isinstance(m, nn.Embedding)]
    return max(tables, key=len, default=None)


@torch.no_grad()
def neighbours(model: nn.Module, padding: int) -> Tensor | None:
    """The tokens nearest to each in the model's own table, by angle.

    Args:
        model: its largest embedding is taken.
        padding: numbers up to it are nobody's neighbours.

    Returns:
        Whole numbers (vocabulary, `NEAR` or fewer); None without such a table.
    """
    found = embedding(model)
    if found is None:
        return None
    table = functional.normalize(found.detach().float(), dim=1)
    count = min(NEAR, len(table) - padding - 2)
    if count < 1:
        return None
    nearest = []
    for start in range(0, len(table), CHUNK):
        likeness = table[start : start + CHUNK] @ table.T
        likeness[:, : padding + 1] = -2
        rows = torch.arange(len(likeness))
        likeness[rows, rows + start] = -2
        nearest.append(likeness.topk(count, 1).indices)
    return torch.cat(nearest)
