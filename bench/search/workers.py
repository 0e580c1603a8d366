"""Two local workers beside one, on trainings that share nothing.

The same small trainings of the built-in task `fashion`, each by another learning rate,
are done by one isolated worker and then by two, a thread each, every time in a store of
its own. Workers have started and have loaded the task before the clock does.
"""

from __future__ import annotations

import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from bench._results import Results
from paretune.core.worker import Worker
from paretune.learning.fine_tuning import FineTuning
from paretune.options import Options, crew_of, unheard

TRAININGS, EPOCHS = 8, 1


def run(results: Results, quick: bool) -> None:
    """How many times as fast two are."""
    trainings = 2 if quick else TRAININGS
    spent = {workers: _seconds(workers, trainings) for workers in (1, 2)}
    for workers, seconds in spent.items():
        results.row(
            what="workers", workers=workers, trainings=trainings, wall_s=seconds
        )
        print(
            f"{workers} workers: {trainings} trainings in {seconds:.1f} s", flush=True
        )
    gain = spent[1] / spent[2]
    what = "two local workers over one, disjoint trainings"
    results.figure(what, gain, ">= 1.8", gain >= 1.8)


def _seconds(workers: int, trainings: int) -> float:
    """Wall time of all of them."""
    rates = [1e-4 * (number + 1) for number in range(trainings)]
    left = iter(rates)  # whoever is free takes the next

    def ready(worker: Worker) -> str:
        return str(worker.do("preflight", {})["fingerprint"])

    def drain(worker: Worker, fingerprint: str) -> None:
        for rate in left:
            step = FineTuning(epochs=EPOCHS, learning_rate=rate).to_json()
            given = {"steps": [step], "fingerprint": fingerprint, "judge": False}
            worker.do("realise", given)

    with tempfile.TemporaryDirectory() as folder:
        asked = Options(workers=workers)
        with (
            crew_of("fashion", asked, Path(folder), unheard) as crew,
            ThreadPoolExecutor(workers) as pool,
        ):
            prints = list(pool.map(ready, crew))
            begin = time.monotonic()
            list(pool.map(drain, crew, prints))
            return time.monotonic() - begin
