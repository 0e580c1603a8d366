"""The worker process: reads requests as lines of JSON, answers with lines of JSON."""

from __future__ import annotations

import ctypes
import faulthandler
import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from paretune.core.target import Target
from paretune.core.worker import Job
from paretune.workers._answer import answer, bench_of, describe

PR_SET_PDEATHSIG = 1
PROGRESS_EVERY_S = 0.2


def serve(job: Job, requests: int, answers: int, scratch: Path, parent: int) -> None:
    """Works until `requests` ends.

    Args:
        job: what to work on.
        requests: file descriptor of lines {"do": operation, "with": arguments}.
        answers: file descriptor for lines {"progress": [what, share]}, then
            {"result": ...} or {"error": ...}.
        scratch: a folder for temporary files, which the parent removes.
        parent: the process that started this one.
    """
    die_with(parent)
    faulthandler.enable(2)  # a native crash leaves its stack in the log
    said = [0.0]
    with os.fdopen(requests, "r") as lines, os.fdopen(answers, "w") as out:

        def say(message: Mapping[str, Any]) -> None:
            out.write(json.dumps(message) + "\n")
            out.flush()

        def progress(what: str, share: float) -> None:
            now = time.monotonic()
            if now - said[0] > PROGRESS_EVERY_S:
                said[0] = now
                say({"progress": [what, round(share, 3)]})

        try:
            bench = bench_of(job, progress, scratch)
        except Exception as error:
            lines.readline()
            traceback.print_exc()
            say({"error": describe(error)})
            return
        for line in lines:
            request = json.loads(line)
            answered = answer(bench, request["do"], request["with"])
            if "error" in answered:
                print(answered["error"], file=sys.stderr, flush=True)  # noqa: T201
            say(answered)


def die_with(parent: int) -> None:
    """Asks Linux to end this process when its parent ends, however that happens."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it died before the line above
            os._exit(1)


def main() -> None:
    """Entry of a fresh worker process: one argument, the job as JSON."""
    told = json.loads(sys.argv[1])
    job = Job(
        told["reference"],
        Target.from_json(told["target"]),
        Path(told["root"]),
        told["seed"],
    )
    scratch = Path(told["scratch"])
    serve(job, told["requests"], told["answers"], scratch, told["parent"])


if __name__ == "__main__":
    main()
