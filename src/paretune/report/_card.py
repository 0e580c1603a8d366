"""The model card of a deploy bundle."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np

from paretune.core.measurement import Measurement
from paretune.core.study import Study
from paretune.core.trial import Trial
from paretune.frontier import Frontier
from paretune.report import _figures as f
from paretune.report import _words as w
from paretune.report._html import scrub
from paretune.report._trial import settings
from paretune.report.verdict import gains, judged


class Packed(NamedTuple):
    """A model that is in the bundle as a packed file.

    Attributes:
        size: bytes of the packed file.
        model: bytes of the model.
        program: bytes of the program that unpacks it.
        deflated: bytes of that program after DEFLATE.
        seconds: that unpacking took.
    """

    size: int
    model: int
    program: int
    deflated: int
    seconds: float


def card(
    study: Study,
    trial: Trial,
    found: Frontier,
    example: Mapping[str, np.ndarray] | None = None,
    packed: Packed | None = None,
) -> str:
    """Markdown: what the model is, its figures, where they hold, and how to run it."""
    lines = [
        f"# {mark(study.task)}: trial {trial.number} of study {mark(study.name)}",
        "",
        f"{mark(gains(study, trial))}." if trial.number else "The model as it came.",
        "",
        *_recipe(trial),
        "",
        *_figures(study, trial),
        "",
        *_measured(study),
        "",
        *_limits(study, trial, found),
        "",
        *_run(study, example, packed),
    ]
    return "\n".join(lines) + "\n"


def mark(anything: object) -> str:
    """Text that means nothing in Markdown or HTML, on one line.

    Example:
        >>> mark("a|b <i>")
        'a\\\\|b &lt;i&gt;'
    """
    words = " ".join(scrub(str(anything)).split())
    for character in "\\`*[]|#":
        words = words.replace(character, f"\\{character}")
    return words.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _recipe(trial: Trial) -> Iterator[str]:
    yield "## How it was made"
    yield ""
    if not trial.steps:
        yield "The task's model, exported and otherwise left alone."
    for number, step in enumerate(trial.steps, 1):
        name = str(step.get("technique", "?")).replace("_", " ")
        detail = settings(step)
        yield f"{number}. {mark(name)}" + (f": {mark(detail)}" if detail else "")


def _figures(study: Study, trial: Trial) -> Iterator[str]:
    yield "## Figures"
    yield ""
    yield "| figure | value | 95 % interval | against the baseline | taken on |"
    yield "|---|---|---|---|---|"
    for metric, m in f.shown(study, trial).items():
        shown = f.words(study, m)
        change = f.change(study, trial, metric)
        cells = (
            w.label(metric),
            shown.plain,
            shown.interval or ("exact" if m.kind == "exact" else ""),
            change.text if change else "",
            _where(m),
        )
        yield f"| {' | '.join(map(mark, cells))} |"
    yield ""
    if trial.number in study.certified:
        yield mark(judged(study, [trial]))
    else:
        yield (
            "Quality is that of the validation split, by which this model was chosen: "
            "expect a little less on new data."
        )
    parity = trial.parity
    if "agreement" in parity or "max_abs" in parity:
        yield ""
        yield f"Parity with the model that it was exported from: {_parity(parity)}."


def _where(m: Measurement) -> str:
    if m.split:
        return f"{m.split} split"
    return "the file" if m.kind == "exact" else f"{len(m.values)} launches"


def _parity(parity: Mapping[str, float]) -> str:
    said = []
    if "agreement" in parity:
        said.append(f"{w.percent(parity['agreement'], 2)} of decisions agree")
    if "max_abs" in parity:
        said.append(f"the largest difference is {parity['max_abs']:.2g}")
    return ", ".join(said)


def _measured(study: Study) -> Iterator[str]:
    target = study.target
    yield "## Measured on"
    yield ""
    yield (
        f"- {mark(target.runtime)} on {mark(target.device)}, threads {target.threads}, "
        f"batch {target.batch}, {mark(target.scenario.replace('_', ' '))}"
    )
    for name, value in study.environment.items():
        if name in ("processor", "cores", "system", "python") and value:
            yield f"- {name}: {mark(value)}"
    versions = study.environment.get("runtime")
    if isinstance(versions, Mapping):
        for name, version in versions.items():
            yield f"- {mark(name)}: {mark(version)}"
    serving = study.environment.get("serving")
    if isinstance(serving, Mapping) and serving:
        given = " ".join(f"{name}={value}" for name, value in serving.items())
        yield (
            f"- started with `{mark(given)}` in its environment; with other settings "
            "a process may hold more memory"
        )


def _limits(study: Study, trial: Trial, found: Frontier) -> Iterator[str]:
    yield "## Limits"
    yield ""
    yield (
        "- Times and memory hold for the machine and runtime above; on another, "
        "measure again."
    )
    if study.noise:
        yield (
            f"- On that machine times that differ by less than {100 * study.noise:.1f}"
            " % can't be told apart."
        )
    yield "- Quality holds for data like the task's; nothing was tried on other data."
    if study.budget.constraints:
        if f.meets(study, trial):
            yield f"- It meets the budget: {mark(w.limit(str(study.budget)))}."
        else:
            broken = ", ".join(w.limit(c.text) for c in f.broken(study, trial))
            said = f"breaks {broken}" if broken else "is not known to meet all of it"
            yield f"- Of the budget {mark(w.limit(str(study.budget)))} it {mark(said)}."
    chance = found.probability.get(trial.number)
    if chance is not None:
        yield (
            f"- It is on the frontier of its study in {w.percent(chance)} of resamples "
            "of all figures."
        )
    for m in f.shown(study, trial).values():
        for flag in m.flags:
            said = flag.removeprefix(f"{m.metric}: ")
            yield f"- {mark(w.label(m.metric))} is flagged: {mark(said)}."


def _run(
    study: Study, example: Mapping[str, np.ndarray] | None, packed: Packed | None
) -> Iterator[str]:
    versions = study.environment.get("runtime")
    pinned = "onnxruntime"
    if isinstance(versions, Mapping) and "onnxruntime" in versions:
        pinned = f"onnxruntime=={mark(versions['onnxruntime'])}"
    file = "x.npy" if example is None else "example.npz"
    yield "## How to run it"
    yield ""
    yield "```"
    yield f"pip install {pinned} numpy"
    yield f"python predict.py --input {file}"
    yield "sha256sum -c SHA256SUMS"
    yield "```"
    if example is not None:
        yield ""
        yield "Inputs, the first axis being the batch:"
        yield ""
        for name, array in example.items():
            yield f"- {mark(name)}: {array.dtype} {list(array.shape)}"
    yield ""
    if packed is not None:
        yield (
            f"`model.onnx.packed` has {packed.size:,} bytes to transfer. The first run "
            f"of `predict.py`, or `python unpack.py`, makes `model.onnx` from it: the "
            f"{packed.model:,} bytes that were measured, bit for bit, decoded in "
            f"{packed.seconds:.2g} s where this bundle was made. `unpack.py` has "
            f"{packed.program:,} bytes more, {packed.deflated:,} after DEFLATE, which "
            "no figure here counts; it needs nothing but Python."
        )
        yield ""
    yield (
        "`predict(arrays)` in `predict.py` does the same from Python. `recipe.yaml` "
        "makes the model anew (`paretune apply`); `measurements.json` holds the "
        "figures with their raw values."
    )
