"""From a realised recipe to a file in the store that agrees with its source."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from paretune.core.candidate import Artifact
from paretune.core.task import as_arrays
from paretune.engine.path import formats
from paretune.engine.realise import Realised
from paretune.engine.site import Site
from paretune.measurement import _parity
from paretune.measurement._reasons import Graphs
from paretune.store._files import storing


def written(site: Site, realised: Realised) -> Artifact:
    """The candidate as a file in the store."""
    format_ = realised.candidate.format
    scratch = site.folder
    with storing(scratch), tempfile.TemporaryDirectory(dir=scratch) as folder:
        path = Path(folder) / f"model.{format_}"
        formats(format_).write(realised.candidate, site.task, path)
        sha256, _ = site.artifacts.put(path, format_)
    return replace(site.artifact(sha256), traits=realised.candidate.traits)


def agreement(site: Site, realised: Realised, artifact: Artifact) -> dict[str, float]:
    """How well the file agrees with its source, on the validation split.

    Raises:
        ParityError: not well enough.
    """
    from paretune.infrastructure.runtimes.torch_eager import TorchEager

    session = site.runtime.load(artifact, site.target)
    batches = site.task.batches("validation")
    try:
        return _parity.check(
            TorchEager().session(realised.source.model),
            session,
            [as_arrays(inputs, "input") for inputs, _ in batches],
            quantized="quantized" in artifact.traits,
            sizes=sorted({*_parity.SIZES, site.target.batch}),
            graphs=_graphs(site, realised),
        )
    finally:
        session.close()


def _graphs(site: Site, realised: Realised) -> Graphs | None:
    """The graphs in which parity finds the layer where an artifact goes wrong."""
    made = realised.candidate
    if made.format != "onnx":
        return None

    def source() -> Any:
        if "quantized" not in made.traits:
            return formats("onnx").from_torch(realised.source, site.task).model
        exported = realised.exported
        if exported is None or "quantized" in exported.traits:
            return None
        return exported.model

    return Graphs(made.model, source)
