"""The page's sections around the chart."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from typing import Any

from paretune.core.study import Study
from paretune.core.trial import Trial
from paretune.frontier import SOLID, Frontier
from paretune.report import _figures as f
from paretune.report import _words as w
from paretune.report._costs import costs as costs
from paretune.report._forecasts import told as forecasts
from paretune.report._html import facts, row, small, table, text
from paretune.report.verdict import closest, judged, optimism, pick, tally, ties

GLOSSARY = (
    ("frontier", "the trials that no other trial makes pointless"),
    (
        "dominated",
        "another trial is better, or can't be told from it, on every axis, and is "
        "certainly better on one",
    ),
    (
        "not distinguishable",
        "the 95 % interval of the difference holds 0, or, for times, the difference is "
        "within the host's own noise",
    ),
    (
        "at once",
        "in 95 of 100 studies not one of these intervals misses its true value; a "
        "difference from the baseline is called on the same terms (max-T, Holm)",
    ),
    (
        "optimism gap",
        "by how much quality looked better on the validation split, by which the "
        "search chose, than it is on the test split",
    ),
    (
        "probability of being on the frontier",
        "the share of 1,000 resamples of all figures in which no trial beats it",
    ),
    ("latency p50", "the median time of one blocking call, arrays in to arrays out"),
    ("MACs", "multiply-accumulates of one sample; 1 MAC is 2 FLOPs"),
    (
        "parity",
        "agreement of the deployed file with the model that it was made from; a file "
        "that disagrees is not offered",
    ),
    (
        "hypervolume",
        "what the whole search gained on all axes together; the baseline alone has 1",
    ),
)


def heading(study: Study, found: Frontier, sentence: str) -> str:
    target = study.target
    threads = f"{target.threads} thread{'' if target.threads == 1 else 's'}"
    where = f"{target.runtime} on {target.device}, {threads}, batch {target.batch}"
    return (
        f'<p class="eyebrow">paretune · study <b>{text(study.name)}</b> · task '
        f"<b>{text(study.task)}</b> · {text(where)}</p><h1>{text(sentence)}</h1>"
        f"{_budget(study, found)}{_tiles(study, found)}"
    )


def _budget(study: Study, found: Frontier) -> str:
    if not study.budget.constraints:
        return '<p class="note">No budget was set.</p>'
    judged_on = pick(study, found) or closest(study)[0]
    chips = []
    for c in study.budget.constraints:
        said, tone = text(w.limit(c.text)), "soft"
        m = f.shown(study, judged_on).get(c.metric) if judged_on else None
        if judged_on is not None and m is not None:
            fits = c not in f.broken(study, judged_on)
            tone = "good" if fits else "bad"
            mark = "✓" if fits else "✗"
            said = f"{mark} {said}: {text(f.words(study, m).plain)}"
        chips.append(f'<li class="{tone}">{said}</li>')
    if found.members:
        within = sum(f.meets(study, t) for t in found.members)
        whole = f"met by {within} of {len(found.members)} members"
        chips.append(f'<li class="soft">{whole}</li>')
    return f'<ul class="budget">{"".join(chips)}</ul>'


def _tiles(study: Study, found: Frontier) -> str:
    best = pick(study, found) or closest(study)[0]
    if best is None or best.number == 0:
        return ""
    tiles = []
    for metric in f.axes(study)[:5]:
        m, change = f.shown(study, best).get(metric), f.change(study, best, metric)
        if m is None:
            continue
        shown = f.words(study, m)
        big, under = shown.plain, [f"95 %: {shown.interval}"] if shown.low else []
        if change is not None and metric not in study.metrics and change.verdict:
            big, under = change.text, [shown.plain, *under]
        elif change is not None and not change.verdict:
            under = ["not distinguishable from the baseline's", *under]
        elif change is not None:
            under = [f"{change.text} against the baseline", *under]
        tiles.append(
            f'<div class="tile"><dt>{text(w.label(metric))}</dt>'
            f'<dd><span class="big">{text(big)}</span>'
            f"{''.join(small(u) for u in under)}</dd></div>"
        )
    return f'<dl class="tiles">{"".join(tiles)}</dl>'


def members(study: Study, found: Frontier) -> str:
    axes, best = f.axes(study), pick(study, found)
    trials = list(found.members)
    if study.baseline and study.baseline not in trials:
        trials.append(study.baseline)
    head = ["trial", "recipe", *map(w.label, axes), "on the frontier"]
    numeric = [False, False, *(True for _ in axes), True]
    if study.budget.constraints:
        head.append("budget")
        numeric.append(False)
    rows = []
    for t in trials:
        cells = [pick_button(t), text(w.short(t.steps))]
        cells += [_figure(study, t, metric) for metric in axes]
        cells.append(_chance(t, found))
        if study.budget.constraints:
            cells.append(fits(study, t))
        mark = ' class="best"' if t == best else ""
        rows.append(row(cells, numeric, f'{mark} data-n="{t.number}"'))
    said = " ".join(
        filter(None, (ties(study, found.members), judged(study, found.members)))
    )
    return table(said, head, rows, numeric)


def pick_button(trial: Trial) -> str:
    return f'<button class="pick" type="button">{trial.number}</button>'


def _figure(study: Study, trial: Trial, metric: str) -> str:
    m, change = f.shown(study, trial).get(metric), f.change(study, trial, metric)
    if m is None:
        return "–"
    shown = f.words(study, m)
    value = text(shown if metric in study.metrics else shown.plain)
    if change is None:
        return value
    tone = {1: "good", -1: "bad"}.get(change.verdict, "")
    return value + small(change.brief if not change.verdict else change.text, tone)


def _chance(trial: Trial, found: Frontier) -> str:
    chance = found.probability.get(trial.number, 0.0)
    if trial not in found.members:
        return "no" + small(f"{w.percent(chance)} of resamples")
    return w.percent(chance) + small("" if chance >= SOLID else "narrow")


def fits(study: Study, trial: Trial) -> str:
    if f.meets(study, trial):
        return '<span class="good">✓ meets</span>'
    breaks = dict.fromkeys(w.label(c.metric) for c in f.broken(study, trial))
    return f'<span class="bad">✗ {text(", ".join(breaks) or "not measured")}</span>'


def trials(study: Study, found: Frontier) -> str:
    axes = f.axes(study)
    numeric = [False, False, False, *(True for _ in axes), False]
    head = ["trial", "recipe", "outcome", *map(w.label, axes), "reason"]
    rows = []
    for t in sorted(study.trials, key=lambda t: t.number):
        member = t in found.members
        outcome = "on the frontier" if member else "dominated" if t.ok else t.state
        tone = "member" if member else "" if t.ok or t.halted else "bad"
        cells = [
            pick_button(t) if t.ok else str(t.number),
            text(w.short(t.steps)),
            f'<span class="{tone}">{text(outcome)}</span>',
            *(_plain(study, t, metric) for metric in axes),
            text(t.error),
        ]
        rows.append(row(cells, numeric, f' data-n="{t.number}"' if t.ok else ""))
    if not study.trials:
        return "<p>None has ended yet.</p>"
    return (
        f"<p>{text(tally(study))} A trial whose footprint alone breaks the budget is "
        "infeasible and was never trained.</p><details><summary>All trials</summary>"
        + table("Every recipe that was tried", head, rows, numeric)
        + "</details>"
    )


def _plain(study: Study, trial: Trial, metric: str) -> str:
    m = trial.measurements.get(metric)
    return text(f.words(study, m).plain) if m else "–"


def protocol(study: Study, found: Frontier) -> str:
    return facts(_protocol(study, found))


def _protocol(study: Study, found: Frontier) -> Iterator[tuple[str, str]]:
    target = study.target
    yield (
        "Target",
        text(
            f"{target.runtime}, {target.device}, threads {target.threads}, batch "
            f"{target.batch}, {target.scenario.replace('_', ' ')}"
        ),
    )
    for name, value in study.environment.items():
        if name not in ("target", "digest", "energy", "grid"):  # costs has these two
            yield name.replace("_", " ").capitalize(), text(_flat(value))
    times = [m for t in study.trials if (m := t.measurements.get("latency_p50"))]
    if times:
        most = max(len(m.values) for m in times)
        yield (
            "Latency",
            f"each file in fresh processes (up to {most} launches), every launch in "
            "turns with the baseline; intervals are over launches. A call goes from "
            "arrays to arrays, copies included; garbage is collected between blocks "
            "only; loading and the first call count apart, as cold start",
        )
    yield (
        "Noise of this host",
        f"{'unstable host: ' * study.unstable}the baseline differs from itself by up "
        f"to {100 * study.noise:.1f} %; smaller differences of time are never called"
        if study.noise
        else "",
    )
    for split, count in _splits(study).items():
        yield f"{split.capitalize()} split", f"{count:,} samples"
    times_read = {0: "not read", 1: "read once"}.get(
        study.certifications, f"read {study.certifications} times"
    )
    yield "Test split", f"{times_read}; the search never looks at it"
    yield "Optimism gap", text(optimism(study, found.members))
    yield "Smallest difference", text(_smallest(study, found))
    yield "Latency model", text(forecasts(study))
    yield "Strategy", text(study.strategy.replace("_", " "))
    if found.hypervolume == found.hypervolume:
        interval = found.hypervolume_interval
        reference = ", ".join(
            f"{w.label(k)} {w.digits(v)}" for k, v in found.reference.items()
        )
        yield (
            "Hypervolume",
            f"{found.hypervolume:.3g} (95 %: {interval.low:.3g} to {interval.high:.3g})"
            f", the baseline alone has 1; reference point in base units: "
            f"{text(reference)}",
        )


def _splits(study: Study) -> dict[str, int]:
    taken = [m for t in study.trials for m in t.measurements.values()]
    taken += [m for c in study.certified.values() for m in c.values()]
    return {m.split: len(m.values) for m in taken if m.split and m.kind == "samples"}


def _smallest(study: Study, found: Frontier) -> str:
    metric = next(iter(study.metrics), "")
    known = [f.detectable(study, t, metric) for t in found.members]
    sizes = [size for size in known if size]
    if not sizes:
        return ""
    least = statistics.median(sizes)
    size = f"{100 * least:.1f} pt" if f.is_share(study, metric) else w.digits(least, 2)
    return (
        f"of {w.label(metric)} that these samples tell from the baseline's four times "
        f"in five: about {size}"
    )


def _flat(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{k} {_flat(v)}" for k, v in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(_flat, value))
    return str(value)


def glossary() -> str:
    return facts((name, text(meaning)) for name, meaning in GLOSSARY)
