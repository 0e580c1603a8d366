"""Writes a benchmark's figures as they come, so that a long one can be resumed."""

from __future__ import annotations

import argparse
import functools
import json
import os
import platform
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "results"


class Results:
    """`bench/results/NAME.json`.

    Args:
        name: of the benchmark.
        quick: keep nothing; a smoke run only shows that the benchmark works.
    """

    def __init__(self, name: str, quick: bool = False) -> None:
        self.path = FOLDER / f"{name}.json"
        self.quick = quick
        self.content: dict[str, Any] = {
            "version": 1,
            "environment": _environment(),
            "commit": _commit(),
            "figures": [],
            "rows": [],
        }

    def figure(
        self,
        what: str,
        value: float,
        goal: str,
        met: bool,
        unit: str = "",
        low: float | None = None,
        high: float | None = None,
    ) -> None:
        """Notes one figure, met or not, and prints it."""
        row = {
            "what": what,
            "value": float(value),
            "low": float(value if low is None else low),
            "high": float(value if high is None else high),
            "unit": unit,
            "goal": goal,
            "met": bool(met),
        }
        self.content["figures"].append(row)
        verdict = "met" if met else "MISSED"
        print(f"{what}: {value:.4g} {unit} (goal {goal}): {verdict}", flush=True)

    def row(self, **facts: Any) -> None:
        self.content["rows"].append(facts)

    def part(self, name: str, run: Callable[[], None]) -> None:
        """Runs one part, and keeps its figures in place of its earlier ones."""
        self.content["figures"], self.content["rows"] = [], []
        run()
        if self.quick:
            return
        kept: dict[str, Any] = {"version": 1, "parts": {}}
        if self.path.exists():
            kept = json.loads(self.path.read_text())
        parts = kept.setdefault("parts", {})
        parts[name] = {
            k: self.content[k] for k in ("environment", "commit", "figures", "rows")
        }
        whole = {
            "version": 1,
            "environment": self.content["environment"],
            "commit": self.content["commit"],
            "figures": [f for p in parts.values() for f in p["figures"]],
            "rows": [r for p in parts.values() for r in p["rows"]],
            "parts": parts,
        }
        FOLDER.mkdir(exist_ok=True)
        self.path.write_text(json.dumps(whole, indent=1) + "\n")


Part = Callable[[Results, bool], None]


def command(name: str, doc: str | None, parts: Mapping[str, Part]) -> None:
    """The command line of a benchmark: all of its parts, or those that are named.

    Args:
        name: of the benchmark.
        doc: its help text.
        parts: by name, each called with where its figures go, and whether to be quick.
    """
    parser = argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="*", help=f"of {', '.join(parts)}; all")
    parser.add_argument("--quick", action="store_true", help="a smoke run")
    asked = parser.parse_args()
    if unknown := set(asked.parts) - set(parts):
        parser.error(f"no part {', '.join(unknown)}; there are {', '.join(parts)}")
    results = Results(name, asked.quick)
    for part in asked.parts or parts:
        results.part(part, functools.partial(parts[part], results, asked.quick))


def _environment() -> dict[str, Any]:
    return {
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "cores": os.cpu_count(),
    }


def _commit() -> str:
    told = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parent,
    )
    return told.stdout.strip()
