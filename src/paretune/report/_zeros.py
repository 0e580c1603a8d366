"""What zeros in weights are good for on the runtime that serves them."""

from __future__ import annotations

from paretune.core.study import Study
from paretune.core.trial import Trial
from paretune.report import _words as w

LEAST = 0.05  # of the weights: fewer are not worth a word
SPARED = 0.01  # of the file: less is no gain
# Runtimes whose kernels take no notice of zeros, as people call them.
DENSE = {"onnxruntime": "ONNX Runtime", "torch_eager": "PyTorch"}


def zeros(study: Study, trial: Trial) -> str:
    """A sentence on what the zeros that a recipe made do; empty if it made few."""
    noted = [node.get("zeros") for node in trial.trace]
    known = [float(z) for z in noted if isinstance(z, int | float)]
    runtime = DENSE.get(study.target.runtime)
    if trial.number == 0 or not known or runtime is None:
        return ""
    first = trial.trace[0]
    before = known[0] if first.get("step") == "baseline" and "zeros" in first else 0.0
    if known[-1] - before < LEAST:
        return ""
    match _smaller(trial):
        case None:
            gain = "the model no faster"
        case True:
            gain = "the file smaller, not the model faster"
        case False:
            gain = "neither the model faster nor its file smaller"
    return (
        f"{w.percent(known[-1])} of its weights are zero; {runtime} multiplies by zero "
        f"as by any number, so the zeros make {gain}."
    )


def _smaller(trial: Trial) -> bool | None:
    """Whether it is the zeros that make its file smaller; None if it wasn't noted."""
    if all(node.get("format") == "torch" for node in trial.trace):
        return False  # such a file keeps every weight as it is
    size = trial.measurements.get("size")
    spared = trial.trace[-1].get("spared")
    if size is None or not isinstance(spared, int | float):
        return None
    return spared >= SPARED * size.value
