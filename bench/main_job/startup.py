"""`paretune list` and `--help` answer at once and load no framework."""

from __future__ import annotations

import subprocess
import sys
import time

from bench._results import Results

PROBE = """
import sys
from paretune.cli.main import main
try:
    main([{argument!r}])
except SystemExit:
    pass
heavy = {{"torch", "onnx", "onnxruntime", "optuna", "sqlalchemy", "scipy"}}
heavy &= set(sys.modules)
sys.stderr.write(",".join(sorted(heavy)))
"""


def run(results: Results, quick: bool) -> None:
    """Median of whole processes."""
    for argument in ("list", "--help"):
        spent = []
        for _ in range(3 if quick else 15):
            begin = time.monotonic()
            command = [sys.executable, "-m", "paretune.cli.main", argument]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            spent.append(time.monotonic() - begin)
        spent.sort()
        middle = spent[len(spent) // 2]
        results.figure(
            f"paretune {argument}",
            middle,
            "<= 0.5",
            middle <= 0.5,
            "s",
            spent[0],
            spent[-1],
        )
        told = subprocess.run(
            [sys.executable, "-c", PROBE.format(argument=argument)],
            check=True,
            capture_output=True,
            text=True,
        )
        heavy = [m for m in told.stderr.split(",") if m]
        results.figure(
            f"frameworks loaded by paretune {argument}", len(heavy), "== 0", not heavy
        )
