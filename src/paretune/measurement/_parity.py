"""Parity: whether an artifact, in its runtime, is the model that it was made from."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from paretune.core.errors import ParityError
from paretune.core.target import Arrays, Session
from paretune.measurement import _divergence, _reasons
from paretune.measurement._agreement import (
    agreement,
    distance,
    max_abs,
    peak,
    ratio,
    usual_norm,
)
from paretune.measurement._cases import FEW, Case, cases_of
from paretune.measurement._reasons import Graphs
from paretune.measurement._samples import rows

SIZES = (1, 3, 32, 128)

TOLERANCE = 1e-4  # of float artifacts: max |a - b| / max |a|
FLIPPED = 0.01  # of outputs that are whole numbers: a tie may fall the other way

# Of quantized artifacts. Garbage is refused; what is merely worse is for the task's
# metric to judge.
CONSISTENCY = 0.2  # dynamic scales depend on the batch; garbage is far beyond this
ERROR = 1.0
AGREEMENT = 0.5
ENDLESS = 1e30  # what only NaN and infinity exceed


def check(
    reference: Session,
    session: Session,
    batches: Iterable[Arrays],
    quantized: bool,
    sizes: Sequence[int] = SIZES,
    tolerance: float = TOLERANCE,
    consistency: float = CONSISTENCY,
    graphs: Graphs | None = None,
) -> dict[str, float]:
    """Compares an artifact with its source on real and on extreme inputs.

    Real samples are put to both at each batch size and at other shapes that `batches`
    has, the shortest and the longest among them; and, for inputs that are floats, so
    are zeros and the extremes of the samples. NaN and infinity never pass.

    An artifact in floats passes if max |a - b| <= tolerance * max |a| for each output
    a of the source. If it doesn't, the refusal names the first layer that differs.

    A quantized one is looked into layer by layer, if `graphs` are there: its float
    source must agree with the reference as an artifact in floats does, and each layer
    by itself must be no further from it than rounding explains (`_divergence.py`). On
    top of that, and for layers that can't be told apart: its answers to the same
    samples differ by at most `consistency` (relative L2) between batch sizes,
    ||a - b|| <= ||a||, and half of its decisions agree. What is merely poor is for the
    task's metric to judge.

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
        graphs: of an ONNX artifact and its float source.

    Returns:
        "max_abs" and "relative" (max for floats, L2 for quantized ones), the worst of
        all outputs on real samples, and "agreement", the lowest share of decisions
        that are equal; and where there are several outputs, each of the three for
        each of them, such as "max_abs:logits". "layers", of a quantized artifact with
        `graphs`, is how many values could be judged layer by layer.

    Raises:
        ParityError: names the output, the inputs, the error and its limit, and the
            layer where artifact and source part.
    """
    cases = cases_of(batches, sizes, reference, session)
    for case in cases:
        _check_alike(case, graphs)
    by_size = [case for case in cases if case.real][: len(sizes)]
    largest = by_size[-1]
    if not quantized:
        real = [case for case in cases if case.real]
        found = _check_floats(cases, tolerance, graphs)
        return _told(real, largest, found[: len(real)])
    layers = {}
    if graphs is not None and graphs.float_source is not None:
        _check_source(cases, graphs, tolerance)
        layers = {"layers": float(_check_layers(largest, graphs))}
        _check_written(largest, graphs, consistency)
    real = [largest, *(c for c in cases if c.real and c not in by_size)]
    try:
        _check_consistent(by_size, consistency)
        errors = [_check_error(case, largest) for case in real]
        _check_agreement(largest)
    except ParityError as error:
        if not layers or graphs is None:
            raise
        most = _reasons.most(graphs, rows(largest.inputs, 0, FEW))
        raise ParityError(error.code, f"{error.message[:-1]}; {most}.") from error
    return _told([c for c in cases if c.real], largest, errors) | layers


def _told(
    real: list[Case], largest: Case, errors: list[dict[str, float]]
) -> dict[str, float]:
    """The worst of all outputs, and of each where there are several."""
    each = {
        name: {
            "max_abs": max(max_abs(c.wanted[name], c.got[name]) for c in real),
            "relative": max((e[name] for e in errors if name in e), default=0.0),
            "agreement": agreement(largest.wanted[name], largest.got[name]),
        }
        for name in largest.wanted
    }
    worst = {
        "max_abs": max(e["max_abs"] for e in each.values()),
        "relative": max(e["relative"] for e in each.values()),
        "agreement": min(e["agreement"] for e in each.values()),
    }
    if len(each) == 1:
        return worst
    return worst | {f"{k}:{n}": v for n, own in each.items() for k, v in own.items()}


def _check_alike(case: Case, graphs: Graphs | None) -> None:
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
            why = _why(graphs, case, ENDLESS)
            raise ParityError(
                "parity",
                f"output {name!r} is NaN or infinite in {bad} of {got.size} places on "
                f"{case.what}; {why}the artifact is not offered.",
            )


def _check_floats(
    cases: list[Case],
    tolerance: float,
    graphs: Graphs | None,
    whose: str = "",
) -> list[dict[str, float]]:
    """By output, max |a - b| / max |a|, where max |a| is over all real samples."""
    real = [case for case in cases if case.real]
    scale = {n: max(peak(c.wanted[n]) for c in real) for n in cases[0].wanted}
    found = []
    for case in cases:
        own = {}
        for name, wanted in case.wanted.items():
            got, limit = case.got[name], tolerance
            if wanted.dtype.kind in "biu":
                error, limit = 1.0 - agreement(wanted, got), FLIPPED
            else:
                error = ratio(max_abs(wanted, got), max(scale[name], peak(wanted)))
            if not error <= limit:
                what = f"{whose}differs from its source by {error:.2g} of"
                _refuse(case, name, what, limit, _why(graphs, case, limit))
            own[name] = error
        found.append(own)
    return found


def _check_source(cases: list[Case], graphs: Graphs, tolerance: float) -> None:
    """The float graph that a quantized one was made from, against the reference."""
    from paretune.infrastructure.formats import _layers

    of = [
        replace(
            case,
            got=_layers.observed(
                graphs.float_source, case.inputs, list(case.wanted), optimised=True
            ),
        )
        for case in cases
    ]
    _check_floats(of, tolerance, None, "of the float graph before quantizing ")


def _check_layers(case: Case, graphs: Graphs) -> int:
    """How many layers of a quantized artifact could be judged; all of them are well."""
    found = _divergence.look(graphs.artifact, graphs.float_source, case.inputs)
    if found.wrong is None:
        return found.layers
    errors = {
        n: distance(w, case.got[n])
        for n, w in case.wanted.items()
        if w.dtype.kind == "f"
    }
    name = max(errors, key=lambda n: errors[n]) if errors else min(case.wanted)
    raise ParityError(
        "parity",
        f"output {name!r} has an L2 error of {errors.get(name, 0.0):.2g} of its size "
        f"on {case.what}, and not by rounding alone; {found.wrong}; the artifact is "
        "not offered.",
    )


def _check_error(case: Case, largest: Case) -> dict[str, float]:
    """||a - b|| / ||a||, where a sample's share of ||a|| is the usual one at least."""
    found = {}
    for name, wanted in case.wanted.items():
        if wanted.dtype.kind != "f":
            continue
        usual = usual_norm(largest.wanted[name], case.size)
        error = distance(wanted, case.got[name], usual)
        if not error <= ERROR:
            _refuse(case, name, f"has an L2 error of {error:.2g} of", ERROR)
        found[name] = error
    return found


def _check_agreement(case: Case) -> None:
    for name, wanted in case.wanted.items():
        if (share := agreement(wanted, case.got[name])) < AGREEMENT:
            raise ParityError(
                "parity",
                f"output {name!r} agrees with its float source in {share:.0%} of "
                f"decisions on {case.what} (at least {AGREEMENT:.0%} are needed); "
                "the artifact is not offered.",
            )


def _check_consistent(by_size: list[Case], limit: float) -> None:
    """The same samples, in a small batch and in the largest."""
    largest = by_size[-1]
    for name, whole in largest.got.items():
        if whole.dtype.kind != "f" or whole.shape[:1] != (largest.size,):
            continue
        for case in by_size:
            usual = usual_norm(whole, case.size)
            error = distance(whole[: case.size], case.got[name], usual)
            if not error <= limit:
                itself = f"differs from itself at batch size {largest.size}"
                _refuse(case, name, f"{itself} by {error:.2g} of", limit)


def _check_written(case: Case, graphs: Graphs, limit: float) -> None:
    """The file, in the runtime that serves it, against the graph that was written."""
    from paretune.infrastructure.formats import _layers

    names = list(case.wanted)
    made = _layers.observed(graphs.artifact, case.inputs, names, optimised=True)
    for name in made.keys() & case.wanted.keys():
        error = distance(made[name], case.got[name])
        if made[name].dtype.kind == "f" and not error <= limit:
            what = f"differs from that of the graph that was written by {error:.2g} of"
            _refuse(case, name, what, limit)


def _why(graphs: Graphs | None, case: Case, limit: float) -> str:
    """The first layer that differs, as part of a sentence."""
    if graphs is None:
        return ""
    why = _reasons.explain(graphs, case.inputs, case.got, limit)
    return f"{why}; " if why else ""


def _refuse(case: Case, name: str, what: str, limit: float, why: str = "") -> None:
    raise ParityError(
        "parity",
        f"output {name!r} {what} its size on {case.what} (limit {limit:g}); "
        f"{why}the artifact is not offered.",
    )


__all__ = ["SIZES", "TOLERANCE", "Graphs", "agreement", "check"]
