"""Works in the calling process: for debugging, and where no process can be started."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

from paretune.core.worker import Worker
from paretune.engine.bench import Bench
from paretune.workers._answer import answer, bench_of, result


class InProcess(Worker):
    """Runs each operation on the spot; a crash of a native library ends it all."""

    @cached_property
    def _bench(self) -> Bench:
        return bench_of(self.job, self.progress)

    def do(
        self,
        operation: str,
        arguments: Mapping[str, Any],
        timeout_s: float | None = None,
    ) -> dict[str, Any]:
        return result(answer(self._bench, operation, arguments))

    def close(self) -> None: ...
