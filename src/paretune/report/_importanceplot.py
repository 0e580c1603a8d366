"""What explains the differences among all trials: bars with intervals, and words."""

from __future__ import annotations

from collections.abc import Sequence

from paretune.core.study import Study
from paretune.report import _html as h
from paretune.report import _words as w
from paretune.report._importance import LEAST, Importance, Share, importance
from paretune.report._whywords import join

SHOWN = 8  # factors
LEFT, PANEL, GAP, ROW, TOP = 250, 180, 36, 30, 26


def importances(study: Study) -> str:
    """The plot with its sentences; a sentence alone with too few trials."""
    found = [importance(study, metric) for metric in _metrics(study)]
    if not found:
        return ""
    head = "<h4>What explains the differences among all trials</h4>"
    known = [i for i in found if i.shares]
    said = "".join(f"<p>{h.text(sentence(i))}</p>" for i in found)
    if not known:
        few = max(i.trials for i in found)
        if few < LEAST:
            said = (
                f'<p class="soft">Too few trials to tell what explains their '
                f"differences: {few}, and it takes {LEAST}.</p>"
            )
        return f"{head}{said}"
    return (
        f'{head}{said}<div class="card">{_plot(known)}</div><p class="note">The share '
        "of the variance (of the logarithm, for footprints) that an additive model of "
        "all settings foretells for trials that it hasn't seen, divided among them; "
        "lines are 95 % intervals, from resampled trials. A search isn't an "
        "experiment: settings that changed together share what they explain.</p>"
    )


def sentence(found: Importance) -> str:
    """What explains one metric, in words.

    Example:
        >>> sentence(Importance("size", 4))
        'Size: too few trials to tell (4, it takes 12).'
    """
    name = w.label(found.metric)
    lead = f"{name[:1].upper()}{name[1:]}"
    if found.trials < LEAST:
        return f"{lead}: too few trials to tell ({found.trials}, it takes {LEAST})."
    if not found.shares:
        return f"{lead}: nothing to explain, it hardly differs among the trials."
    clear = [s for s in found.shares if s.clear]
    if not clear:
        return (
            f"{lead}: nothing stands out among {found.trials} trials: chance alone "
            "could make any of these shares."
        )
    most = [f"{_name(s.name)} explains {_percent(s)}" for s in clear[:3]]
    if len(most) > 1:
        most[1:] = [m.replace(" explains", "", 1) for m in most[1:]]
    return f"{lead}: {join(most)} of what differs among {found.trials} trials" + (
        "." if len(clear) == len(found.shares) else "; nothing else stands out."
    )


def _metrics(study: Study) -> list[str]:
    wanted = (next(iter(study.metrics), ""), "size", "latency_p50")
    there = {m for t in study.trials for m in t.measurements}
    return [m for m in wanted if m in there]


def _percent(share: Share) -> str:
    low, high = (100 * min(1.0, max(0.0, v)) for v in (share.low, share.high))
    return f"{100 * min(1.0, share.value):.0f} % ({low:.0f} to {high:.0f} %)"


def _name(factor: str) -> str:
    """A factor for people.

    Example:
        >>> _name("structured_pruning.ratio"), _name("distillation + fine_tuning")
        ('ratio of structured pruning', 'distillation and fine tuning at all')
    """
    technique, _, parameter = factor.partition(".")
    named = w.printable(technique).replace("_", " ")
    if parameter:
        return f"{w.printable(parameter).replace('_', ' ')} of {named}"
    return f"{join(named.split(' + '))} at all"


def _plot(found: Sequence[Importance]) -> str:
    """A panel a metric, a row a factor; the most important one on top."""
    largest: dict[str, float] = {}
    for each in found:
        for s in each.shares:
            largest[s.name] = max(largest.get(s.name, 0.0), s.value)
    names = sorted(largest, key=lambda n: -largest[n])[:SHOWN]
    wide = LEFT + len(found) * (PANEL + GAP)
    high = TOP + ROW * len(names) + 24
    parts = []
    for number, name in enumerate(names):
        y = TOP + ROW * (number + 0.5)
        parts.append(
            f'<text x="{LEFT - 12}" y="{y + 4:.1f}" text-anchor="end">'
            f"{h.text(_short(_name(name)))}</text>"
        )
    for column, each in enumerate(found):
        start = LEFT + column * (PANEL + GAP)
        parts.append(_panel(each, names, start))
    said = "share of the differences that each setting explains, by metric"
    return (
        f'<svg class="importance" viewBox="0 0 {wide} {high}" role="img" '
        f'aria-label="{said}">{"".join(parts)}</svg>'
    )


def _panel(found: Importance, names: Sequence[str], start: float) -> str:
    bottom = TOP + ROW * len(names)

    def across(value: float) -> float:
        return start + PANEL * min(1.0, max(0.0, value))

    parts = [
        f'<text class="title" x="{start}" y="14">{h.text(w.label(found.metric))}</text>'
    ]
    for tick, anchor in ((0.0, "start"), (0.5, "middle"), (1.0, "end")):
        x = across(tick)
        parts.append(
            f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{bottom}"/>'
            f'<text x="{x:.1f}" y="{bottom + 16}" text-anchor="{anchor}">'
            f"{100 * tick:.0f} %</text>"
        )
    shares = {s.name: s for s in found.shares}
    for number, name in enumerate(names):
        share = shares.get(name)
        if share is None:
            continue
        y = TOP + ROW * (number + 0.5)
        tone = "clear" if share.clear else "faint"
        low, high = across(share.low), across(share.high)
        title = f"{_name(name)}, {w.label(found.metric)}: {_percent(share)}"
        parts.append(
            f'<g class="{tone}"><title>{h.text(title)}</title>'
            f'<rect x="{start}" y="{y - 7:.1f}" height="14" '
            f'width="{across(share.value) - start:.1f}"/>'
            f'<line x1="{low:.1f}" x2="{high:.1f}" y1="{y:.1f}" y2="{y:.1f}"/></g>'
        )
    return "".join(parts)


def _short(name: str) -> str:
    return name if len(name) <= 40 else f"{name[:39]}…"
