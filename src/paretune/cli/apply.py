"""`paretune apply`: one recipe."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from paretune.cli import _options as o


def command(
    recipe: Annotated[Path, typer.Argument(metavar="RECIPE", help="A YAML file.")],
    task: o.TaskArgument,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Copy the artifact here.")
    ] = None,
    runtime: o.RuntimeOption = "onnxruntime",
    threads: o.ThreadsOption = 1,
    batch: o.BatchOption = 1,
    store: o.StoreOption = None,
    data: o.DataOption = None,
) -> None:
    """Apply one recipe to a task's model and measure the result."""
    import shutil

    from paretune import api, catalog
    from paretune.cli._applying import Told, lines

    o.use_data(data)
    o.check_output(output)
    steps = catalog.read_recipe(recipe)
    told = Told()
    trial, path = api.apply(
        steps,
        task,
        o.target(runtime, threads, batch),
        store,
        on_progress=told.slot,
        on_event=told.event,
    )
    for line in lines(trial, told.baseline):
        print(line)
    if output:
        with api.writing(output):
            shutil.copyfile(path, output)
    print(output or path)
