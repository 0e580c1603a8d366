"""`paretune export`: a deploy bundle."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from paretune.cli import _options as o


def command(
    study: o.StudyArgument,
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder to make.")],
    pick: Annotated[
        str,
        typer.Option(
            help="best: what the reports name; knee: the best bargain; smallest, "
            "fastest, quality: the best of that; or a trial's number."
        ),
    ] = "best",
    store: o.StoreOption = None,
) -> None:
    """Write the chosen point as a folder that runs with onnxruntime and numpy alone."""
    import sys

    from paretune import api
    from paretune.report._figures import broken
    from paretune.report._words import limit

    found = api.load(study, store)
    for path in api.export(found, folder, pick):
        print(path)
    if breaks := [limit(c.text) for c in broken(found, api.pick(found, pick))]:
        said = f"Mind: this model breaks {', '.join(breaks)}."
        print(said, file=sys.stderr)
