"""`paretune why`: why a trial is as fast and as good as it is."""

from __future__ import annotations

from typing import Annotated

import typer

from paretune.cli import _options as o


def command(
    study: o.StudyArgument,
    member: Annotated[
        str,
        typer.Argument(
            metavar="[MEMBER]",
            help="A trial's number; or best, knee, smallest, fastest, quality.",
        ),
    ] = "best",
    json: o.JsonOption = False,
    store: o.StoreOption = None,
    data: o.DataOption = None,
) -> None:
    """Explain a trial: where its time goes, what cost its quality, what to try next."""
    import json as text
    import sys

    from paretune import api
    from paretune.report.why import plain, table

    o.use_data(data)
    found = api.load(study, store)
    trial = api.explained(found, member)
    said = [f"trial {trial.number}"]
    print(f"Explaining {said[0]} ...", file=sys.stderr)

    def progress(slot: int, what: str, share: float) -> None:
        if what != said[-1] and sys.stderr.isatty():
            print(f"  {what}", file=sys.stderr)
            said.append(what)

    told = api.why(found, str(trial.number), store=store, on_progress=progress)
    if json:
        print(text.dumps(told, indent=2))
        return
    if not sys.stdout.isatty():
        print(plain(found, trial, told))
        return
    from rich.console import Console

    Console().print(table(found, trial, told))
