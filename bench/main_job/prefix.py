"""Prefix sharing: recipes with a common beginning pay for it once."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from bench._results import Results
from paretune.core.target import Target
from paretune.engine.bench import Bench
from paretune.engine.tasks import find_task

SCHEMES = (
    {"scheme": "static_int8", "calibration": "minmax", "samples": 64},
    {"scheme": "static_int8", "calibration": "minmax", "samples": 128},
    {"scheme": "static_int8", "calibration": "minmax", "samples": 256},
    {"scheme": "static_int8", "calibration": "minmax", "samples": 500},
    {"scheme": "static_int8", "calibration": "percentile", "samples": 64},
    {"scheme": "static_int8", "calibration": "percentile", "samples": 128},
    {"scheme": "static_int8", "calibration": "percentile", "samples": 256},
    {"scheme": "static_int8", "calibration": "percentile", "samples": 500},
    {"scheme": "static_int8", "calibration": "entropy", "samples": 64},
    {"scheme": "static_int8", "calibration": "entropy", "samples": 128},
    {"scheme": "dynamic_int8"},
    {"scheme": "float16"},
)


def run(results: Results, quick: bool) -> None:
    """12 recipes: prune, fine-tune (common), quantize in 12 ways."""
    task = find_task("fashion")
    common = [
        {"technique": "structured_pruning", "ratio": 0.5},
        {"technique": "fine_tuning", "epochs": 1 if quick else 3},
    ]
    schemes = SCHEMES[:2] if quick else SCHEMES
    recipes = [
        [*common, {"technique": "post_training_quantization", **s}] for s in schemes
    ]

    def spend(shared: bool) -> tuple[float, int]:
        """(wall seconds, how often the common fine-tuning was trained)."""
        trained, wall = 0, 0.0
        with tempfile.TemporaryDirectory() as first:
            for recipe in recipes:
                with tempfile.TemporaryDirectory() as own:
                    root = Path(first if shared else own)
                    bench = Bench(task, Target(), root)
                    begin = time.monotonic()
                    told = bench.realise(recipe, fingerprint="bench", judge=False)
                    wall += time.monotonic() - begin
                trained += sum(
                    t["step"] == "fine_tuning" and not t["cached"]
                    for t in told["trace"]
                )
        return wall, trained

    spend_warm = Bench(task, Target(), Path(tempfile.mkdtemp()))
    spend_warm.realise(recipes[0], fingerprint="warm", judge=False)
    together, once = spend(shared=True)
    apart, each = spend(shared=False)
    results.row(
        what="prefix", recipes=len(recipes), shared_s=together, unshared_s=apart
    )
    results.figure(
        f"prefix trained in {len(recipes)} shared recipes", once, "== 1", once == 1
    )
    results.figure(
        f"prefix trained in {len(recipes)} unshared recipes",
        each,
        f"== {len(recipes)}",
        each == len(recipes),
    )
    share = together / apart
    results.figure("wall time, shared over unshared", share, "<= 0.333", share <= 1 / 3)
