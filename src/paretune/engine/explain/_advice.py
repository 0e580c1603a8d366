"""What to try next: each proposal follows from a fact of the explanation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from paretune import catalog
from paretune.core.errors import ParetuneError

PTQ, PRUNING = "post_training_quantization", "structured_pruning"
DISTIL, TUNE = "distillation", "fine_tuning"
ZEROS = "magnitude_pruning"
WORTH = 0.03  # of a call: what a change must save to be proposed
LEAST = 0.01  # of a call: what a layer must lose to be named
MUCH = 0.3  # of the operators' time in floats, for 8 bits to be worth a try
SENSITIVE = 3  # layers that are kept in float at once
Step = dict[str, Any]
Proposal = dict[str, Any]


def proposals(
    found: Mapping[str, Any],
    steps: Sequence[Mapping[str, Any]],
    metric: str,
    dtypes: frozenset[str],
    share: bool,
) -> list[Proposal]:
    """Recipes that the facts speak for; none if nothing is to mend.

    Args:
        found: the other parts of the explanation.
        steps: of the trial.
        metric: the task's first quality metric.
        dtypes: number formats that the runtime computes in.
        share: whether the metric reads best per cent.

    Returns:
        {"steps": a whole recipe, "recipe": the same without what is the default,
        "aim": "faster" or "better", "why": one sentence with the fact} each.
    """
    own = [dict(s) for s in steps]
    ways = [
        *(("faster", *way) for way in _faster(found, own, dtypes)),
        *(("better", *way) for way in _better(found, own, metric, share)),
    ]
    kept: list[Proposal] = []
    for aim, recipe, why in ways:
        try:
            checked = catalog.recipe(recipe)
            checked.check()
        except ParetuneError:
            continue
        whole = checked.to_json()
        if whole != own and whole not in [p["steps"] for p in kept]:
            brief = [_brief(step) for step in whole]
            kept.append({"steps": whole, "recipe": brief, "aim": aim, "why": why})
    return kept


Way = tuple[list[Step], str]


def _faster(
    found: Mapping[str, Any], steps: list[Step], dtypes: frozenset[str]
) -> Iterator[Way]:
    operators = found.get("operators", {})
    if "layers" not in operators:
        return
    mine = operators["member"]
    call = mine["call_s"] or 1.0
    quantizer = _find(steps, PTQ)
    scheme = quantizer["scheme"] if quantizer else ""
    slower = [
        x
        for x in operators["layers"]
        if x["note"] == "slower"
        and x["weighted"]
        and x["member_s"] - x["twin_s"] > LEAST * call
    ]
    lost = sum(x["member_s"] - x["twin_s"] for x in slower)
    if quantizer and lost >= WORTH * call:
        names = [x["layer"] for x in slower]
        narrow = {
            x["layer"]
            for x in operators["layers"]
            if x["weighted"] and x["dtype"] == "int8"
        }
        why = (
            f"{_list(names)} {_is(names)} slower in 8 bits than in float, by "
            f"{_us(lost)} of a call ({_share(lost / call)})"
        )
        if narrow <= set(names):
            rest = [s for s in steps if s["technique"] != PTQ]
            if rest:
                yield rest, f"{why}, and no other layer is in 8 bits."
        else:
            kept = _joined(quantizer, names)
            yield _changed(steps, PTQ, keep_float=kept), f"{why}."
    floats = sum(s for d, s in mine["dtypes"].items() if d.startswith("float"))
    if floats < MUCH * mine["total_s"] or "int8" not in dtypes:
        return
    convolutions = sum(
        x["member_s"]
        for x in operators["layers"]
        if x["op"] == "Conv" and x["dtype"].startswith("float") and x["member_s"]
    )
    static = {"technique": PTQ, "scheme": "static_int8"}
    if scheme == "dynamic_int8" and convolutions >= MUCH * mine["total_s"]:
        yield (
            _changed(steps, PTQ, scheme="static_int8"),
            f"dynamic int8 leaves the convolutions in float, and they take "
            f"{_share(convolutions / call)} of a call.",
        )
    elif scheme == "float16":
        yield (
            _changed(steps, PTQ, scheme="static_int8"),
            "float16 is only how the weights are stored: all of the computing is "
            "float32.",
        )
    elif not quantizer:
        yield (
            [*steps, static],
            f"{_share(floats / call)} of a call is computing in float32, and the "
            "runtime computes in 8 bits as well.",
        )


def _better(
    found: Mapping[str, Any], steps: list[Step], metric: str, share: bool
) -> Iterator[Way]:
    told = found.get("steps")
    if not isinstance(told, list):
        return
    changes = {record["step"]: record["change"].get(metric, {}) for record in told[1:]}
    cost = {
        step: f"{step} changes {metric} by {_change(c['value'], share)}"
        for step, c in changes.items()
        if c.get("verdict") == -1
    }
    if quantizer := _find(steps, PTQ):
        yield from _kinder(found, steps, quantizer, metric, share, cost.get(PTQ, ""))
    if ZEROS in cost:
        yield from _made_up_for(steps, cost[ZEROS])
    cut, trained = _find(steps, PRUNING), _find(steps, DISTIL) or _find(steps, TUNE)
    if cut is None or PRUNING not in cost:
        return
    if trained is None:
        at = steps.index(cut) + 1
        why = f"{cost[PRUNING]} and nothing is trained after it."
        yield [*steps[:at], {"technique": DISTIL}, *steps[at:]], why
        return
    total = found.get("total", {}).get(metric, {})
    if total.get("verdict") != -1:
        return
    lost = _change(total["value"], share).lstrip("+−")
    left = f"after training, {metric} is still {lost} worse than the baseline's"
    name = trained["technique"]
    if name == TUNE:
        place = steps.index(trained)
        teach = {"technique": DISTIL, "epochs": trained["epochs"]}
        why = f"{left}, and fine_tuning has no teacher."
        yield [*steps[:place], teach, *steps[place + 1 :]], why
    epochs = min(100, 2 * trained["epochs"])
    yield _changed(steps, name, epochs=epochs), f"{left}; train longer."
    ratio = round(max(0.05, cut["ratio"] - 0.15), 2)
    yield _changed(steps, PRUNING, ratio=ratio), f"{left}; prune less."


def _made_up_for(steps: list[Step], cost: str) -> Iterator[Way]:
    """What makes up for weights that were set to zero: the others, then training."""
    at = next(i for i, s in enumerate(steps) if s["technique"] == ZEROS)
    if steps[at]["criterion"] != "sparsegpt":
        why = f"{cost}, and the other weights don't make up for it."
        yield _changed(steps, ZEROS, criterion="sparsegpt"), why
    after = (catalog.TECHNIQUES[s["technique"]] for s in steps[at:])
    if not any(technique.trains for technique in after):
        why = f"{cost} and nothing is trained after it."
        yield [*steps[: at + 1], {"technique": DISTIL}, *steps[at + 1 :]], why


def _kinder(
    found: Mapping[str, Any],
    steps: list[Step],
    quantizer: Step,
    metric: str,
    share: bool,
    cost: str,
) -> Iterator[Way]:
    """Gentler ways to quantize.

    Args:
        cost: what the step certainly costs, in words; empty if it can't be told.
    """
    layers = found.get("layers", {}).get("quantized", {}).get("layers", ())
    sensitive = [x for x in layers if x["effect"].get(metric, {}).get("verdict") == -1]
    sensitive.sort(key=lambda x: -abs(x["effect"][metric]["value"]))
    if sensitive:
        names = [x["layer"] for x in sensitive[:SENSITIVE]]
        worst = _change(sensitive[0]["effect"][metric]["value"], share)
        yield (
            _changed(steps, PTQ, keep_float=_joined(quantizer, names)),
            f"quantizing {names[0]} alone changes {metric} by {worst}.",
        )
    if not cost or quantizer["scheme"] == "float16":
        return
    if quantizer["scheme"] == "static_int8" and quantizer["calibration"] == "minmax":
        yield (
            _changed(steps, PTQ, calibration="entropy"),
            f"{cost}, and its ranges are taken from the largest values.",
        )
    yield _changed(steps, PTQ, scheme="float16"), f"{cost} with 8 bits."


def _brief(step: Step) -> Step:
    usual = catalog.TECHNIQUES[step["technique"]]().parameters()
    return {k: v for k, v in step.items() if k == "technique" or v != usual[k]}


def _find(steps: Sequence[Step], technique: str) -> Step | None:
    return next((s for s in steps if s["technique"] == technique), None)


def _changed(steps: Sequence[Step], technique: str, **values: Any) -> list[Step]:
    return [{**s, **values} if s["technique"] == technique else s for s in steps]


def _joined(quantizer: Step, names: Sequence[str]) -> str:
    kept = [n for n in quantizer.get("keep_float", "").split(",") if n]
    return ",".join(dict.fromkeys([*kept, *names]))


def _list(words: Sequence[str]) -> str:
    if len(words) < 2:
        return "".join(words)
    return f"{', '.join(words[:-1])} and {words[-1]}"


def _is(words: Sequence[str]) -> str:
    return "is" if len(words) == 1 else "are"


def _us(seconds: float) -> str:
    if seconds < 1e-3:
        return f"{seconds * 1e6:.0f} µs"
    return f"{seconds * 1e3:.3g} ms"


def _share(part: float) -> str:
    return f"{100 * part:.0f} %"


def _change(value: float, share: bool) -> str:
    text = f"{100 * value:+.1f} pt" if share else f"{value:+.3g}"
    return text.replace("-", "−")
