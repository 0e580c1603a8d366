"""`paretune attribute`: what each step of a recipe contributes."""

from __future__ import annotations

from typing import Annotated

import typer

from paretune.cli import _options as o


def command(
    study: o.StudyArgument,
    pick: Annotated[
        str,
        typer.Option(
            help="best: what the reports name; knee: the best bargain; smallest, "
            "fastest, quality: the best of that; or a trial's number."
        ),
    ] = "best",
    task: Annotated[
        str | None,
        typer.Option(help="The task, if it isn't where the study found it."),
    ] = None,
    quick: Annotated[
        bool, typer.Option(help="Time shortly: only large differences show.")
    ] = False,
    json: o.JsonOption = False,
    store: o.StoreOption = None,
    data: o.DataOption = None,
) -> None:
    """Run a recipe without each of its steps in turn: what does each contribute?

    The report shows it from then on. Example: paretune attribute mine --pick knee
    """
    import json as text
    import sys

    from paretune import api
    from paretune.report._attribution import plain

    o.use_data(data)
    found = api.load(study, store)
    trial = api.explained(found, pick)
    print(f"Leaving out each step of trial {trial.number} ...", file=sys.stderr)
    said = [""]

    def progress(slot: int, what: str, share: float) -> None:
        if not sys.stderr.isatty():
            what = what.partition(":")[0]
        if what != said[0]:
            print(f"  {what}", file=sys.stderr)
            said[0] = what

    told = api.attribute(
        found, str(trial.number), task, store, on_progress=progress, quick=quick
    )
    if json:
        print(text.dumps(told, indent=2))
    else:
        print(plain(found, trial, told))
