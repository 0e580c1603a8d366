"""Small pieces of HTML: every text that comes from outside is escaped here."""

from __future__ import annotations

import html
import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

HOME = re.compile(r"(?:/home|/Users|[A-Za-z]:\\Users)[/\\][^/\\\s'\":,;]+|/root\b")


def text(anything: object) -> str:
    """Escaped, and with no home folder in it.

    Example:
        >>> text("<b> in /home/alice/task.py")
        '&lt;b&gt; in ~/task.py'
    """
    return html.escape(scrub(str(anything)), quote=True)


def scrub(anything: str) -> str:
    """Without home folders, which name a person, and without control characters."""
    home = os.path.expanduser("~")  # noqa: PTH111 Path.home() raises where there is none
    if len(home) > 1:
        anything = re.sub(re.escape(home) + r"(?![\w.-])", "~", anything)
    anything = HOME.sub("~", anything)
    return "".join(c for c in anything if c.isprintable() or c in "\n\t ")


def scrubbed(value: Any) -> Any:
    """`scrub` on every text in a JSON value."""
    if isinstance(value, str):
        return scrub(value)
    if isinstance(value, dict):
        return {scrub(str(k)): scrubbed(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [scrubbed(v) for v in value]
    return value


def table(
    caption: str, head: Sequence[str], rows: Iterable[str], numeric: Sequence[bool]
) -> str:
    """A table; its rows are HTML already.

    Args:
        caption: what it shows.
        head: of each column, as text.
        rows: of `row`.
        numeric: which columns hold figures.
    """
    cells = "".join(
        f'<th scope="col"{_right(n)}>{text(h)}</th>'
        for h, n in zip(head, numeric, strict=True)
    )
    return (
        f'<div class="scroll"><table><caption>{text(caption)}</caption>'
        f"<thead><tr>{cells}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )


def row(cells: Iterable[str], numeric: Iterable[bool], attributes: str = "") -> str:
    """A row of cells that are HTML already."""
    made = "".join(
        f"<td{_right(n)}>{c}</td>" for c, n in zip(cells, numeric, strict=True)
    )
    return f"<tr{attributes}>{made}</tr>"


def facts(pairs: Iterable[tuple[str, str]]) -> str:
    """A list of names and HTML values; pairs without a value are left out."""
    made = "".join(f"<dt>{text(n)}</dt><dd>{v}</dd>" for n, v in pairs if v)
    return f'<dl class="facts">{made}</dl>'


def small(content: str, tone: str = "") -> str:
    """A second, quieter line in a cell; empty without content."""
    tone = f' class="{tone}"' if tone else ""
    return f"<small{tone}>{text(content)}</small>" if content else ""


def share(part: float) -> str:
    """A bar filled to a share from 0 to 1."""
    width = max(0.0, min(1.0, part)) * 64
    return (
        '<svg class="share" viewBox="0 0 64 6" aria-hidden="true">'
        '<rect class="all" width="64" height="6" rx="3"/>'
        f'<rect class="part" width="{width:.1f}" height="6" rx="3"/></svg>'
    )


def duration(seconds: float) -> str:
    """Seconds for a person.

    Example:
        >>> duration(0.42), duration(75), duration(4000)
        ('0.4 s', '1 min 15 s', '1 h 6 min')
    """
    if seconds < 10:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes >= 60:
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def asset(name: str) -> str:
    """A file that is put into the page as it is."""
    return (Path(__file__).parent / "assets" / name).read_text(encoding="utf-8").strip()


def _right(numeric: bool) -> str:
    return ' class="n"' if numeric else ""
