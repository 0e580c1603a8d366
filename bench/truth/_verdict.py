"""What the product would say of a timed artifact, by its own rule."""

from __future__ import annotations

from bench._results import Results
from paretune.core.measurement import Measurement
from paretune.core.meter import Meter, Subject
from paretune.core.strategy import Objective
from paretune.core.trial import OK, Trial
from paretune.frontier import compare


def one(meter: Meter, artifact: Subject, baseline: Subject) -> Measurement:
    """The first figure of one artifact."""
    ((first, *_),) = meter.measure([artifact], baseline)
    return first


def called(timed: Measurement, floor: float) -> int:
    """1 for faster than the baseline, -1 for slower, 0 for "no difference"."""
    figures = {timed.metric: timed}
    ours, base = (Trial(n, (), OK, figures) for n in (1, 0))
    return compare(ours, base, Objective(timed.metric, timed.better), floor)


def noted(
    results: Results, what: str, number: int, timed: Measurement, floor: float
) -> int:
    """Keeps a timed artifact as a row; what is called, as `called` says."""
    assert timed.ratio is not None
    ratio, interval = timed.ratio
    verdict = called(timed, floor)
    results.row(
        what=what,
        number=number,
        ratio=ratio,
        low=interval.low,
        high=interval.high,
        launches=len(timed.values),
        latency_s=timed.value,
        floor=floor,
        called=verdict,
    )
    print(f"{what} {number}: {ratio:.4f}, called {verdict}", flush=True)
    return verdict
