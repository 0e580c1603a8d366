"""`paretune plan`: what a list of recipes would take."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from paretune.cli import _options as o


def command(
    task: o.TaskArgument,
    recipes: Annotated[Path, typer.Option(help="A YAML file with a list of recipes.")],
    workers: o.WorkersOption = None,
    runtime: o.RuntimeOption = "onnxruntime",
    seed: o.SeedOption = 0,
    store: o.StoreOption = None,
    data: o.DataOption = None,
    json: o.JsonOption = False,
) -> None:
    """Tell what running recipes would take; nothing is trained.

    Steps that recipes share are told once, with those whose results are there
    already. `paretune optimize TASK --recipes FILE` runs them.
    """
    import json as text

    from rich.console import Console

    from paretune import api
    from paretune.cli._applying import Told
    from paretune.cli._planned import lines, tree

    o.use_data(data)
    told = api.plan(
        task,
        api.read_recipes(recipes),
        o.target(runtime, 1, 1),
        store,
        workers,
        seed,
        on_event=Told().event,
    )
    if json:
        print(text.dumps(told, indent=2))
        return
    Console(highlight=False, soft_wrap=True).print(tree(told))
    for line in lines(told):
        print(line)
