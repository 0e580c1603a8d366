"""Cells of `labels`, trained side by side and kept one by one."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

from paretune.core.measurement import Measurement
from paretune.core.worker import Worker, WorkFailed
from paretune.engine.labels.outcome import READING, STUDY, test_key
from paretune.engine.labels.plan import PRETRAINING, WEIGHTS, Cell
from paretune.store.journal import Journal

Event = Callable[[str, Mapping[str, Any]], None]
TIMEOUT_S = 4 * 3600.0


class Course:
    """Does what is left of a plan.

    Args:
        crew: the workers.
        journal: where each cell is kept as it ends.
        folder: of the cells' models.
        known: records of the journal by key; grows with it.
        on_event: told what happens.
    """

    def __init__(
        self,
        crew: Sequence[Worker],
        journal: Journal,
        folder: Path,
        known: dict[str, Any],
        on_event: Event,
    ) -> None:
        self._crew, self._journal, self._folder = crew, journal, folder
        self._known, self._tell = known, on_event
        self._changed = threading.Condition()
        self._waiting: list[Cell] = []
        self._running: set[Cell] = set()
        self._failed = False

    def through(self, plan: Sequence[Cell]) -> None:
        """Trains every cell of a plan that isn't there yet.

        One that fails is left out, and so is what needs it. It fails again with the
        same seed, so that it is kept as failed; unless memory or time ran out or the
        worker was lost, after which the next call tries again.

        Raises:
            ParetuneError: the task or the store can't be used, or it was stopped; those
                that run end first.
        """
        self._waiting = [c for c in plan if not self._there(c)]
        steps = self._known[STUDY]["steps"]
        done = len(plan) - len(self._waiting)
        self._tell(
            "phase",
            {
                "what": f"{len(self._waiting)} trainings of about {steps} steps"
                + (f"; {done} are there already" if done else "")
            },
        )
        self._all = sum(WEIGHTS[c.method] for c in self._waiting)
        self._left, self._began = self._all, time.monotonic()
        with ThreadPoolExecutor(len(self._crew)) as pool:
            futures = [pool.submit(self._work, worker) for worker in self._crew]
            try:
                wait(futures, return_when=FIRST_EXCEPTION)
            except BaseException:  # an interrupt: nobody waits for what runs
                self._stop()
                for worker in self._crew:
                    worker.close()
                raise
            for future in futures:
                future.result()

    def judge(self, plan: Sequence[Cell]) -> None:
        """Reads the test split for the cells that it wasn't read for; counted."""
        unread = [
            c
            for c in plan
            if "validation" in self._known.get(c.key, {})
            and test_key(c) not in self._known
        ]
        if not unread:
            return
        number = self._known.get(READING, {}).get("number", 0) + 1
        self._keep({"key": READING, "number": number})  # even if it is cut short
        self._tell("phase", {"what": "reading the test split"})
        for cell in unread:
            asks = {"cell": cell.to_json(), "folder": str(self._folder)}
            told = self._crew[0].do("labels", {"what": "test", **asks})
            self._keep({"key": test_key(cell), "test": told["test"]})

    def _there(self, cell: Cell) -> bool:
        record = self._known.get(cell.key)
        if record is None:
            return False
        left_out = "unsupported" in record or "failed" in record
        return left_out or (self._folder / cell.key).is_dir()

    def _work(self, worker: Worker) -> None:
        while cell := self._next():
            try:
                self._train(worker, cell)
            except BaseException:
                self._stop()
                raise
            with self._changed:
                self._running.discard(cell)
                self._changed.notify_all()

    def _stop(self) -> None:
        with self._changed:
            self._failed = True
            self._changed.notify_all()

    def _next(self) -> Cell | None:
        """The first cell that waits for nothing; None when there are none left."""
        with self._changed:
            while self._waiting and not self._failed:
                busy = {*self._waiting, *self._running}
                for cell in self._waiting:
                    if busy.isdisjoint(cell.needs):
                        self._waiting.remove(cell)
                        self._running.add(cell)
                        return cell
                self._changed.wait()
            return None

    def _train(self, worker: Worker, cell: Cell) -> None:
        record = self._left_out(cell) or self._result(worker, cell)
        with self._changed:
            self._keep({"key": cell.key, **cell.to_json(), **record})
            self._left -= WEIGHTS[cell.method]
            spent = time.monotonic() - self._began
            rest = spent * self._left / max(self._all - self._left, 1e-9)
        self._tell("cell", {"cell": cell, "record": record, "left_s": rest})

    def _left_out(self, cell: Cell) -> dict[str, Any] | None:
        """Why a cell can't be trained after what became of those that it needs."""
        if cell.method == "distillation" and self._known[STUDY]["teacher"] is not None:
            return None
        for other in cell.needs:
            record = self._known.get(other.key, {})
            if "failed" in record:
                why = f"{other.method} failed: {record['failed']}"
                return {"failed": why, "again": record["again"]}
            if other.method == PRETRAINING and "unsupported" in record:
                return {"unsupported": record["unsupported"]}
        return None

    def _result(self, worker: Worker, cell: Cell) -> dict[str, Any]:
        """What a training came to; with "again" if another try may come to more.

        Raises:
            ParetuneError: see `through`.
        """
        study = self._known[STUDY]
        asks = {
            "what": "train",
            "cell": cell.to_json(),
            "steps": study["steps"],
            "folder": str(self._folder),
            "validation": self._judged(cell),
            "teacher": study["teacher"],
        }
        try:
            return worker.do("labels", asks, timeout_s=TIMEOUT_S)
        except WorkFailed as failed:
            if failed.word == "stopped":
                raise
            again = failed.lost or failed.word == "oom"
            return {"failed": failed.message, "again": again}

    def _judged(self, cell: Cell) -> dict[str, float]:
        """Quality on validation of what a cell needs, by key."""
        records = {c.key: self._known.get(c.key, {}) for c in cell.needs}
        return {
            key: Measurement.from_json(record["validation"]).value
            for key, record in records.items()
            if "validation" in record
        }

    def _keep(self, record: dict[str, Any]) -> None:
        if not record.get("again"):
            self._journal.append(record)
        self._known[record["key"]] = record
