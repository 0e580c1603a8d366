"""Whether the quality that subnets inherit tells the quality that they end with."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from paretune.core.recipe import canonical
from paretune.core.study import Study
from paretune.core.trial import Trial
from paretune.report._html import text

LEAST = 5  # subnets: the order of fewer says next to nothing
DRAWS = 1000
USEFUL = 0.7
Ranked = Sequence[float] | np.ndarray


def agreement(study: Study) -> str:
    """A sentence on the rank correlation of the two; empty where it can't be known.

    Inherited quality is that right after the step `subnet`, on the first samples of the
    validation split; the other is that of the finished artifact.
    """
    metric = next(iter(study.metrics))
    pairs = _pairs(study, metric)
    if len(pairs) < LEAST:
        return ""
    before, after = np.array(pairs).T
    value = tau(before, after)
    rng = np.random.default_rng(0)
    drawn = (rng.integers(0, len(pairs), len(pairs)) for _ in range(DRAWS))
    found = [tau(before[rows], after[rows]) for rows in drawn]
    known = [v for v in found if not np.isnan(v)]
    if np.isnan(value) or not known:
        return ""
    low, high = np.percentile(known, (2.5, 97.5))
    lead = "inherited and tuned quality agree" if low > 0 else "they may not agree"
    if low > 0 and value < USEFUL:
        lead = "inherited and tuned quality agree in part"
    return (
        f"Of {len(pairs)} subnets, {lead}: Kendall's tau is {value:.2f} "
        f"({low:.2f} to {high:.2f}); tuned {metric} goes from {after.min():.3g} to "
        f"{after.max():.3g}."
    )


def inherited(study: Study) -> str:
    """The same as a paragraph of the page; empty where there is nothing to say."""
    said = agreement(study)
    return f'<p class="note">{text(said)}</p>' if said else ""


def tau(one: Ranked, other: Ranked) -> float:
    """Kendall's tau-b of two rankings, -1 to 1; NaN if one of them is all ties.

    Example:
        >>> tau([1, 2, 3], [1, 3, 2]).__round__(2)
        0.33
    """
    from scipy.stats import kendalltau

    return float(kendalltau(one, other).statistic)


def _pairs(study: Study, metric: str) -> list[tuple[float, float]]:
    """One of each trained subnet, however many files were made of it.

    Several files of one net would count as as many that agree with each other.
    """
    found: dict[str, tuple[float, float]] = {}
    for trial in study.trials:
        pair = _pair(trial, metric)
        if pair is not None:
            steps = [dict(s) for s in trial.steps]
            last = max(n for n, s in enumerate(steps) if "epochs" in s)
            found.setdefault(canonical(steps[: last + 1]), pair)
    return list(found.values())


def _pair(trial: Trial, metric: str) -> tuple[float, float] | None:
    """(inherited, final) quality of a finished trial with a subnet in it."""
    inherited = next(
        (
            node["quality"].get(metric)
            for node in trial.trace
            if node.get("step") == "subnet" and node.get("quality")
        ),
        None,
    )
    if not trial.ok or inherited is None or metric not in trial.values:
        return None
    return float(inherited), trial.values[metric]
