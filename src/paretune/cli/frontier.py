"""`paretune frontier`: what was found."""

from __future__ import annotations

from typing import Annotated

import typer

from paretune.cli import _options as o


def command(
    study: o.StudyArgument,
    json: o.JsonOption = False,
    where: Annotated[
        str, typer.Option(help="Show what meets this instead of the study's budget.")
    ] = "",
    certify: Annotated[
        bool,
        typer.Option(help="Read the test split for the members; each time is counted."),
    ] = False,
    store: o.StoreOption = None,
    data: o.DataOption = None,
) -> int:
    """Show the Pareto frontier of a study."""
    import sys
    from dataclasses import replace

    from paretune import api
    from paretune.cli import _run
    from paretune.core.budget import Budget

    o.use_data(data)
    found = api.load(study, store)
    if certify and api.certified(found):
        said = "All members are certified already; the test split was not read again."
        print(said, file=sys.stderr)
    elif certify:
        print("Reading the test split ...", file=sys.stderr)
        found = api.certify(found, store=store)
        times = "once" if found.certifications == 1 else f"{found.certifications} times"
        print(f"The test split has been read {times}.", file=sys.stderr)
    if where:
        found = replace(found, budget=Budget.parse(where, found.metrics))
    if json:
        _run.show_json(found)
    else:
        _run.show(found)
    return _run.exit_code(found)
