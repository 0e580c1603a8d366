"""What the product would say of a timed artifact, by its own rule."""

from __future__ import annotations

import math

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


def log_ratio(timed: Measurement) -> float:
    """log(artifact / baseline)."""
    assert timed.ratio is not None
    return math.log(timed.ratio[0])
