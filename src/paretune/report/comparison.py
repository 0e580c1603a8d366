"""Two artifacts side by side, in words."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from paretune.core.budget import FOOTPRINT
from paretune.core.study import Study
from paretune.core.trial import Trial
from paretune.report import _figures as f
from paretune.report import _words as w
from paretune.report.records import finite, metric

NONE = "no difference"


def comparison(study: Study) -> str:
    """A table of the figures of both, and what follows from it.

    Args:
        study: trial 0 is the one that the other, trial 1, is held against.
    """
    first, second = study.trials
    rows = [("", "A", "B", "B against A", "95 %"), *_rows(study, first, second)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    same = first.artifact is not None and first.artifact == second.artifact
    alike = ["A and B are the same file, byte for byte."] if same else []
    return "\n".join([*lines, "", *alike, _verdict(study, second), *_notes(study)])


def record(study: Study) -> dict[str, Any]:
    """The same as JSON values: {"version": 1, "a", "b", "change", "noise"}.

    "a" and "b" are {metric: {"value", "low", "high", "unit", ...}} as in the record of
    a frontier; "change" is {metric: {"amount", "low", "high", "verdict"}}: a ratio B/A
    for footprints, a difference B - A for quality; the verdict is 1 for better, -1 for
    worse, 0 for no difference.
    """
    first, second = study.trials
    changes = {
        m: f.change(study, second, m) for m in (*study.metrics, *second.measurements)
    }
    return {
        "version": 1,
        "a": {k: metric(m) for k, m in first.measurements.items()},
        "b": {k: metric(m) for k, m in second.measurements.items()},
        "change": {
            k: {
                "amount": finite(c.amount),
                "low": finite(c.interval.low),
                "high": finite(c.interval.high),
                "verdict": c.verdict,
            }
            for k, c in changes.items()
            if c is not None
        },
        "noise": study.noise,
        "flags": _flags(study),
    }


def _flags(study: Study) -> list[str]:
    taken = (m for t in study.trials for m in t.measurements.values())
    return sorted({flag for m in taken for flag in m.flags})


def _rows(
    study: Study, first: Trial, second: Trial
) -> Iterator[tuple[str, str, str, str, str]]:
    for name in (*study.metrics, *FOOTPRINT):
        pair = [t.measurements.get(name) for t in (first, second)]
        if pair[0] is None and pair[1] is None:
            continue
        a, b = ("–" if m is None else str(f.words(study, m)) for m in pair)
        said, interval = "", ""
        if change := f.change(study, second, name):
            low, high = change.interval.low, change.interval.high
            said = NONE if change.verdict == 0 else change.text
            if name in study.metrics:
                share, half = f.is_share(study, name), (high - low) / 2
                ends = [f.signed(v, half, share) for v in (low, high)]
                interval = f"{ends[0].removesuffix(' pt')} to {ends[1]}"
            else:
                interval = f"× {low:.3f} to {high:.3f}" if low < high else ""
        yield w.label(name), a, b, said, interval


def _verdict(study: Study, second: Trial) -> str:
    """One sentence: faster, slower, or no difference."""
    change = f.change(study, second, "latency_p50")
    if change is None:
        return "Latency was not measured on both."
    if change.verdict:
        low, high = change.interval.low, change.interval.high
        return (
            f"B is {change.text} than A: it takes {change.amount:.3f} of A's time "
            f"(95 %: {low:.3f} to {high:.3f})."
        )
    return (
        f"No difference in latency: B takes {change.amount:.3f} of A's time, which "
        "is within what the same file shows against itself or within its 95 % interval."
    )


def _notes(study: Study) -> Iterator[str]:
    yield (
        f"Noise of this host, now: A differs from itself by up to "
        f"{100 * study.noise:.1f} %; no smaller difference of time is called."
    )
    if flags := _flags(study):
        yield f"Mind: {', '.join(flags)}."
    if study.metrics:
        yield "Quality is that of the validation split, on the same samples."
    else:
        yield (
            "Timed on random inputs, for want of a task; name one with --task for real "
            "inputs and for quality."
        )
