"""Why a trial is or isn't faster, and is or isn't worse: a sentence each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from paretune.core.study import Study
from paretune.core.trial import Trial
from paretune.report import _figures as f
from paretune.report import _words as w
from paretune.report._whywords import (
    SEEN,
    amount,
    join,
    points,
    seconds,
    signed,
    spread,
    step_name,
)

Told = Mapping[str, Any]


def sentences(study: Study, trial: Trial, told: Told) -> tuple[str, str]:
    """Why it is (not) faster, and why it is (not) worse: one sentence each."""
    return _faster(study, trial, told), _worse(study, trial, told)


def _faster(study: Study, trial: Trial, told: Told) -> str:
    change = f.change(study, trial, "latency_p50")
    if change is None:
        said = "not timed beside the baseline"
    else:
        said = change.text if change.verdict else "not measurably faster"
    head = f"Trial {trial.number} is {said}"
    operators = told.get("operators", {})
    if "layers" not in operators:
        return f"{head}; {operators.get('unavailable', 'its operators are not known.')}"
    if change and change.verdict > 0:
        return f"{head}: {_gains(operators)}."
    return f"{head}: {_reasons(operators)}."


def _gains(operators: Told) -> str:
    mine, base, twin = (operators[k] for k in ("member", "baseline", "twin"))
    call = base["call_s"]
    if twin:
        parts = [
            f"fewer channels bring a call from {seconds(call)} to "
            f"{seconds(twin['call_s'])}, and fewer bits from there to "
            f"{seconds(mine['call_s'])}"
        ]
    elif (whole := call - mine["call_s"]) <= 0:
        parts = [
            "here its call takes as long as the baseline's, so this profile doesn't "
            "show what the study measured"
        ]
    else:
        gains = [
            (x["baseline_s"] - x["member_s"], x)
            for x in operators["layers"]
            if x["baseline_s"] and x["member_s"]
        ]
        saved = [g for g in gains if g[0] > SEEN * whole]
        saved = sorted(saved, key=lambda g: -g[0])[:3]
        names = join([x["layer"] for _, x in saved])
        total = sum(s for s, _ in saved)
        dtypes = {x["dtype"] for _, x in saved}
        narrow = len(dtypes) == 1 and "int8" in dtypes
        form = " (now in int8)" if narrow else ""
        take = "takes" if len(saved) == 1 else "take"
        parts = [
            f"a call takes {seconds(whole)} less than the baseline's"
            + (f": {names}{form} {take} {seconds(total)} less" if saved else "")
        ]
        if (other := total - whole) > SEEN * whole:
            parts.append(f"all else takes {seconds(other)} more")
    if slow := _slow(operators):
        parts.append(f"what holds it back is {slow}")
    return "; ".join(parts)


def _slow(operators: Told) -> str:
    """Layers that lose time in 8 bits, the most first."""
    slow, base = _slower(operators)
    return join(
        [
            f"{x['layer']} (8 bits: {seconds(x['member_s'])}, float: "
            f"{seconds(x[base])})"
            for x in slow[:3]
        ]
    )


def _slower(operators: Told) -> tuple[list[Told], str]:
    """(those layers, where the time of their float twins is)."""
    base = "twin_s" if operators["twin"] else "baseline_s"
    slow = [
        x
        for x in operators["layers"]
        if x["note"] == "slower"
        and x["weighted"]
        and x["member_s"] - x[base] >= SEEN * operators["member"]["call_s"]
    ]
    return sorted(slow, key=lambda x: x[base] - x["member_s"]), base


def _reasons(operators: Told) -> str:
    mine, base = operators["member"], operators["baseline"]
    call = mine["call_s"] or 1.0
    floats = sum(s for d, s in mine["dtypes"].items() if d.startswith("float"))
    overhead = sum(mine["kinds"].get(k, 0.0) for k in ("quantize", "layout"))
    before = sum(base["kinds"].get(k, 0.0) for k in ("quantize", "layout"))
    found = []
    quantized = {"float", "fell back", "slower", "no faster"}
    narrowed = any(x["note"] in quantized for x in operators["layers"] if x["weighted"])
    if narrowed and floats >= 0.3 * call:
        heavy = sorted(
            (x for x in operators["layers"] if x["dtype"].startswith("float")),
            key=lambda x: -(x["member_s"] or 0.0),
        )
        text = f"{w.percent(floats / call)} of its time is computing in float"
        named = join([x["layer"] for x in heavy[:3]])
        found.append((floats, f"{text}, most of it in {named}" if named else text))
    if overhead - before >= 0.05 * call:
        text = (
            f"changing number formats and moving numbers takes {seconds(overhead)} "
            f"({w.percent(overhead / call)})"
        )
        found.append((overhead - before, text))
    slower, twin = _slower(operators)
    if slower:
        lost = sum(x["member_s"] - x[twin] for x in slower)
        found.append((lost, f"8 bits slow down {_slow(operators)}"))
    if mine["outside_s"] >= 0.2 * call:
        text = f"{w.percent(mine['outside_s'] / call)} of it is outside of operators"
        found.append((mine["outside_s"], text))
    if not found and mine["total_s"] < (1 - SEEN) * base["total_s"]:
        return (
            f"its operators do take less ({seconds(mine['total_s'])} against "
            f"{seconds(base['total_s'])}), but not by more than this host's noise"
        )
    if not found:
        return (
            f"its operators take {seconds(mine['total_s'])}, those of the baseline "
            f"{seconds(base['total_s'])}"
        )
    return ", and ".join(t for _, t in sorted(found, key=lambda item: -item[0])[:3])


def _worse(study: Study, trial: Trial, told: Told) -> str:
    metric = next(iter(study.metrics), "")
    name = w.label(metric)
    total = told.get("total", {}).get(metric)
    if not total:
        return f"Its {name} can't be compared with the baseline's sample by sample."
    ends = spread(study, metric, total)
    flips = told.get("flips", {})
    if total["verdict"] == 0:
        said = (
            f"On the validation split it is not measurably worse: its {name} differs "
            f"from the baseline's by {signed(study, metric, total['value'])} ({ends})"
        )
        if "lost" in flips:
            won, lost = flips["won"]["count"], flips["lost"]["count"]
            said += f", with {won} samples won and {lost} lost"
        return f"{said}."
    word = "better" if total["verdict"] > 0 else "worse"
    size = amount(study, metric, total["value"])
    said = f"On the validation split its {name} is {size} {word} ({ends})"
    if total["verdict"] > 0:
        return f"{said}."
    return f"{said}: {_losses(study, metric, told)}."


def _losses(study: Study, metric: str, told: Told) -> str:
    steps = told.get("steps")
    parts = []
    if isinstance(steps, list):
        for record in steps[1:]:
            change = record.get("change", {}).get(metric)
            quality = record.get("quality", {}).get(metric)
            named = step_name(record["step"])
            if change and change["verdict"]:
                verb = "costs" if change["verdict"] < 0 else "wins back"
                parts.append(f"{named} {verb} {amount(study, metric, change['value'])}")
            elif quality and record["judged"] == "trace":
                about = points(study, metric, quality["value"])
                parts.append(f"after {named} it is about {about}")
    said = join(parts)
    if not said and isinstance(steps, list):
        known = all(record.get("change", {}).get(metric) for record in steps[1:])
        said = "no step of its own changes it beyond noise" if known else ""
    said = said or "which step costs it is not known"
    effects = (
        (x["effect"].get(metric, {}), x["layer"])
        for x in told.get("layers", {}).get("quantized", {}).get("layers", ())
    )
    sensitive = sorted((e["value"], n) for e, n in effects if e.get("verdict") == -1)
    if sensitive:
        value, layer = max(sensitive, key=lambda item: abs(item[0]))
        said += f"; of the layers in fewer bits, {layer} costs most, "
        said += amount(study, metric, value)
    classes = told.get("flips", {}).get("classes") or []
    if classes and classes[0]["lost"] > classes[0]["won"]:
        worst = classes[0]
        said += (
            f"; class {worst['class']} loses most, {worst['lost'] - worst['won']} of "
            f"{worst['samples']} samples"
        )
    return said
