"""`paretune tune`: hyper-parameters of training, and nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from paretune.cli import _options as o


def command(
    task: o.TaskArgument,
    start: Annotated[
        str,
        typer.Option(
            help="Train on from the task's weights (trained), or from new ones (fresh)."
        ),
    ] = "trained",
    epochs: Annotated[
        int | None,
        typer.Option(min=1, help="Epochs of every training [default: by --budget]."),
    ] = None,
    budget: o.BudgetOption = None,
    trials: Annotated[
        int | None, typer.Option(min=1, help="Settings to try [default: 20].")
    ] = None,
    sampler: Annotated[
        str,
        typer.Option(
            help="Who chooses the values: tpe, gaussian_process, "
            "regularized_evolution, nsga2 or random_search."
        ),
    ] = "tpe",
    scheduler: o.SchedulerOption = None,
    study: o.NameOption = None,
    store: o.StoreOption = None,
    data: o.DataOption = None,
    warm_start: o.WarmOption = None,
    workers: o.WorkersOption = None,
    timeout: o.TimeoutOption = "1h",
    seed: o.SeedOption = 0,
    save: Annotated[
        Path | None,
        typer.Option(help="Write the best setting as a recipe, such as recipe.yaml."),
    ] = None,
    json: o.JsonOption = False,
) -> int:
    """Find good hyper-parameters: how to train, with the model as it is.

    Learning rate and schedule, batch, augmentation, weight decay, label smoothing and
    averaging; judged by the task's first metric alone. Such as:
    paretune tune fashion --epochs 2 --trials 12 --save recipe.yaml
    """
    import json as values

    from paretune import api, catalog
    from paretune.cli import _run
    from paretune.report import tuned

    o.use_data(data)
    o.check_output(save)
    seconds = o.seconds(budget)
    found = _run.searched(
        task,
        study=study,
        store=store,
        seconds=seconds,
        trials=trials or (20 if seconds is None else None),
        strategy="tune",
        start=start,
        sampler=sampler,
        scheduler=scheduler,
        objectives=(),
        epochs=epochs,
        workers=workers,
        seed=seed,
        timeout_s=o.seconds(timeout) or 3600.0,
        warm_start=tuple(warm_start or ()),
        quick=True,
    )
    if found is None:
        return _run.INTERRUPTED
    if save is not None:
        with api.writing(save):
            text = catalog.write_recipe(tuned.best(found).steps)
            save.write_text(text, encoding="utf-8")
    if json:
        told = tuned.record(found)
        print(
            values.dumps(
                {**told, "saved": None if save is None else str(save)}, indent=2
            )
        )
        return 0
    for line in tuned.lines(found):
        print(line)
    if save is not None:
        print(f"{save}: to use it, paretune apply {save} {task}")
    return 0
