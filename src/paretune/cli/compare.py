"""`paretune compare`: two artifacts, side by side."""

from __future__ import annotations

from typing import Annotated

import typer

from paretune.cli import _options as o

ARTIFACT = "A model file, or STUDY:MEMBER (a trial's number, best, fastest, ...)."


def command(
    a: Annotated[str, typer.Argument(metavar="A", help=ARTIFACT)],
    b: Annotated[str, typer.Argument(metavar="B", help="Likewise.")],
    task: Annotated[
        str | None,
        typer.Option(help="For real inputs and quality: a task, or FILE.py[:NAME]."),
    ] = None,
    runtime: o.RuntimeOption = "onnxruntime",
    against: Annotated[
        str | None, typer.Option(help="The runtime of B, where it is another.")
    ] = None,
    threads: o.ThreadsOption = 1,
    batch: o.BatchOption = 1,
    store: o.StoreOption = None,
    data: o.DataOption = None,
    json: o.JsonOption = False,
) -> None:
    """Measure two artifacts side by side: a ratio with its interval, or a tie."""
    import json as text

    from paretune import api
    from paretune.report import comparison

    o.use_data(data)
    target = o.target(runtime, threads, batch)
    found = api.compare(a, b, task, target, against, store)
    if json:
        print(text.dumps(comparison.record(found), indent=2))
    else:
        print(comparison.comparison(found))
