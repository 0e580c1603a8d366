"""python -m bench.search: what a search costs, and what it finds for that.

python -m bench.search              all of it
python -m bench.search --quick      a smoke run
python -m bench.search engine       one part

A part is a module of this folder with a function `run(results, quick)`.
"""

from __future__ import annotations

import importlib
from pathlib import Path

from bench._results import Part, Results, command


def _part(name: str) -> Part:
    def run(results: Results, quick: bool) -> None:
        importlib.import_module(f"bench.search.{name}").run(results, quick)

    return run


def _names() -> list[str]:
    """The modules that have a part, in the order of their names."""
    files = sorted(Path(__file__).parent.glob("[!_]*.py"))
    return [f.stem for f in files if "\ndef run(" in f.read_text()]


if __name__ == "__main__":
    command("search", __doc__, {name: _part(name) for name in _names()})
