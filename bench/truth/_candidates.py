"""Searches over candidates that are truly equal, by the product's own code."""

from __future__ import annotations

import dataclasses
from statistics import NormalDist

import numpy as np

from paretune.core.measurement import Measurement
from paretune.core.strategy import Objective
from paretune.core.study import Study
from paretune.core.target import Target
from paretune.core.trial import OK, Trial
from paretune.frontier import frontier

TRUTH = 0.9  # the accuracy of every candidate on all data there could be
ALIKE = 0.95  # how much of what makes a sample hard is the same for all of them
LAUNCHES, SPREAD, NOISE = 6, 0.01, 0.02  # times that differ by chance alone


def search(rng: np.random.Generator, candidates: int, validation: int = 3_000) -> Study:
    """A finished search over equal candidates; number 0 is the baseline.

    Two of them differ on about one sample in 27, as a model and its int8 or finely
    tuned copy do. Sizes are the same, times are within the noise of the host.

    Args:
        rng: what everything is drawn with.
        candidates: how many, without the baseline.
        validation: samples of the validation split.
    """
    numbers = range(candidates + 1)
    scores = outcomes(rng, candidates + 1, validation)
    return Study(
        name="null",
        task="null",
        metrics={"accuracy": "higher"},
        target=Target(),
        strategy="null",
        objectives=(
            Objective("accuracy", "higher"),
            Objective("size", "lower"),
            Objective("latency_p50", "lower"),
        ),
        trials=tuple(_trial(n, scores[n], rng) for n in numbers),
        noise=NOISE,
    )


def certified(study: Study, rng: np.random.Generator, test: int) -> Study:
    """The study with its members and the baseline judged on new samples."""
    numbers = sorted({0, *(t.number for t in frontier(study).members)})
    scores = outcomes(rng, len(numbers), test)
    taken = {
        n: {"accuracy": quality(s, "test")}
        for n, s in zip(numbers, scores, strict=True)
    }
    return dataclasses.replace(study, certified=taken, certifications=1)


def outcomes(
    rng: np.random.Generator, models: int, samples: int, truth: float = TRUTH
) -> np.ndarray:
    """Which samples each model has right, bool, shape (models, samples)."""
    hard = rng.normal(size=samples)
    own = rng.normal(size=(models, samples))
    found = np.sqrt(ALIKE) * hard + np.sqrt(1 - ALIKE) * own
    return np.asarray(found < NormalDist().inv_cdf(truth))


def quality(scores: np.ndarray, split: str) -> Measurement:
    values = tuple(scores.astype(float).tolist())
    return Measurement("accuracy", "1", "higher", values, "samples", split=split)


def _trial(number: int, scores: np.ndarray, rng: np.random.Generator) -> Trial:
    times = np.exp(rng.normal(0.0, SPREAD, (2, LAUNCHES))).tolist()
    figures = (
        quality(scores, "validation"),
        Measurement("size", "byte", "lower", (1e5,), "exact"),
        Measurement(
            "latency_p50", "s", "lower", tuple(times[0]), "launches", tuple(times[1])
        ),
    )
    by_name = {m.metric: m for m in figures}
    return Trial(number, (), OK, by_name, artifact=f"{number:064x}")
