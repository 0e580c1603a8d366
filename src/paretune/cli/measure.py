"""`paretune measure`: one file on one target."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from paretune.cli import _options as o


def command(
    artifact: Annotated[Path, typer.Argument(metavar="ARTIFACT", help="A model file.")],
    task: o.TaskArgument,
    runtime: o.RuntimeOption = "onnxruntime",
    threads: o.ThreadsOption = 1,
    batch: o.BatchOption = 1,
    scenario: o.ScenarioOption = "single_stream",
    store: o.StoreOption = None,
    data: o.DataOption = None,
    estimate_energy: o.EstimateOption = False,
    json: o.JsonOption = False,
) -> None:
    """Measure a model file on a target, with the task's data."""
    import json as text

    from paretune import api
    from paretune.core.errors import MeasurementError
    from paretune.report.table import figure

    o.use_data(data)
    if not artifact.is_file():
        raise MeasurementError("model-not-found", f"there is no file {artifact}.")
    where = o.target(runtime, threads, batch, scenario)
    taken = api.measure(artifact, task, where, store, estimate_energy=estimate_energy)
    if json:
        print(text.dumps({k: m.to_json() for k, m in taken.items()}, indent=2))
        return
    for measurement in taken.values():
        own = f"{measurement.metric}: "
        known = "; ".join(flag.removeprefix(own) for flag in measurement.flags)
        print(f"{figure(measurement)} ({known})" if known else figure(measurement))
