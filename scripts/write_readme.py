"""Fills in the parts of the README that are generated: the catalogue and the figures.

python scripts/write_readme.py
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

from paretune import catalog

ROOT = Path(__file__).parents[1]


def main() -> None:
    path = ROOT / "README.md"
    text = path.read_text()
    text = put(text, "catalogue", catalogue())
    text = put(text, "figures", figures())
    path.write_text(text)


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
        ("strategies", catalog.STRATEGIES),
        ("runtimes", catalog.RUNTIMES),
        ("meters", catalog.METERS),
    ):
        rows.append(f"| {what} | {', '.join(f'`{n}`' for n in sorted(members))} | |")
    return "\n".join(rows)


def figures() -> str:
    """A table of every figure in bench/results, met or not."""
    rows = ["| what | figure | goal | |", "|---|---|---|---|"]
    for path in sorted((ROOT / "bench" / "results").glob("*.json")):
        for figure in json.loads(path.read_text())["figures"]:
            met = "met" if figure["met"] else "**missed**"
            value = f"{figure['value']:.3g} {figure['unit']}".strip()
            if figure["low"] != figure["high"]:
                value += f" ({figure['low']:.3g}–{figure['high']:.3g})"
            rows.append(f"| {figure['what']} | {value} | {figure['goal']} | {met} |")
    return "\n".join(rows)


if __name__ == "__main__":
    sys.exit(main())
