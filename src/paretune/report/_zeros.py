"""What zeros in weights are good for on the runtime that serves them."""

from __future__ import annotations

from paretune.core.study import Study
from paretune.core.trial import Trial
from paretune.report import _figures as f
from paretune.report import _words as w

LEAST = 0.05  # of the weights: fewer are not worth a word
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
    size = f.change(study, trial, "size")
    gain = "the model no faster, and its file is no smaller"
    if size is not None and size.verdict > 0:
        gain = "the file smaller, not the model faster"
    return (
        f"{w.percent(known[-1])} of its weights are zero; {runtime} multiplies by zero "
        f"as by any number, so the zeros make {gain}."
    )
