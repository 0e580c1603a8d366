"""What torch.compile gains, and how much training it takes to pay for itself."""

from __future__ import annotations

import statistics
import time
from typing import Any

import torch

from bench._results import Results
from bench.training._loops import alternate, available, by_hand, part, ratio, work


def run(results: Results, quick: bool) -> None:
    """In the mode that paretune takes, with one thread."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for name in ("fashion",) if quick else available():
            _compare(results, name, quick)
    finally:
        torch.set_num_threads(before)
        torch.compiler.reset()


def _compare(results: Results, name: str, quick: bool) -> None:
    given = work(part(name, 2 if quick else 8))
    plain = by_hand(given, given.ours)
    compiled = by_hand(given, given.ours, wrap=_compiled)
    plain()
    begin = time.monotonic()
    try:
        speed = compiled()
    except Exception as error:  # it needs a C++ compiler, among other things
        results.row(task=name, what="torch.compile", failed=str(error)[:200])
        print(f"{name}: torch.compile failed: {type(error).__name__}")
        return
    first = time.monotonic() - begin
    theirs, ours = alternate([compiled, plain], 1 if quick else 4)
    speed, eager = statistics.median(theirs), statistics.median(ours)
    spent = first - len(given.inputs) / speed
    share, low, high = ratio(theirs, ours)
    even = spent / (1 / eager - 1 / speed) if speed > eager else None
    results.row(
        task=name,
        what="torch.compile",
        compile_s=spent,
        times_eager=share,
        low=low,
        high=high,
        pays_back_after_samples=even,
        pays_back_after_s=None if even is None else even / eager,
    )
    told = "never" if even is None else f"after {even / eager:.0f} s of training"
    print(f"{name}: torch.compile {spent:.0f} s, {share:.2f}x, pays back {told}")


def _compiled(model: Any) -> Any:
    return torch.compile(model)
