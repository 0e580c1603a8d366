"""python -m bench.truth: whether what is measured and said is true.

python -m bench.truth --quick              a smoke run
python -m bench.truth same difference      some parts
"""

from __future__ import annotations

from bench._results import command
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


if __name__ == "__main__":
    command("truth", __doc__, PARTS)
