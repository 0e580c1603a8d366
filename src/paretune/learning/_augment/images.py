"""Images: one affine map, one change of values and one erased rectangle each."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from paretune.learning._augment.policy import Policy

FILL = {"edge": "border", "reflect": "reflection", "zero": "zeros"}
TURN, SHEAR, MOVE, ZOOM = math.pi / 4, 0.4, 0.3, 0.4  # at strength 1
SHADE, CONTRAST, LEVELS = 1.0, 0.8, 2  # at strength 1
SMALLEST, LARGEST = 0.02, 0.25  # of the area, that a rectangle erases
GEOMETRY = ("turn", "shear_x", "shear_y", "move_x", "move_y", "zoom")
VALUES = ("brightness", "contrast", "levels", "hole")
OPERATIONS = ("none", *GEOMETRY, *VALUES)


def vary(images: Tensor, policy: Policy) -> Tensor:
    """The images, each changed in its own way; float (n, channels, height, width)."""
    amounts = _draw(images, policy)
    images = _moved(images, policy, amounts)
    if policy.operations and policy.strength:
        images = _coloured(images, amounts, policy.strength)
    if policy.colour:
        images = _tinted(images, policy.colour)
    return _erased(images, policy, amounts)


def _draw(images: Tensor, policy: Policy) -> dict[str, Tensor]:
    """How much of each operation each image gets, -1 to 1; mostly 0."""
    count = len(images)
    amounts = images.new_zeros(len(OPERATIONS), count)
    for _ in range(policy.operations):
        which = torch.randint(0, len(OPERATIONS), (1, count))
        much = torch.ones(1, count) if policy.steady else torch.rand(1, count)
        sign = torch.where(torch.rand(1, count) < 0.5, -1.0, 1.0)
        amounts.scatter_(0, which, (much * sign * policy.strength).to(images.dtype))
    return dict(zip(OPERATIONS, amounts, strict=True))


def _moved(images: Tensor, policy: Policy, amounts: dict[str, Tensor]) -> Tensor:
    geometry = policy.operations > 0 and policy.strength > 0
    if not (geometry or policy.shift or policy.flip or policy.crop):
        return images
    count, _, high, wide = images.shape
    if not (geometry or policy.crop):
        return _shifted(images, policy)
    turn, stretch = TURN * amounts["turn"], torch.exp(ZOOM * amounts["zoom"])
    if policy.crop:
        kept = (1 - policy.crop * torch.rand(count)).sqrt().to(images.dtype)
        stretch = kept * stretch
    cosine, sine = torch.cos(turn) * stretch, torch.sin(turn) * stretch
    aspect = high / wide  # the grid runs from -1 to 1 on both axes
    mirror = _mirrored(count, policy).to(images.dtype)
    shear_x, shear_y = SHEAR * amounts["shear_x"], SHEAR * amounts["shear_y"]
    moves = _moves(count, (high, wide), policy)
    down = moves[0] * 2 / high + 2 * MOVE * amounts["move_y"]
    across = moves[1] * 2 / wide + 2 * MOVE * amounts["move_x"]
    if policy.crop:  # from anywhere in the image
        place = (1 - kept) * (2 * torch.rand(2, count) - 1)
        down, across = down + place[0], across + place[1]
    theta = torch.stack(
        [
            torch.stack([cosine * mirror, (shear_x - sine) * aspect, across], -1),
            torch.stack([(shear_y + sine) / aspect * mirror, cosine, down], -1),
        ],
        1,
    ).to(images.dtype)
    grid = functional.affine_grid(theta, list(images.shape), align_corners=False)
    return functional.grid_sample(
        images, grid, "bilinear", FILL[policy.fill], align_corners=False
    )


def _shifted(images: Tensor, policy: Policy) -> Tensor:
    """Moved by whole pixels, and mirrored: nothing is blurred."""
    count, _, high, wide = images.shape
    moves = _moves(count, (high, wide), policy).long()
    rows = torch.arange(high) + moves[0][:, None]
    columns = torch.arange(wide).expand(count, wide)
    mirrored = _mirrored(count, policy)[:, None] < 0
    columns = torch.where(mirrored, wide - 1 - columns, columns) + moves[1][:, None]
    outside = None
    if policy.fill == "zero":
        outside = ((rows < 0) | (rows >= high))[:, None, :, None] | (
            (columns < 0) | (columns >= wide)
        )[:, None, None, :]
    at = [_inside(p, n, policy.fill) for p, n in ((rows, high), (columns, wide))]
    moved = images.gather(2, at[0][:, None, :, None].expand_as(images))
    moved = moved.gather(3, at[1][:, None, None, :].expand_as(images))
    return moved if outside is None else moved.masked_fill(outside, 0.0)


def _inside(places: Tensor, length: int, fill: str) -> Tensor:
    if fill == "reflect" and length > 1:
        places = places.abs()
        places = torch.where(places >= length, 2 * (length - 1) - places, places)
    return places.clamp(0, length - 1)


def _moves(count: int, sides: tuple[int, int], policy: Policy) -> Tensor:
    """Pixels down and across, whole numbers in floats (2, n)."""
    most = torch.tensor([[math.floor(policy.shift * s + 0.5)] for s in sides])
    return ((2 * torch.rand(2, count) - 1) * (most + 0.499)).round()


def _mirrored(count: int, policy: Policy) -> Tensor:
    """-1 for an image that is mirrored, else 1; shape (n,)."""
    return torch.where(torch.rand(count) < policy.flip, -1.0, 1.0)


def _coloured(images: Tensor, amounts: dict[str, Tensor], strength: float) -> Tensor:
    """Brighter or darker, more or less contrast, fewer levels of brightness."""
    shaped = {k: v.view(-1, 1, 1, 1) for k, v in amounts.items() if k in VALUES}
    middle = images.mean((1, 2, 3), keepdim=True)
    spread = images.std((1, 2, 3), keepdim=True, correction=0)
    factor = torch.exp(CONTRAST * shaped["contrast"])
    images = torch.lerp(middle, images, factor) + SHADE * spread * shaped["brightness"]
    rows = amounts["levels"].nonzero()[:, 0]
    if len(rows):
        chosen = images[rows]
        low, high = chosen.aminmax(dim=3, keepdim=True)
        low, high = low.amin((1, 2), keepdim=True), high.amax((1, 2), keepdim=True)
        # From 2^5 levels down to LEVELS.
        weak = amounts["levels"][rows].abs().view(-1, 1, 1, 1)
        steps = (torch.exp2(5 - 4 * weak).round().clamp_min(LEVELS)) - 1
        width = ((high - low) / steps).clamp_min(1e-12)
        images = images.index_copy(
            0, rows, low + ((chosen - low) / width).round() * width
        )
    return images


def _tinted(images: Tensor, colour: float) -> Tensor:
    """Each channel brighter or darker, with more or less contrast; some grey.

    Without it two views of an image are known by their colours, and nothing else is
    learned from it (Chen et al. 2020, arXiv:2002.05709, figure 5).
    """
    count, channels = images.shape[:2]
    middle = images.mean((2, 3), keepdim=True)
    spread = images.std((1, 2, 3), keepdim=True, correction=0)
    level, contrast = colour * (2 * torch.rand(2, count, channels, 1, 1) - 1)
    images = torch.lerp(middle, images, torch.exp(contrast)) + spread * level
    if channels == 1:
        return images
    grey = (torch.rand(count, 1, 1, 1) < colour / 2).expand_as(images)
    return torch.where(grey, images.mean(1, keepdim=True).expand_as(images), images)


def _erased(images: Tensor, policy: Policy, amounts: dict[str, Tensor]) -> Tensor:
    """Random erasing; also the operation "hole" of the drawn ones."""
    hole = amounts["hole"].abs()
    if not policy.erase and not bool(hole.any()):
        return images
    count, _, high, wide = images.shape
    area = SMALLEST + (LARGEST - SMALLEST) * torch.rand(count)
    area = torch.where(torch.rand(count) < policy.erase, area, LARGEST * hole)
    ratio = torch.exp(math.log(3) * (2 * torch.rand(count) - 1))
    inside = (
        box((area * ratio).sqrt(), high)[:, None, :, None]
        & box((area / ratio).sqrt(), wide)[:, None, None, :]
    )
    return torch.where(inside, torch.randn_like(images), images)


def box(share: Tensor, length: int) -> Tensor:
    """One stretch of each row, at a random place: bool (n, length).

    Args:
        share: of the length that it covers, shape (n,).
        length: of a row.
    """
    size = (share.clamp(0, 1) * length).round()
    start = (torch.rand(len(share)) * (length - size + 1)).floor()
    places = torch.arange(length)
    return (places >= start[:, None]) & (places < (start + size)[:, None])
