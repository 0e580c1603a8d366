"""`paretune demo`: the main job on the embedded task, end to end."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from paretune.cli import _options as o

REQUIRE = "size<=600kB, latency_p50<=baseline/1.5"
BUDGET_S = 204.0
TRIALS = 22


def command(
    store: o.StoreOption = None,
    output: Annotated[
        Path, typer.Option("-o", "--output", help="Folder for the report and bundle.")
    ] = Path("out/demo"),
    grid: o.GridOption = None,
) -> int:
    """Make Fashion-MNIST's CNN smaller and faster, and show all that comes of it."""
    from paretune import api
    from paretune.cli import _run

    code = _run.run(
        "fashion",
        study="demo",
        store=store,
        require=REQUIRE,
        seconds=BUDGET_S,
        trials=TRIALS,
        grid=grid,
        silent=True,
    )
    if code == 130:
        return code
    study = api.load("demo", store)
    if not study.certifications:
        study = api.certify(study, store=store)
    chosen = api.pick(study)
    if chosen.number and chosen.number not in study.explanations:
        api.why(study, str(chosen.number), store=store)
        study = api.load("demo", store)
    page = api.write_report(study, output / "report.html")
    bundle = output / "bundle"
    api.export(study, bundle)
    _run.show(study)
    print(f"report: {page}\nbundle: {bundle}")
    return code
