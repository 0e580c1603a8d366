"""Footprint first: what can't fit is never trained."""

from __future__ import annotations

import tempfile
from pathlib import Path
from unittest import mock

from bench._results import Results
from paretune import api
from paretune.core.trial import INFEASIBLE
from paretune.learning.distillation import Distillation
from paretune.learning.fine_tuning import FineTuning


def run(results: Results, quick: bool) -> None:
    """A search under a budget that about half of the structures miss."""
    trained: list[str] = []

    def counted(technique: type) -> mock._patch[object]:
        real = technique.on_torch

        def on_torch(self: object, model: object, run: object) -> object:
            trained.append(technique.__name__)
            return real(self, model, run)

        return mock.patch.object(technique, "on_torch", on_torch)

    with (
        tempfile.TemporaryDirectory() as store,
        counted(FineTuning),
        counted(Distillation),
    ):
        study = api.optimize(
            "fashion",
            store=Path(store),
            require="size<=baseline/6",
            trials=4 if quick else 16,
            sampler="random_search",
            worker="in_process",
            epochs=1,
        )
    infeasible = [t for t in study.trials if t.state == INFEASIBLE]
    fitting = [t for t in study.trials if t.ok and t.number]
    trainings = sum(
        not step["cached"] and step["step"] in ("fine_tuning", "distillation")
        for t in fitting
        for step in t.trace
    )
    share = len(infeasible) / max(1, len(infeasible) + len(fitting))
    results.row(
        what="footprint",
        infeasible=len(infeasible),
        fitting=len(fitting),
        trainings=len(trained),
    )
    results.figure(
        "share of structures that miss the budget",
        share,
        "0.2-0.8",
        0.2 <= share <= 0.8,
    )
    wasted = len(trained) - trainings
    results.figure("trainings of infeasible structures", wasted, "== 0", wasted == 0)
