"""How far outputs are from those that are wanted."""

from __future__ import annotations

import numpy as np

from paretune.core.target import Arrays


def agreement(wanted: np.ndarray, got: np.ndarray) -> float:
    """The share of decisions that are equal.

    A decision is the largest entry along the last axis. Where there is no such axis (a
    number a sample, an image), each number is one, and equal to within a tenth of the
    standard deviation of all that are wanted.

    Example:
        >>> agreement(np.array([[1.0, 2.0], [4.0, 3.0]]), np.array([[0, 9], [0, 9.0]]))
        0.5
    """
    if not wanted.size:
        return 1.0
    if wanted.dtype.kind in "biu":
        return float(np.mean(wanted == got))
    if 2 <= wanted.ndim <= 3 and wanted.shape[-1] > 1:
        return float(np.mean(wanted.argmax(-1) == got.argmax(-1)))
    a, b = both(wanted, got)
    return float(np.mean(np.abs(b - a) <= 0.1 * a.std()))


def both(wanted: np.ndarray, got: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both in float64, without the places where the first is infinite on purpose."""
    finite = np.isfinite(wanted)
    return np.where(finite, _wide(wanted), 0.0), np.where(finite, _wide(got), 0.0)


def max_abs(wanted: np.ndarray, got: np.ndarray) -> float:
    """The largest |a - b|."""
    a, b = both(wanted, got)
    return float(np.abs(b - a).max(initial=0.0))


def distance(wanted: np.ndarray, got: np.ndarray, usual: float = 0.0) -> float:
    """||a - b|| / ||a||, where ||a|| counts as `usual` at least.

    Example:
        >>> distance(np.array([3.0, 4.0]), np.array([3.0, 5.0]))
        0.2
    """
    a, b = both(wanted, got)
    return ratio(norm(b - a), max(norm(a), usual))


def usual_norm(whole: np.ndarray, size: int) -> float:
    """The norm that `size` samples of `whole` have on average."""
    samples = max(whole.shape[0], 1) if whole.ndim else size
    return norm(both(whole, whole)[0]) * float(np.sqrt(size / samples))


def norm(array: np.ndarray) -> float:
    """Square root of the sum of squares."""
    return float(np.linalg.norm(array))


def ratio(error: float, size: float) -> float:
    """The error as a share of a size, which may be 0."""
    return error / max(size, 1e-30)


def peak(array: np.ndarray) -> float:
    """The largest finite magnitude."""
    wide = _wide(array)
    return float(np.abs(wide[np.isfinite(wide)]).max(initial=0.0))


def finite(arrays: Arrays) -> bool:
    """Whether there is no NaN and no infinity in them."""
    return all(
        a.dtype.kind != "f" or bool(np.isfinite(a).all()) for a in arrays.values()
    )


def _wide(array: np.ndarray) -> np.ndarray:
    return array.astype(np.float64)
