"""The inputs that an artifact is tried on, and what it and its source answer."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from paretune.core.errors import ParityError
from paretune.core.target import Arrays, Session
from paretune.measurement._agreement import finite
from paretune.measurement._samples import by_shape, count, rows

FEW = 3  # samples of a case that isn't about the batch size
SHAPES = 8  # other shapes that are tried: the shortest, the longest, and some between


@dataclass(frozen=True)
class Case:
    """Inputs, and what source and artifact answer to them."""

    what: str
    real: bool
    inputs: Arrays
    wanted: Arrays
    got: Arrays

    @property
    def size(self) -> int:
        return count(self.inputs)


def cases_of(
    batches: Iterable[Arrays],
    sizes: Sequence[int],
    reference: Session,
    session: Session,
) -> list[Case]:
    """One case for each batch size, in rising order, then those of other inputs.

    Raises:
        ParityError: there is no sample, or the artifact fails on one.
    """
    groups = _groups(batches, max(sizes))
    if not groups:
        raise ParityError("parity", "there is no sample to compare outputs on.")
    main = groups[0]
    given = {f"batch size {n}": rows(main, 0, n) for n in sorted(sizes)}
    given |= {_shape(g): rows(g, 0, FEW) for g in groups[1:]}
    cases = [_case(what, True, x, reference, session) for what, x in given.items()]
    return cases + [
        case
        for what, inputs in _extremes(main).items()
        if finite((case := _case(what, False, inputs, reference, session)).wanted)
    ]


def _groups(batches: Iterable[Arrays], enough: int) -> list[Arrays]:
    """Samples by shape: the most frequent, the shortest, the longest, some others."""
    ends: list[Arrays] = []

    def watched() -> Iterator[Arrays]:
        for batch in batches:
            if count(batch):
                sizes = [_volume(end) for end in ends]
                if not ends:
                    ends[:] = [batch, batch]
                elif _volume(batch) < sizes[0]:
                    ends[0] = batch
                elif _volume(batch) > sizes[1]:
                    ends[1] = batch
            yield batch

    seen = watched()
    groups = by_shape(seen, enough)
    for _ in seen:  # lengths that come later
        pass
    if not groups:
        return []
    main = max(groups, key=count)
    others = [g for g in groups if g is not main]
    known = {_shape(g) for g in groups}
    late = {_shape(g): g for g in ends if _shape(g) not in known}.values()
    wanted = {_shape(g) for g in ends}
    first = [g for g in (*others, *late) if _shape(g) in wanted]
    rest = [g for g in others if _shape(g) not in wanted]
    return [main, *first, *rest[: SHAPES - len(first)]]


def _volume(batch: Arrays) -> int:
    return sum(math.prod(a.shape[1:]) for a in batch.values())


def _case(
    what: str, real: bool, inputs: Arrays, reference: Session, session: Session
) -> Case:
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
    return Case(what, real, inputs, wanted, got)


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


def _shape(batch: Arrays) -> str:
    return "samples of shape " + ", ".join(str(a.shape[1:]) for a in batch.values())
