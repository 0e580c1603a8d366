"""Which techniques and parameters explain how the trials of a study differ.

A functional analysis of variance that suits few trials. Factors are the presence of a
technique (0 or 1) and, where it is there, each of its parameters. An additive model of
them is judged by how well it foretells trials that it was not fitted to, and the share
of the variance that it foretells is divided among the factors by their Shapley values:
what a factor adds on average over all orders in which factors may come. So factors that
go together share what they explain, and noise gets about nothing. Optuna's evaluators
don't fit: fANOVA needs scikit-learn, and PED-ANOVA asks what the best tenth of the
trials have in common, which is one trial or two here.

Source: Hutter, Hoos, Leyton-Brown 2014, ICML, An Efficient Approach for Assessing
Hyperparameter Importance; Owen, Prieur 2017, SIAM/ASA JUQ 5:986 (Shapley values).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from paretune.core.study import Study
from paretune.core.trial import Trial

LEAST = 12  # trials, below which nothing is said
PRESENT = 4  # trials with a technique, below which its parameters are no factors
DRAWS = 120  # of the bootstrap over trials
EXACT = 6  # factors up to which all their subsets are looked at
ORDERS = 8  # in which factors come, each one also backwards, where there are more
PENALTIES = (1.0, 8.0, 64.0)  # of the regression
CLEAR = 0.05  # of the variance: what stands out explains more than this for certain
WIDE = 30.0  # a parameter over such a range is seen by its order of magnitude


@dataclass(frozen=True)
class Factor:
    """What differs from trial to trial.

    Attributes:
        name: "structured_pruning" for its presence, "structured_pruning.ratio"; those
            that always come together are one, joined by " + ".
        columns: centred, 0 where there is no such parameter, shape (trials, columns).
    """

    name: str
    columns: np.ndarray


@dataclass(frozen=True)
class Share:
    """What a factor explains of the variance of one metric, with its 95 % interval.

    Attributes:
        value: share of the variance, up to 1; 0 or less where it explains nothing.
    """

    name: str
    value: float
    low: float
    high: float

    @property
    def clear(self) -> bool:
        """Whether it stands out."""
        return self.low > CLEAR


@dataclass(frozen=True)
class Importance:
    """What explains one metric.

    Attributes:
        metric: its name.
        trials: with a figure of it.
        explained: the share of the variance that all factors foretell together.
        shares: one a factor, the largest first; empty with too few trials.
    """

    metric: str
    trials: int
    explained: float = 0.0
    shares: tuple[Share, ...] = ()


def importance(study: Study, metric: str) -> Importance:
    """What explains the differences of a metric among a study's trials.

    Quality is that of finished trials. Footprints of infeasible and halted trials
    count, where they were measured.

    Args:
        study: any.
        metric: a quality, or a footprint, of which the logarithm is explained.
    """
    quality = metric in study.metrics
    known = [
        t for t in study.trials if metric in t.measurements and (t.ok or not quality)
    ]
    if len(known) < LEAST:
        return Importance(metric, len(known))
    values = np.array([t.values[metric] for t in known])
    if not quality and (values > 0).all():
        values = np.log(values)
    found = factors(known)
    if not found or np.ptp(values) <= 1e-9 * max(1.0, np.abs(values).max()):
        return Importance(metric, len(known))
    return explain(metric, found, values)


def explain(metric: str, found: Sequence[Factor], values: np.ndarray) -> Importance:
    """The shares of these factors.

    Args:
        metric: its name.
        found: the factors.
        values: of the metric, shape (trials,).
    """
    count = len(values)
    rng = np.random.default_rng(0)
    weights = np.vstack((np.ones(count), rng.dirichlet(np.ones(count), DRAWS) * count))
    shapley = _shapley([f.columns for f in found], values, weights)
    low, high = np.percentile(shapley[1:], (2.5, 97.5), axis=0)
    shares = [
        Share(f.name, float(v), float(min(a, v)), float(max(b, v)))
        for f, v, a, b in zip(found, shapley[0], low, high, strict=True)
    ]
    shares.sort(key=lambda s: -s.value)
    return Importance(metric, count, float(shapley[0].sum()), tuple(shares))


def factors(trials: Sequence[Trial]) -> list[Factor]:
    """What differs among these trials."""
    named = [_settings(t) for t in trials]
    techniques = dict.fromkeys(name for settings in named for name in settings)
    found: dict[bytes, Factor] = {}
    others = []
    for technique in techniques:
        there = np.array([technique in settings for settings in named])
        if not there.all():
            column = there - there.mean()
            key = there.tobytes()
            both = f"{found[key].name} + {technique}" if key in found else technique
            found[key] = Factor(both, column[:, None])
        if there.sum() < PRESENT:
            continue
        own = [settings.get(technique, {}) for settings in named]
        for name in dict.fromkeys(k for settings in own for k in settings):
            columns = _columns([s.get(name) for s in own], there)
            if columns is not None:
                others.append(Factor(f"{technique}.{name}", columns))
    return [*found.values(), *others]


def _settings(trial: Trial) -> dict[str, Mapping[str, Any]]:
    """Parameters by technique; a second one of a kind has its number beside it."""
    found: dict[str, Mapping[str, Any]] = {}
    for step in trial.steps:
        name = key = str(step["technique"])
        again = 1
        while key in found:
            again += 1
            key = f"{name} {again}"
        found[key] = {k: v for k, v in step.items() if k != "technique"}
    return found


def _columns(values: Sequence[Any], there: np.ndarray) -> np.ndarray | None:
    """A parameter as columns.

    None where it is the same in all trials that have it, or a word that is another in
    most of them: nothing can be foretold from such a one.
    """
    own = [v for v, present in zip(values, there, strict=True) if present]
    if all(isinstance(v, int | float) and not isinstance(v, bool) for v in own):
        numbers = np.array(own, float)
        if numbers.min() > 0 and numbers.max() / numbers.min() > WIDE:
            numbers = np.log(numbers)
        if np.ptp(numbers) == 0:
            return None
        line = (numbers - numbers.mean()) / numbers.std()
        made = [line] if len(set(own)) == 2 else [line, line**2]
    else:
        words = [repr(v) for v in own]
        levels = list(dict.fromkeys(words))
        if not 2 <= len(levels) <= len(words) / 2:
            return None
        made = [np.array([word == level for word in words], float) for level in levels]
    columns = np.zeros((len(values), len(made)))
    columns[there] = np.stack([m - m.mean() for m in made], axis=1)
    return columns


def _shapley(
    columns: Sequence[np.ndarray], values: np.ndarray, weights: np.ndarray
) -> np.ndarray:
    """Shapley values of what is foretold, shape (draws, factors)."""
    count = len(columns)
    known: dict[frozenset[int], np.ndarray] = {
        frozenset(): np.zeros(len(weights)),
    }

    def foretold(some: frozenset[int]) -> np.ndarray:
        if some not in known:
            chosen = np.hstack([columns[i] for i in sorted(some)])
            known[some] = _foretold(chosen, values, weights)
        return known[some]

    total = np.zeros((len(weights), count))
    if count <= EXACT:
        for i in range(count):
            rest = [j for j in range(count) if j != i]
            for size in range(count):
                each = 1 / (count * math.comb(count - 1, size))
                for some in itertools.combinations(rest, size):
                    before = frozenset(some)
                    gain = foretold(before | {i}) - foretold(before)
                    total[:, i] += each * gain
        return total
    rng = np.random.default_rng(0)
    for _ in range(ORDERS):
        order = rng.permutation(count).tolist()
        for way in (order, order[::-1]):
            before = frozenset()
            for i in way:
                after = before | {i}
                total[:, i] += (foretold(after) - foretold(before)) / (2 * ORDERS)
                before = after
    return total


def _foretold(
    columns: np.ndarray, values: np.ndarray, weights: np.ndarray
) -> np.ndarray:
    """The share of the variance that a ridge regression foretells, for each weighting.

    Each trial is foretold by a fit to all others: what is left of it is its residual
    over 1 less its leverage. A trial that a weighting counts several times is left out
    as a whole. Of the penalties the best counts, and so does the mean alone: what
    foretells nothing has 0.

    Args:
        columns: shape (trials, columns).
        values: shape (trials,).
        weights: of the trials, shape (draws, trials).
    """
    spread = columns.std(axis=0)
    kept = columns[:, spread > 1e-12] / spread[spread > 1e-12]
    part = weights / weights.sum(axis=1, keepdims=True)
    apart = values - (part @ values)[:, None]
    x = kept - (part @ kept)[:, None, :]
    weighted = weights[:, :, None] * x
    lengths, axes = np.linalg.eigh(np.swapaxes(weighted, 1, 2) @ x)
    turned = x @ axes
    told = np.einsum("dnk,dn,dn->dk", turned, weights, apart, optimize=True)
    whole = (weights * (apart / (1 - part)) ** 2).sum(axis=1)
    best = np.zeros(len(weights))
    for penalty in PENALTIES:
        inverse = 1 / (np.maximum(lengths, 0) + penalty)
        guess = (turned @ (told * inverse)[:, :, None])[:, :, 0]
        pull = part + weights * (turned**2 @ inverse[:, :, None])[:, :, 0]
        missed = (apart - guess) / np.maximum(1 - pull, 1e-6)
        best = np.maximum(best, 1 - (weights * missed**2).sum(axis=1) / whole)
    return best
