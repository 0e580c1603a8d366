"""Fills in the parts of the README that are generated: the catalogue and the figures.

python scripts/write_readme.py
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

from paretune import catalog

ROOT = Path(__file__).parents[1]
HEAD = ("| what | figure | goal | |", "|---|---|---|---|")


def main() -> None:
    path = ROOT / "README.md"
    text = path.read_text()
    text = put(text, "catalogue", catalogue())
    text = put(text, "figures", figures())
    path.write_text(text)
    title = "# Every figure that was measured\n\nGenerated from `bench/results`.\n\n"
    (ROOT / "docs" / "figures.md").write_text(f"{title}{every()}\n")


def put(text: str, name: str, content: str) -> str:
    """`text` with `content` between the marks of that name."""
    pattern = rf"<!-- {name} -->.*<!-- /{name} -->"
    filled = f"<!-- {name} -->\n{content}\n<!-- /{name} -->"
    return re.sub(pattern, lambda _: filled, text, flags=re.DOTALL)


def catalogue() -> str:
    """A table of techniques with their papers, and the other members."""
    rows = ["| area | technique | source |", "|---|---|---|"]
    for name in sorted(
        catalog.TECHNIQUES, key=lambda n: (catalog.TECHNIQUES.area(n), n)
    ):
        member = catalog.TECHNIQUES[name]
        rows.append(f"| {member.area()} | `{name}` | {member.source} |")
    for what, members in (
        ("samplers", catalog.SAMPLERS),
        ("schedulers", catalog.SCHEDULERS),
        ("strategies", catalog.STRATEGIES),
        ("runtimes", catalog.RUNTIMES),
        ("meters", catalog.METERS),
    ):
        rows.append(f"| {what} | {', '.join(f'`{n}`' for n in sorted(members))} | |")
    return "\n".join(rows)


def figures() -> str:
    """What the techniques do, and how many goals of the other benchmarks were met."""
    found = {p.stem: json.loads(p.read_text())["figures"] for p in results()}
    rows = [*HEAD, *map(row, found.pop("techniques", []))]
    for name, some in found.items():
        missed = [f["what"] for f in some if not f["met"]]
        told = f"; missed: {'; '.join(missed)}" if missed else ""
        met = len(some) - len(missed)
        rows.append(f"| `bench.{name}` | {met} of {len(some)} goals met{told} | | |")
    return "\n".join(rows)


def every() -> str:
    """Each figure of each benchmark, met or not."""
    parts = []
    for path in results():
        some = json.loads(path.read_text())["figures"]
        parts.append("\n".join([f"## bench.{path.stem}", "", *HEAD, *map(row, some)]))
    return "\n\n".join(parts)


def row(figure: dict[str, Any]) -> str:
    """A line of a table."""
    met = "met" if figure["met"] else "**missed**"
    value = f"{figure['value']:.3g} {figure['unit']}".strip()
    if figure["low"] != figure["high"]:
        value += f" ({figure['low']:.3g}–{figure['high']:.3g})"
    what = figure["what"].replace("|", "\\|")
    return f"| {what} | {value} | {figure['goal']} | {met} |"


def results() -> list[Path]:
    return sorted((ROOT / "bench" / "results").glob("*.json"))


if __name__ == "__main__":
    sys.exit(main())
