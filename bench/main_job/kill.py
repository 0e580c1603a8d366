"""kill -9 of everything at random moments: nothing that was finished is lost."""

from __future__ import annotations

import contextlib
import hashlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench._results import Results
from paretune import api
from paretune.core.errors import StoreError

TASK = Path(__file__).parent / "small_task.py"
TRIALS = 6


def run(results: Results, quick: bool) -> None:
    """Kills a search of a small task at 30 random moments, resuming it every time."""
    kills = 2 if quick else 30
    rng = random.Random(0)
    lost = doubled = corrupt = unfinished = done = 0
    while done < kills:
        with tempfile.TemporaryDirectory() as folder:
            store = Path(folder)
            known: dict[int, str] = {}
            for _ in range(min(5, kills - done)):
                process = start(store)
                time.sleep(rng.uniform(1.0, 20.0))
                finish(process)
                done += 1
                now = finished(store)
                lost += sum(known.get(n) != s for n, s in now.items() if n in known)
                lost += len(known.keys() - now.keys())
                known = now
            process = start(store)
            code = process.wait()
            study = api.load("small", store)
            numbers = [t.number for t in study.trials]
            doubled += len(numbers) - len(set(numbers))
            unfinished += code != 0 or sum(t.number > 0 for t in study.trials) < TRIALS
            for trial in study.trials:
                path = study.path(trial)
                if path is not None:
                    content = hashlib.sha256(path.read_bytes()).hexdigest()
                    corrupt += content != trial.artifact
            lost += len(known.keys() - set(numbers))
        print(f"{done} kills: lost {lost}, doubled {doubled}, corrupt {corrupt}")
    results.row(what="kill", kills=done)
    results.figure(f"finished trials lost in {done} kills", lost, "== 0", lost == 0)
    results.figure("trials recorded twice", doubled, "== 0", doubled == 0)
    results.figure("corrupt artifacts accepted", corrupt, "== 0", corrupt == 0)
    results.figure("studies that did not complete", unfinished, "== 0", unfinished == 0)


def start(store: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "paretune.cli.main", "optimize", str(TASK)]
    options = ["--study", "small", "--store", str(store), "--trials", str(TRIALS)]
    return subprocess.Popen(
        [*command, *options, "--epochs", "1", "--quick"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def finish(process: subprocess.Popen[bytes]) -> None:
    """Kills the process group; workers are in groups of their own and must follow."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def finished(store: Path) -> dict[int, str]:
    """State and artifact of every finished trial, by number."""
    try:
        study = api.load("small", store)
    except StoreError:
        return {}  # killed before the study was begun
    return {t.number: f"{t.state} {t.artifact}" for t in study.trials}
