"""What is varied in a batch, how much, and in which kind of input."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from paretune.core.errors import UnsupportedError

WHAT = {
    "image": "floats of shape (n, channels, height, width)",
    "signal": "floats of shape (n, channels, length)",
    "text": "token numbers of shape (n, length)",
}


@dataclass(frozen=True)
class Policy:
    """How much of each change; what is 0 is left out.

    Attributes:
        kind: of input: "image", "signal" or "text"; "auto" tells it by type and shape.
        shift: images: furthest move, as a share of height and width.
        flip: images: chance to be mirrored left to right.
        fill: images: what comes in from outside: "edge", "reflect" or "zero".
        operations: images: further changes of an image, drawn with replacement.
        strength: of those changes, 0 to 1.
        steady: images: each change at full strength, not at one drawn up to it.
        erase: images: chance that a rectangle is filled with noise.
        crop: images: largest share of the area that is cut away; the rest is enlarged.
        colour: images: how much the level and contrast of each channel change, and
            twice the chance that all channels become the same.
        jitter: signals: noise, in standard deviations of the channel.
        scaling: signals: standard deviation of the factor of a channel.
        warp: signals: how unevenly time runs.
        slicing: signals: largest share that is cut off; the rest is stretched.
        permutation: signals: parts that half of the windows are cut into, in any order.
        rotation: signals: angle by which axes turn, three channels each, radians.
        drop: text: chance that a token becomes padding.
        swap: text: chance that a token changes places with the next one.
        synonyms: text: chance that a token becomes a near one.
        padding: text: numbers up to it are special and stay as they are.
    """

    kind: str = "auto"
    shift: float = 0.0
    flip: float = 0.0
    fill: str = "edge"
    operations: int = 0
    strength: float = 0.5
    steady: bool = False
    erase: float = 0.0
    crop: float = 0.0
    colour: float = 0.0
    jitter: float = 0.0
    scaling: float = 0.0
    warp: float = 0.0
    slicing: float = 0.0
    permutation: int = 0
    rotation: float = 0.0
    drop: float = 0.0
    swap: float = 0.0
    synonyms: float = 0.0
    padding: int = 0


def kind_of(tensor: torch.Tensor) -> str | None:
    """The kind of input that a batch is; None if it is none that can be varied."""
    if tensor.is_floating_point():
        return {4: "image", 3: "signal"}.get(tensor.dim())
    whole = tensor.dtype not in (torch.bool, torch.uint8)
    return "text" if tensor.dim() == 2 and whole else None


def field_of(inputs: Any, kind: str) -> tuple[Any, str]:
    """(key, kind) of the field that is varied: the only one that fits.

    Args:
        inputs: a batch: a tensor (its key is None), or a tuple or dict of them.
        kind: wanted; "auto" takes any.

    Raises:
        UnsupportedError: none fits, or more than one, such as tokens and their mask.
    """
    kinds = {key: kind_of(tensor) for key, tensor in fields(inputs).items()}
    fit = {k: found for k, found in kinds.items() if found and kind in ("auto", found)}
    if len(fit) == 1:
        return next(iter(fit.items()))
    shapes = ", ".join(map(told, fields(inputs).values()))
    wanted = WHAT.values() if kind == "auto" else [WHAT[kind]]
    if fit:
        both = " and ".join(f"{key!r} ({found})" for key, found in fit.items())
        raise UnsupportedError(
            "augment-kind",
            f"the inputs are {shapes}, and {both} could each be varied, which could "
            "tear apart what belongs together; choose a kind that only one of them "
            "is, or vary such a task in its own augment().",
        )
    raise UnsupportedError(
        "augment-kind",
        f"the inputs are {shapes}; what can be varied is {' or '.join(wanted)}.",
    )


def fields(inputs: Any) -> dict[Any, torch.Tensor]:
    """The tensors of a batch by key; that of a lone tensor is None."""
    if isinstance(inputs, torch.Tensor):
        return {None: inputs}
    if isinstance(inputs, Mapping):
        return dict(inputs)
    return dict(enumerate(inputs))


def placed(target: torch.Tensor, places: tuple[int, ...]) -> bool:
    """Whether a target may tell of places of an input rather than of all of it.

    One class, or a vector of values, tells of the whole sample.

    Args:
        target: of a batch.
        places: the sides of what is varied.

    Example:
        >>> placed(torch.zeros(8, 5), (6, 6)), placed(torch.zeros(8, 5, 4), (6, 6))
        (False, True)
    """
    shape = tuple(target.shape[1:])
    if shape and places in (shape[: len(places)], shape[-len(places) :]):
        return True
    several = sum(side > 1 for side in shape)
    # Yes or no of several things is as good a vector as numbers are; classes are none.
    vector = target.is_floating_point() or target.dtype == torch.bool
    return several > (1 if vector else 0)


def told(tensor: torch.Tensor) -> str:
    """Type and shape, as "float32 (8, 3)"."""
    return f"{str(tensor.dtype).removeprefix('torch.')} {tuple(tensor.shape)}"


def replaced(inputs: Any, key: Any, tensor: torch.Tensor) -> Any:
    """The batch with another tensor at a key."""
    if key is None:
        return tensor
    if isinstance(inputs, Mapping):
        return {**inputs, key: tensor}
    return tuple(tensor if i == key else t for i, t in enumerate(inputs))
