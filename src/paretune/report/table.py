"""The frontier in a terminal: a table, or plain text for a pipe."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from paretune.core.measurement import Measurement
from paretune.core.study import Study
from paretune.core.trial import Trial
from paretune.frontier import SOLID, Frontier, frontier
from paretune.report import _figures as f
from paretune.report import _words as w
from paretune.report._costs import sentences
from paretune.report._warm import sentence as warmed
from paretune.report._words import short
from paretune.report.verdict import (
    closest,
    judged,
    optimism,
    pick,
    tally,
    ties,
    verdict,
)

if TYPE_CHECKING:
    from rich.console import RenderableType

__all__ = ["figure", "plain", "short", "table"]

GAIN = "gain"  # over the baseline, of the figure to its left


def figure(m: Measurement) -> str:
    """A measurement in words, with no more digits than its spread carries.

    Example:
        >>> figure(Measurement("size", "byte", "lower", (98_231.0,), "exact"))
        'size 98.2 kB'
    """
    share = bool(m.split) and f.reads_as_share(m)
    return f"{w.label(m.metric)} {w.figure(m, share)}"


@dataclass(frozen=True)
class _Row:
    """A line of the table: cells of text, and how it is to be shown."""

    cells: tuple[str, ...]
    mark: str  # "best", "baseline" or ""


def table(study: Study, width: int) -> RenderableType:
    """The verdict, the members with the baseline, and what else must be known.

    Args:
        study: to show.
        width: of the terminal, in characters; in a narrow one rows take more lines.
    """
    from rich import box
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    found = frontier(study)
    head, rows = _rows(study, found)
    if sum(_widths(head, rows)) + 3 * len(head) > width:
        head, rows = _stacked(head, rows)
    grid = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
    for name in head:
        grid.add_column(name, justify=_side(name))
    for row in rows:
        style = {"best": "bold green", "baseline": "cyan"}.get(row.mark, "")
        grid.add_row(*map(Text, row.cells), style=style)
    before, after = _sentences(study, found)
    lines = (Text(line, style="dim") for line in after)
    return Group(Text(before, style="bold"), grid if rows else Text(), *lines)


def plain(study: Study) -> str:
    """The same as text without colour, frames or wrapping."""
    found = frontier(study)
    head, rows = _rows(study, found)
    widths = _widths(head, rows)
    lines = []
    for cells in (head, *(row.cells for row in rows)):
        columns = zip(head, cells, widths, strict=True)
        padded = (
            cell.ljust(size) if _side(name) == "left" else cell.rjust(size)
            for name, cell, size in columns
        )
        lines.append("  ".join(padded).rstrip())
    before, after = _sentences(study, found)
    return "\n".join([before, "", *(lines if rows else []), "", *after])


def _side(name: str) -> Literal["left", "right"]:
    return "left" if name in ("trial", "recipe", "budget") else "right"


def _widths(head: tuple[str, ...], rows: list[_Row]) -> list[int]:
    cells = zip(head, *(row.cells for row in rows), strict=True)
    return [max(map(len, column)) for column in cells]


def _stacked(
    head: tuple[str, ...], rows: list[_Row]
) -> tuple[tuple[str, ...], list[_Row]]:
    """Each step of a recipe on a line, and each gain below its figure."""
    gains = [i for i, name in enumerate(head) if name == GAIN]

    def stack(cells: tuple[str, ...]) -> tuple[str, ...]:
        below = {i - 1: cells[i] for i in gains}
        joined = (
            "\n".join(filter(None, (cell, below.get(i))))
            .replace(" → ", " →\n")
            .replace(", ", ",\n")
            for i, cell in enumerate(cells)
            if i not in gains
        )
        return tuple(joined)

    names = tuple(n.replace(" ", "\n") for n in head if n != GAIN)
    return names, [_Row(stack(r.cells), r.mark) for r in rows]


def _rows(study: Study, found: Frontier) -> tuple[tuple[str, ...], list[_Row]]:
    axes, best = f.axes(study), pick(study, found)
    limited = bool(study.budget.constraints)
    trials = list(found.members)
    if study.baseline and study.baseline not in trials:
        trials.append(study.baseline)
    head = ("trial", "recipe", *(h for m in axes for h in (w.label(m), GAIN)))
    rows = []
    for trial in trials:
        mark = "best" if trial == best else "baseline" if not trial.number else ""
        cells = [_name(trial, found), short(trial.steps)]
        for metric in axes:
            cells += [_cell(study, trial, metric), _gain(study, trial, metric)]
        if limited:
            cells.append(_fits(study, trial))
        rows.append(_Row(tuple(cells), mark))
    return (*head, "budget") if limited else head, rows


def _name(trial: Trial, found: Frontier) -> str:
    """The number, with a mark on members: hollow for a narrow one."""
    if trial not in found.members:
        return str(trial.number)
    return f"{trial.number} {'●' if found.probability[trial.number] >= SOLID else '○'}"


def _cell(study: Study, trial: Trial, metric: str) -> str:
    m = f.shown(study, trial).get(metric)
    if m is None:
        return "–"
    shown = f.words(study, m)
    return str(shown) if metric in study.metrics else shown.plain


def _gain(study: Study, trial: Trial, metric: str) -> str:
    change = f.change(study, trial, metric)
    return change.brief if change else ""


def _fits(study: Study, trial: Trial) -> str:
    """A tick, or what breaks the budget."""
    if f.meets(study, trial):
        return "✓"
    breaks = dict.fromkeys(w.label(c.metric) for c in f.broken(study, trial))
    return f"✗ {', '.join(breaks) or 'not measured'}"


def _sentences(study: Study, found: Frontier) -> tuple[str, list[str]]:
    """What stands above the table, and the lines below it."""
    lines = [ties(study, found.members)]
    if any(found.probability[t.number] < SOLID for t in found.members):
        lines.append(f"○ is on the frontier in under {w.percent(SOLID)} of resamples.")
    lines.append(judged(study, found.members) if found.members else "")
    best = pick(study, found)
    lines.append(optimism(study, [best]) if best else "")
    if study.budget.constraints and found.members:
        within = sum(f.meets(study, t) for t in found.members)
        limits = w.limit(str(study.budget))
        said = f"Budget {limits}: met by {within} of {len(found.members)} members"
        binds = [] if within else [w.limit(c.text) for c in closest(study)[1]]
        lines.append(
            f"{said}; what binds is {', '.join(binds)}." if binds else f"{said}."
        )
    if study.unstable:
        lines.append(
            f"Unstable host: the baseline differs from itself by up to "
            f"{w.percent(study.noise, 1)}; no smaller difference of time is called."
        )
    lines += [warmed(study, found), *sentences(study, found), tally(study)]
    return verdict(study, found), [line for line in lines if line]
