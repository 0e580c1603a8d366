"""Starts the process of an isolated worker."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import traceback
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

from paretune.core.worker import Job
from paretune.store._files import storing, sweep, workspace
from paretune.workers._process import OUTPUT, Process

# One thread a worker: two on the same core spin for each other and lose manyfold.
ONE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_WAIT_POLICY": "PASSIVE",
    "KMP_BLOCKTIME": "0",
}


class Starter:
    """The one thread that starts workers.

    Linux ends a worker with the *thread* that started it, so that has to be one that
    lasts as long as this process. `lock` is held while a worker is started.
    """

    def __init__(self) -> None:
        self.renew()

    def renew(self) -> None:
        self.lock = threading.Lock()
        self.thread = ThreadPoolExecutor(1, "paretune-starter")


STARTER = Starter()
os.register_at_fork(after_in_child=STARTER.renew)  # a fork has no other threads


def start(job: Job) -> Process:
    """A worker process; call it in the starter's thread, with its lock held.

    Raises:
        StoreError: the store has no room for its folder, or can't be written to.
    """
    scratch = job.root / "scratch"
    with ExitStack() as held, ExitStack() as passed:
        with storing(scratch):
            scratch.mkdir(parents=True, exist_ok=True)
            sweep(scratch)
            folder = held.enter_context(workspace(scratch))
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
            log = os.open(folder / OUTPUT, flags, 0o600)
        passed.callback(os.close, log)
        inward, requests = os.pipe()
        passed.callback(os.close, inward)
        held.callback(os.close, requests)
        answers, outward = os.pipe()
        passed.callback(os.close, outward)
        held.callback(os.close, answers)
        if job.task is None:
            pid = _spawn(job, folder, log, inward, outward)
        else:
            pid = _fork(job, folder, log, inward, outward, (requests, answers))
        return Process(pid, requests, answers, folder, held.pop_all())


def _spawn(job: Job, folder: Path, log: int, inward: int, outward: int) -> int:
    told = {
        "reference": job.reference,
        "target": job.target.to_json(),
        "root": str(job.root),
        "seed": job.seed,
        "requests": inward,
        "answers": outward,
        "scratch": str(folder),
        "parent": os.getpid(),
    }
    child = subprocess.Popen(
        [sys.executable, "-m", "paretune.workers._serve", json.dumps(told)],
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        pass_fds=(inward, outward),
        start_new_session=True,
        env={**os.environ, **ONE_THREAD},
    )
    child.returncode = 0  # the process is waited for by its number, in Process.end
    return child.pid


def _fork(
    job: Job,
    folder: Path,
    log: int,
    inward: int,
    outward: int,
    others: tuple[int, ...],
) -> int:
    parent = os.getpid()
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        os.setsid()
        os.dup2(log, 1)
        os.dup2(log, 2)
        for handle in others:
            os.close(handle)
        os.environ.update(ONE_THREAD)
        if "torch" in sys.modules:
            sys.modules["torch"].set_num_threads(1)
        from paretune.workers._serve import serve

        serve(job, inward, outward, folder, parent)
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)
