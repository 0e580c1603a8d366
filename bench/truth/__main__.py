"""python -m bench.truth: whether what is measured and said is true.

python -m bench.truth --quick              a smoke run
python -m bench.truth same difference      some parts
"""

from __future__ import annotations

import argparse
import functools

from bench._results import Results
from bench.truth import (
    coverage,
    difference,
    memory,
    null_search,
    parity,
    same,
    sleeps,
    speed,
    winners_curse,
)

PARTS = {
    "same": same.run,
    "difference": difference.run,
    "memory": memory.run,
    "speed": speed.run,
    "sleeps": sleeps.run,
    "null_search": null_search.run,
    "coverage": coverage.run,
    "winners_curse": winners_curse.run,
    "parity": parity.run,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", help=f"of {', '.join(PARTS)}; all")
    parser.add_argument("--quick", action="store_true", help="a smoke run")
    asked = parser.parse_args()
    if unknown := set(asked.parts) - set(PARTS):
        parser.error(f"no part {', '.join(unknown)}; there are {', '.join(PARTS)}")
    results = Results("truth", asked.quick)
    for name in asked.parts or PARTS:
        results.part(name, functools.partial(PARTS[name], results, asked.quick))


if __name__ == "__main__":
    main()
