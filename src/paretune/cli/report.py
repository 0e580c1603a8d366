"""`paretune report`: one self-contained page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from paretune.cli import _options as o


def command(
    study: o.StudyArgument,
    output: Annotated[Path, typer.Option("-o", "--output", help="The HTML file.")],
    store: o.StoreOption = None,
) -> None:
    """Write a page with the frontier, every recipe and the cost of the search."""
    from paretune import api

    print(api.write_report(api.load(study, store), output))
