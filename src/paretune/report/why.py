"""Why a trial is as fast and as good as it is: in a terminal, a pipe or a page."""

from __future__ import annotations

import itertools
import shlex
import textwrap
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from paretune.core.study import Study
from paretune.core.trial import Trial
from paretune.report import _html as h
from paretune.report import _words as w
from paretune.report._why import sentences
from paretune.report._whytables import Section, sections
from paretune.report._zeros import zeros

if TYPE_CHECKING:
    from rich.console import RenderableType

WIDTH = 100

Told = Mapping[str, Any]


def plain(study: Study, trial: Trial, told: Told) -> str:
    """As text without colour or frames, at most 100 columns wide where names allow.

    Args:
        study: of the trial.
        trial: that is explained.
        told: what `api.why` gave.
    """
    lines = [line for s in _said(study, trial, told) for line in _wrapped(s)]
    for section in sections(study, trial, told):
        lines += ["", section.title, "-" * len(section.title), *_grid(section)]
        lines += [""] * bool(section.rows and section.lines)
        lines += [line for text in section.lines for line in _wrapped(text)]
    return "\n".join(map(w.printable, lines))


def table(study: Study, trial: Trial, told: Told) -> RenderableType:
    """The same with rich's tables, for a terminal."""
    from rich import box
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    parts: list[RenderableType] = [
        Text(w.printable(s), style="bold") for s in _said(study, trial, told)
    ]
    for section in sections(study, trial, told):
        parts += [Text(), Text(section.title, style="bold cyan")]
        if section.rows:
            grid = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), header_style="bold")
            for name, number in zip(section.head, section.numeric, strict=True):
                grid.add_column(name, justify="right" if number else "left")
            for row in section.rows:
                grid.add_row(*(Text(w.printable(cell)) for cell in row))
            parts.append(grid)
        parts += [
            Text(w.printable(text), style="" if text.startswith(" ") else "dim")
            for text in section.lines
        ]
    return Group(*parts)


def _said(study: Study, trial: Trial, told: Told) -> list[str]:
    """What comes before the tables; a page has the last of it in another place."""
    return [s for s in (*sentences(study, trial, told), zeros(study, trial)) if s]


def block(study: Study, trial: Trial, told: Told | None) -> str:
    """The explanation as HTML, or how to get one."""
    if told is None:
        command = f"paretune why {shlex.quote(study.name)} {trial.number}"
        return (
            '<p class="soft">Why is it so? Run '
            f"<code>{h.text(command)}</code> to have it explained here.</p>"
        )
    said = "".join(f"<p>{h.text(s)}</p>" for s in sentences(study, trial, told))
    *tables, proposals = sections(study, trial, told)
    return (
        f'<h4 id="why-{trial.number}">Why</h4>{said}{_html(proposals)}<details>'
        "<summary>Time, steps, layers and samples</summary>"
        f"{''.join(map(_html, tables))}</details>"
    )


def _html(section: Section) -> str:
    made = f"<h4>{h.text(section.title)}</h4>"
    if section.rows:
        rows = (h.row(map(h.text, row), section.numeric) for row in section.rows)
        made = h.table(section.title, section.head, rows, section.numeric)
    for code, lines in itertools.groupby(section.lines, _is_code):
        if code:
            inner = "<br>".join(h.text(line.strip()) for line in lines)
            made += f"<p><code>{inner}</code></p>"
        else:
            made += "".join(f'<p class="note">{h.text(x.strip())}</p>' for x in lines)
    return made


def _is_code(line: str) -> bool:
    """Whether it is a line of a recipe, to be copied."""
    return line.startswith("     ")


def _grid(section: Section) -> list[str]:
    if not section.rows:
        return []
    columns = list(zip(section.head, *section.rows, strict=True))
    widths = [max(map(len, column)) for column in columns]
    lines = []
    for row in (section.head, *section.rows):
        cells = zip(row, widths, section.numeric, strict=True)
        padded = (c.rjust(n) if right else c.ljust(n) for c, n, right in cells)
        lines.append("  ".join(padded).rstrip())
    return lines


def _wrapped(text: str) -> list[str]:
    if _is_code(text):
        return [text]
    indent = " " * (len(text) - len(text.lstrip()))
    return textwrap.wrap(text, WIDTH, subsequent_indent=indent) or [""]
