"""What halted trials may come to, by what finished ones gained from the same rung."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from paretune.core.strategy import History
from paretune.core.trial import Trial

ENOUGH = 4  # finished trials that tell how much a gain varies; and that one is told by

Figures = Mapping[str, float]


def outlook(
    history: History, trials: Sequence[Trial], spreads: float = 0.0
) -> list[Figures]:
    """The trials' figures, with the quality that a halted one may be expected to reach.

    That is its quality at its last rung and what finished trials gained from there to
    the end: those of them that were most like it at the rung, half of them more and
    half less. While none has finished, that at the rung.

    Args:
        history: with the finished trials.
        trials: of any state.
        spreads: standard deviations of the gain that the guess is optimistic by, on
            objectives; of fewer than four gains, as many times the largest.

    Source: Domhan, Springenberg, Hutter 2015, IJCAI (extrapolated learning curves; the
    model of the curve here is the study's own gains).
    """
    halts = any(t.halted for t in trials)
    ended = [t for t in history.trials if t.ok and t.rungs] if halts else []
    signs = {o.metric: 1 if o.better == "higher" else -1 for o in history.objectives}
    known: dict[tuple[int, str], np.ndarray] = {}

    def expected(trial: Trial) -> Figures:
        if not trial.halted or not trial.rungs:
            return trial.values
        rung, found = len(trial.rungs) - 1, dict[str, float]()
        for metric, value in trial.rungs[rung]["quality"].items():
            if (rung, metric) not in known:
                known[rung, metric] = _climbs(ended, rung, metric)
            more = spreads * signs.get(metric, 0)
            found[metric] = float(value) + _gain(known[rung, metric], value, more)
        return {**found, **trial.values}

    return [expected(t) for t in trials]


def told(history: History, rung: int, least: int = ENOUGH) -> bool:
    """Whether so many trials went on from this rung to the end, and tell of others."""
    return sum(t.ok and len(t.rungs) > rung for t in history.trials) >= least


def _climbs(ended: Sequence[Trial], rung: int, metric: str) -> np.ndarray:
    """Quality at the rung, and gain from there to the end, shape (2, trials)."""
    found = [
        (quality, t.values[metric] - quality)
        for t in ended
        if len(t.rungs) > rung and metric in t.values
        if np.isfinite(quality := float(t.rungs[rung]["quality"].get(metric, np.nan)))
    ]
    return np.array(found, float).reshape(-1, 2).T


def _gain(climbs: np.ndarray, quality: float, more: float) -> float:
    at, gains = climbs
    if not gains.size:
        return 0.0
    near = gains[np.argsort(np.abs(at - quality), kind="stable")[:ENOUGH]]
    if not more:
        return float(np.median(near))
    spread = near.std(ddof=1) if len(near) == ENOUGH else np.abs(near).max()
    return float(near.mean() + more * spread)
