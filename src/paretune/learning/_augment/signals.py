"""Signals: one map of time, and changes of the values."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from paretune.learning._augment.policy import Policy

KNOTS = 6


def vary(signals: Tensor, policy: Policy) -> Tensor:
    """The windows, each changed in its own way; float (n, channels, length)."""
    if policy.warp or policy.slicing or policy.permutation > 1:
        signals = _at(signals, _times(len(signals), signals.shape[-1], policy))
    if policy.rotation:
        signals = _turned(signals, policy.rotation)
    if policy.scaling:
        shape = (*signals.shape[:2], 1)
        signals = signals * (1 + policy.scaling * torch.randn(shape)).to(signals.dtype)
    if policy.jitter:
        spread = signals.std((0, 2), keepdim=True, correction=0)
        signals = signals + policy.jitter * spread * torch.randn_like(signals)
    return signals


def _times(count: int, length: int, policy: Policy) -> Tensor:
    """The place that each sample of the result comes from, float (n, length)."""
    places = torch.linspace(0, 1, length).expand(count, length)
    if policy.warp:
        knots = policy.warp * torch.randn(count, 1, KNOTS)
        pace = functional.interpolate(knots, length, mode="linear", align_corners=True)
        # Exponentials are above 0: time never runs backwards.
        run = pace.squeeze(1).exp().cumsum(1)
        places = (run - run[:, :1]) / (run[:, -1:] - run[:, :1]).clamp_min(1e-12)
    if policy.slicing:
        kept = 1 - policy.slicing * torch.rand(count, 1)
        places = places * kept + (1 - kept) * torch.rand(count, 1)
    places = places * (length - 1)
    parts = min(policy.permutation, length)
    if parts > 1:
        size = length // parts
        order = torch.rand(count, parts).argsort(1)
        same = torch.rand(count, 1) < 0.5
        order = torch.where(same, torch.arange(parts), order)
        whole = torch.arange(size * parts)
        moved = order[:, whole // size] * size + whole % size
        # What is left over at the end stays there.
        rest = torch.arange(size * parts, length).expand(count, -1)
        places = places.gather(1, torch.cat([moved, rest], 1))
    return places


def _at(signals: Tensor, places: Tensor) -> Tensor:
    """Values at places between samples, by linear interpolation."""
    before = places.floor().clamp(0, signals.shape[-1] - 1)
    after = (before + 1).clamp_max(signals.shape[-1] - 1)
    share = (places - before)[:, None].to(signals.dtype)
    first, second = (
        signals.gather(2, p.long()[:, None].expand_as(signals)) for p in (before, after)
    )
    return torch.lerp(first, second, share)


def _turned(signals: Tensor, angle: float) -> Tensor:
    """The axes of each three channels turned in space, all by the same rotation."""
    count, channels, length = signals.shape
    x, y, z = torch.randn(3, count) * angle
    none = torch.zeros_like(x)
    skew = torch.stack([none, -z, y, z, none, -x, -y, x, none], -1)
    turn = torch.matrix_exp(skew.view(count, 1, 3, 3)).to(signals.dtype)
    axes = signals.reshape(count, channels // 3, 3, length)
    return (turn @ axes).reshape(signals.shape)
