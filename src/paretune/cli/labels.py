"""`paretune labels`: quality against the number of labels."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from paretune.cli import _options as o


def command(
    task: o.TaskArgument,
    shares: Annotated[
        str, typer.Option(help="Shares of the labels, in per cent.")
    ] = "1, 5, 10, 25, 100",
    seeds: Annotated[
        int, typer.Option(help="Choices of labels and first weights.")
    ] = 3,
    epochs: Annotated[
        int | None,
        typer.Option(
            help="Length of each training, in passes over the whole split [default: "
            "what the budget allows]."
        ),
    ] = None,
    budget: Annotated[str, typer.Option(help="Wall time, roughly.")] = "10m",
    quality: Annotated[
        str | None,
        typer.Option(help="Tell how many labels this quality needs: 0.85, or 85%."),
    ] = None,
    teacher: Annotated[
        str | None,
        typer.Option(
            help="A teacher of the task's own (baseline, ...), which may have seen all "
            "labels [default: the best that learned from the same labels]."
        ),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="An HTML file with the plot.")
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(min=1, help="Trainings side by side [default: the cores]."),
    ] = None,
    store: o.StoreOption = None,
    data: o.DataOption = None,
    json: o.JsonOption = False,
) -> int:
    """What labels are worth: quality against their number, by ways of training."""
    import json as text
    import sys

    from paretune import api
    from paretune.cli._labelling import Told, shares_of, wanted
    from paretune.report import labels

    o.use_data(data)
    o.check_output(output)
    told = Told()
    try:
        found = api.labels(
            task,
            shares_of(shares),
            seeds,
            epochs,
            o.seconds(budget) or api.LABEL_SECONDS,
            wanted(quality),
            teacher,
            store,
            workers,
            on_event=told.event,
            on_progress=told.slot,
        )
    except KeyboardInterrupt:
        print(
            "\nStopped; every training that was finished is kept. To go on, repeat the "
            "command.",
            file=sys.stderr,
        )
        return 130
    print(text.dumps(found, indent=2) if json else labels.plain(found))
    if output is not None:
        print(api.write_labels(found, output), file=sys.stderr)
    return 0
