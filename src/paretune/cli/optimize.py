"""`paretune optimize`: search."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from paretune.cli import _options as o


def command(
    task: o.TaskArgument,
    require: Annotated[
        str,
        typer.Option(
            help="What the device allows, such as "
            "'latency_p50<=5ms, size<=200kB, accuracy>=baseline-1pt'."
        ),
    ] = "",
    budget: o.BudgetOption = None,
    trials: Annotated[
        int | None, typer.Option(min=1, help="Trials for the whole study.")
    ] = None,
    study: o.NameOption = None,
    store: o.StoreOption = None,
    data: o.DataOption = None,
    strategy: Annotated[
        str | None,
        typer.Option(help="Who shapes recipes [default: shrink_and_improve]."),
    ] = None,
    sampler: Annotated[str, typer.Option(help="Who fills in their values.")] = "tpe",
    scheduler: o.SchedulerOption = None,
    curves: Annotated[
        bool,
        typer.Option(
            "--curves/--no-curves",
            help="Leave halted trials that can't reach the frontier any more.",
        ),
    ] = True,
    rungs_over: Annotated[
        str | None,
        typer.Option(
            help="What a halted trial has had a share of: length or data "
            "[default: length]."
        ),
    ] = None,
    objectives: Annotated[
        str | None,
        typer.Option(
            help="Axes of the frontier besides quality "
            "[default: size,latency_p50; offline: size,throughput]."
        ),
    ] = None,
    epochs: Annotated[
        int | None, typer.Option(min=1, help="Epochs of a training in a recipe.")
    ] = None,
    runtime: o.RuntimeOption = "onnxruntime",
    threads: o.ThreadsOption = 1,
    batch: o.BatchOption = 1,
    scenario: o.ScenarioOption = "single_stream",
    workers: o.WorkersOption = None,
    supernet: Annotated[
        bool,
        typer.Option(
            "--supernet",
            help="Also train one net for many widths, and take narrow ones out.",
        ),
    ] = False,
    recipes: Annotated[
        Path | None,
        typer.Option(help="Run exactly the recipes of this YAML file."),
    ] = None,
    warm_start: o.WarmOption = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="A first look: fewer launches are timed.")
    ] = False,
    timeout: o.TimeoutOption = "1h",
    seed: o.SeedOption = 0,
    estimate_energy: o.EstimateOption = False,
    grid: o.GridOption = None,
    json: o.JsonOption = False,
) -> int:
    """Search for smaller and faster versions of a task's model.

    Without --budget and --trials, 20 trials are run; with --recipes, all of them.
    Ctrl-C stops and keeps all; the same command goes on from there.
    """
    from paretune import api
    from paretune.cli._run import run

    o.use_data(data)
    seconds = o.seconds(budget)
    return run(
        task,
        as_json=json,
        study=study,
        store=store,
        target=o.target(runtime, threads, batch, scenario),
        require=require,
        seconds=seconds,
        trials=trials or (20 if seconds is None and recipes is None else None),
        strategy=strategy or ("sweep" if recipes else "shrink_and_improve"),
        recipes=api.read_recipes(recipes) if recipes else (),
        sampler=sampler,
        scheduler=scheduler,
        curves=curves,
        rungs_over=rungs_over,
        objectives=o.axes(objectives, scenario),
        epochs=epochs,
        workers=workers,
        seed=seed,
        timeout_s=o.seconds(timeout) or 3600.0,
        supernet=supernet,
        warm_start=tuple(warm_start or ()),
        quick=quick,
        estimate_energy=estimate_energy,
        grid=grid,
    )
