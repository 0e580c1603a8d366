"""Parity: whether an artifact, in its runtime, is the model that it was made from."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from paretune.core.errors import ParityError
from paretune.core.target import Arrays, Session
from paretune.measurement._samples import by_shape, count, rows

SIZES = (1, 3, 32, 128)
FEW = 3  # samples of a case that isn't about the batch size

TOLERANCE = 1e-4  # of float artifacts: max |a - b| / max |a|
FLIPPED = 0.01  # of outputs that are whole numbers: a tie may fall the other way

# Of quantized artifacts. Garbage is refused; what is merely worse is for the task's
# metric to judge.
CONSISTENCY = 0.2  # dynamic scales depend on the batch; garbage is far beyond this
ERROR = 1.0
AGREEMENT = 0.5


@dataclass(frozen=True)
class _Case:
    """Inputs, and what source and artifact answer to them."""

    what: str
    real: bool
    inputs: Arrays
    wanted: Arrays
    got: Arrays

    @property
    def size(self) -> int:
        return count(self.inputs)


def check(
    reference: Session,
    session: Session,
    batches: Iterable[Arrays],
    quantized: bool,
    sizes: Sequence[int] = SIZES,
    tolerance: float = TOLERANCE,
    consistency: float = CONSISTENCY,
) -> dict[str, float]:
    """Compares an artifact with its source on real and on extreme inputs.

    Real samples are put to both at each batch size, at the other shapes that `batches`
    has, and, for inputs that are floats, so are zeros and the extremes of the samples.

    An artifact in floats passes if max |a - b| <= tolerance * max |a| for each output
    a of the source. A quantized one passes if its answers to the same samples differ by
    at most `consistency` (relative L2) between batch sizes, if ||a - b|| <= ||a||, and
    if half of its decisions agree. NaN and infinity never pass.

    Args:
        reference: the source model.
        session: the artifact in the runtime that will serve it.
        batches: inputs by name; 128 samples are enough.
        quantized: by which rule to judge.
        sizes: batch sizes that will be served.
        tolerance: 1e-4 for float32; more for what is stored in float16.
        consistency: 0.2, for all quantized artifacts: where scales are taken from the
            batch as it comes (dynamic quantization), a sample's answer rightly depends
            somewhat on the others in it; an artifact that is wrong at another batch
            size is far beyond this.

    Returns:
        "max_abs" and "relative" (max for floats, L2 for quantized ones), the worst of
        all outputs on real samples, and "agreement", the lowest share of decisions
        that are equal.

    Raises:
        ParityError: names the output, the inputs, the error and its limit.
    """
    groups = by_shape(batches, max(sizes))
    if not groups:
        raise ParityError("parity", "there is no sample to compare outputs on.")
    main = max(groups, key=count)
    given = {f"batch size {n}": rows(main, 0, n) for n in sorted(sizes)}
    given |= {_shape(g): rows(g, 0, FEW) for g in groups if g is not main}
    cases = [_case(what, True, x, reference, session) for what, x in given.items()]
    cases += [
        case
        for what, inputs in _extremes(main).items()
        if _finite((case := _case(what, False, inputs, reference, session)).wanted)
    ]
    for case in cases:
        _check_alike(case)
    by_size = [case for case in cases if case.real][: len(sizes)]
    largest = by_size[-1]
    if quantized:
        _check_consistent(by_size, consistency)
        real = [largest, *(c for c in cases if c.real and c not in by_size)]
        errors = [_check_error(case, largest) for case in real]
        _check_agreement(largest)
    else:
        real = [case for case in cases if case.real]
        scale = {n: max(_peak(c.wanted[n]) for c in real) for n in largest.wanted}
        errors = [_check_float(case, scale, tolerance) for case in cases]
    return {
        "max_abs": max(_max_abs(c.wanted[n], c.got[n]) for c in real for n in c.wanted),
        "relative": max(errors[: len(real)]),
        "agreement": min(
            agreement(w, largest.got[n]) for n, w in largest.wanted.items()
        ),
    }


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
    a, b = _both(wanted, got)
    return float(np.mean(np.abs(b - a) <= 0.1 * a.std()))


def _case(
    what: str, real: bool, inputs: Arrays, reference: Session, session: Session
) -> _Case:
    wanted = reference(inputs)
    try:
        got = session(inputs)
    except Exception as error:
        text = str(error).splitlines()[0] if str(error) else ""
        raise ParityError(
            "parity",
            f"the artifact fails on {what}, which its source can do: "
            f"{type(error).__name__}: {text}",
        ) from error
    return _Case(what, real, inputs, wanted, got)


def _extremes(samples: Arrays) -> dict[str, Arrays]:
    """Zeros, and the smallest and the largest value met, in place of every float."""
    few = rows(samples, 0, FEW)
    floats = [name for name, array in few.items() if array.dtype.kind == "f"]
    if not floats:
        return {}
    fills: dict[str, Callable[[np.ndarray], float]] = {
        "zeros": lambda a: 0.0,
        "its smallest values": lambda a: float(a.min()),
        "its largest values": lambda a: float(a.max()),
    }
    return {
        f"inputs of {what}": few
        | {n: np.full_like(few[n], fill(samples[n])) for n in floats}
        for what, fill in fills.items()
    }


def _check_alike(case: _Case) -> None:
    """Names, shapes and finite values."""
    if missing := case.wanted.keys() - case.got.keys():
        raise ParityError(
            "parity",
            f"the artifact has no output {min(missing)!r}; it has "
            f"{', '.join(map(repr, case.got))}.",
        )
    for name, wanted in case.wanted.items():
        got = case.got[name]
        if got.shape != wanted.shape:
            raise ParityError(
                "parity",
                f"output {name!r} has shape {got.shape} on {case.what}; "
                f"its source gives {wanted.shape}.",
            )
        if got.dtype.kind != "f" or np.isfinite(got).all():
            continue
        meant = np.isinf(wanted) & (wanted == got)  # such as the mask of a score
        bad = int((~np.isfinite(got) & ~meant).sum())
        if bad:
            raise ParityError(
                "parity",
                f"output {name!r} is NaN or infinite in {bad} of {got.size} places on "
                f"{case.what}; the artifact is not offered.",
            )


def _check_float(case: _Case, scale: dict[str, float], tolerance: float) -> float:
    """max |a - b| / max |a|, where max |a| is that of all real samples at least."""
    worst = 0.0
    for name, wanted in case.wanted.items():
        got, limit = case.got[name], tolerance
        if wanted.dtype.kind in "biu":
            error, limit = 1.0 - agreement(wanted, got), FLIPPED
        else:
            error = _ratio(_max_abs(wanted, got), max(scale[name], _peak(wanted)))
        if not error <= limit:
            _refuse(case, name, f"differs from its source by {error:.2g} of", limit)
        worst = max(worst, error)
    return worst


def _check_error(case: _Case, largest: _Case) -> float:
    """||a - b|| / ||a||, where a sample's share of ||a|| is the usual one at least."""
    worst = 0.0
    for name, wanted in case.wanted.items():
        if wanted.dtype.kind != "f":
            continue
        a, b = _both(wanted, case.got[name])
        usual = _usual(_both(largest.wanted[name], largest.got[name])[0], case.size)
        error = _ratio(_norm(b - a), max(_norm(a), usual))
        if not error <= ERROR:
            _refuse(case, name, f"has an L2 error of {error:.2g} of", ERROR)
        worst = max(worst, error)
    return worst


def _check_agreement(case: _Case) -> None:
    for name, wanted in case.wanted.items():
        if (share := agreement(wanted, case.got[name])) < AGREEMENT:
            raise ParityError(
                "parity",
                f"output {name!r} agrees with its float source in {share:.0%} of "
                f"decisions on {case.what} (at least {AGREEMENT:.0%} are needed); "
                "the artifact is not offered.",
            )


def _check_consistent(by_size: list[_Case], limit: float) -> None:
    """The same samples, in a small batch and in the largest."""
    largest = by_size[-1]
    for name, whole in largest.got.items():
        if whole.dtype.kind != "f" or whole.shape[:1] != (largest.size,):
            continue
        for case in by_size:
            a, b = _both(whole[: case.size], case.got[name])
            error = _ratio(_norm(b - a), max(_norm(a), _usual(whole, case.size)))
            if not error <= limit:
                itself = f"differs from itself at batch size {largest.size}"
                _refuse(case, name, f"{itself} by {error:.2g} of", limit)


def _refuse(case: _Case, name: str, what: str, limit: float) -> None:
    raise ParityError(
        "parity",
        f"output {name!r} {what} its size on {case.what} (limit {limit:g}); "
        "the artifact is not offered.",
    )


def _both(wanted: np.ndarray, got: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both in float64, without the places where the first is infinite on purpose."""
    finite = np.isfinite(wanted)
    return np.where(finite, _wide(wanted), 0.0), np.where(finite, _wide(got), 0.0)


def _max_abs(wanted: np.ndarray, got: np.ndarray) -> float:
    a, b = _both(wanted, got)
    return float(np.abs(b - a).max(initial=0.0))


def _usual(whole: np.ndarray, size: int) -> float:
    """The norm that `size` samples of `whole` have on average."""
    finite = np.where(np.isfinite(whole), _wide(whole), 0.0)
    samples = max(whole.shape[0], 1) if whole.ndim else size
    return _norm(finite) * float(np.sqrt(size / samples))


def _norm(array: np.ndarray) -> float:
    return float(np.linalg.norm(array))


def _ratio(error: float, size: float) -> float:
    return error / max(size, 1e-30)


def _peak(array: np.ndarray) -> float:
    wide = _wide(array)
    return float(np.abs(wide[np.isfinite(wide)]).max(initial=0.0))


def _wide(array: np.ndarray) -> np.ndarray:
    return array.astype(np.float64)


def _finite(arrays: Arrays) -> bool:
    return all(
        a.dtype.kind != "f" or bool(np.isfinite(a).all()) for a in arrays.values()
    )


def _shape(batch: Arrays) -> str:
    return "samples of shape " + ", ".join(str(a.shape[1:]) for a in batch.values())
