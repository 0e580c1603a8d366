"""Starts fresh processes that artifacts are timed in, with what they need."""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from paretune import catalog
from paretune.core import errors
from paretune.core.candidate import Artifact
from paretune.core.errors import MeasurementError
from paretune.core.meter import Subject
from paretune.core.target import Arrays, Runtime, Target
from paretune.core.task import Task, as_arrays
from paretune.engine._launch import Launched
from paretune.measurement._samples import by_shape, count, rows

DISTINCT = 16  # batches of inputs
LARGEST = 2**28  # bytes of inputs; large batches get fewer of them
LIMIT_S = 300.0  # for one answer
PACKAGE = Path(__file__).parents[2]
TOPOLOGY = "/sys/devices/system/cpu/cpu{}/topology/core_cpus_list"


def start(
    runtime: str,
    artifact: Artifact | None,
    target: Target,
    inputs: Path,
    cores: Sequence[int] | None = None,
    limit_s: float = LIMIT_S,
) -> Launched:
    """Starts a process and returns at once; it gets ready meanwhile.

    Args:
        runtime: its name.
        artifact: what to load; None stands for an empty session of the runtime, or
            for its import alone where its format has none.
        target: threads and batch.
        inputs: a file that `write_inputs` wrote.
        cores: that the process is bound to; by default `cores_for(target.threads)`.
        limit_s: seconds after which an answer is given up.

    Raises:
        MeasurementError: the target wants more threads than there are cores. Later,
            from the launch itself, "launch-crash", "launch-timeout" or "launch-oom".
    """
    loaded = _empty(runtime, inputs.parent) if artifact is None else artifact
    request = {
        "runtime": runtime,
        "artifact": None if loaded is None else _record(loaded),
        "empty": artifact is None,
        "target": target.to_json(),
        "inputs": str(inputs),
        "cores": list(cores_for(target.threads) if cores is None else cores),
    }
    name = "no artifact" if artifact is None else artifact.path.name
    around = surroundings(target.threads, catalog.RUNTIMES[runtime].serving)
    return Launched(request, f"{name} on {runtime}", around, limit_s)


def subject(
    runtime: Runtime, artifact: Artifact, target: Target, task: Task, inputs: Path
) -> Subject:
    """An artifact as meters take it."""
    return Subject(
        artifact,
        target,
        task,
        load=lambda: runtime.load(artifact, target),
        launch=lambda empty: start(
            runtime.name(), None if empty else artifact, target, inputs
        ),
    )


def check_target(runtime: Runtime, target: Target) -> None:
    """Refuses what can't be measured here, before anything is spent on it.

    Raises:
        MeasurementError: more threads than cores, or a scenario that the runtime can't
            serve.
    """
    cores_for(target.threads)
    if target.scenario not in runtime.scenarios:
        raise MeasurementError(
            "scenario",
            f"{runtime.name()} can't serve the scenario {target.scenario!r}; it can "
            f"{' and '.join(map(repr, runtime.scenarios))}.",
        )


def cores_for(threads: int) -> list[int]:
    """The cores for that many threads: the last ones, one hardware thread of each.

    The first core, which most interrupts and the parent come to, stays free if it can.

    Raises:
        MeasurementError: there are not as many.
    """
    if not hasattr(os, "sched_getaffinity"):
        return []
    cores: dict[str, int] = {}
    siblings: list[int] = []
    for cpu in sorted(os.sched_getaffinity(0)):
        path = Path(TOPOLOGY.format(cpu))
        core = path.read_text() if path.is_file() else str(cpu)
        if cores.setdefault(core, cpu) != cpu:
            siblings.append(cpu)
    usable = [*siblings, *cores.values()]
    if threads > len(usable):
        raise MeasurementError(
            "target-threads",
            f"the target has {threads} threads and this process may use "
            f"{len(usable)} cores; give it at most {max(1, len(usable) - 1)}, so that "
            "one is left for the rest of the system.",
        )
    return usable[-threads:]


def write_inputs(task: Task, target: Target, path: Path) -> None:
    """Writes real batches of `target.batch` validation samples, for launches to run on.

    There are 16, as distinct as the split allows, of every shape in turn; fewer, but
    2 at least, where they would be larger than 256 MiB.

    Raises:
        TaskError: the split is empty.
    """
    batches = (as_arrays(inputs, "input") for inputs, _ in task.batches("validation"))
    groups = by_shape(batches, DISTINCT * target.batch)
    if not groups:
        raise errors.TaskError(
            "data-empty",
            f"batches('validation') of task {task.name!r} gives no sample to time on.",
        )
    arrays: dict[str, np.ndarray] = {}
    written = 0
    for number, batch in enumerate(_batches(groups, target.batch)):
        if number >= 2 and written > LARGEST:
            break
        written += sum(array.nbytes for array in batch.values())
        arrays |= {f"{number:03d}/{name}": array for name, array in batch.items()}
    with path.open("wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]


def _batches(groups: list[Arrays], size: int) -> Iterator[Arrays]:
    """16 batches of `size`, from each group in turn."""
    rng = np.random.default_rng(0)
    for number in range(DISTINCT):
        group = groups[number % len(groups)]
        begin = number // len(groups) * size
        if begin and begin + size > count(group):  # new mixtures of the same samples
            order = rng.permutation(count(group))
            group, begin = {name: a[order] for name, a in group.items()}, 0
        yield rows(group, begin, size)


def _empty(runtime: str, folder: Path) -> Artifact | None:
    """The artifact of an empty session, for runtimes whose format has one."""
    format_ = catalog.RUNTIMES[runtime].format
    module = importlib.import_module(f"paretune.infrastructure.formats.{format_}")
    if not hasattr(module, "write_empty"):
        return None
    artifact: Artifact = module.write_empty(folder / f"empty.{format_}")
    return artifact


def _record(artifact: Artifact) -> dict[str, Any]:
    return {
        "path": str(artifact.path.resolve()),
        "format": artifact.format,
        "sha256": artifact.sha256,
        "size": artifact.size,
    }


def surroundings(threads: int, serving: Mapping[str, str]) -> dict[str, str]:
    """A launch's environment: this package, and native threads that never spin.

    Args:
        threads: that native libraries may start.
        serving: what the runtime is served with.
    """
    limits = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    found = {
        **os.environ,
        **serving,
        **dict.fromkeys(limits, str(threads)),
        "OMP_WAIT_POLICY": "PASSIVE",
        "KMP_BLOCKTIME": "0",
    }
    if not PACKAGE.name.endswith("-packages"):  # installed ones are found anyway
        paths = filter(None, [str(PACKAGE), os.environ.get("PYTHONPATH")])
        found["PYTHONPATH"] = os.pathsep.join(paths)
    return found
