"""The tables of an explanation, as plain values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from paretune.core.study import Study
from paretune.core.trial import Trial
from paretune.report import _words as w
from paretune.report._whyadvice import advice
from paretune.report._whywords import (
    SEEN,
    capital,
    join,
    points,
    seconds,
    signed,
    spread,
    step_name,
)

LINES = 24  # of one table
CLASSES = 5
OPERATORS = 5
NOTES = {
    "slower": "slower than in float",
    "no faster": "no faster than in float",
    "float": "stays in float",
    "fell back": "8 bits stored, float run",
    "small": "too small to gain",
}
JUDGED = {"runtime": "the file", "torch": "PyTorch", "trace": "first samples"}

Told = Mapping[str, Any]


@dataclass(frozen=True)
class Section:
    """A heading, a table if there is one, and sentences below it.

    Attributes:
        title: of the section.
        head: of each column.
        rows: cells as text.
        numeric: which columns hold figures.
        lines: sentences; one that begins with two blanks is a line of code.
    """

    title: str
    head: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()
    numeric: tuple[bool, ...] = ()
    lines: tuple[str, ...] = ()


def sections(study: Study, trial: Trial, told: Told) -> list[Section]:
    """All parts of an explanation in order; what to try next is always the last."""
    parts = [
        _time(told.get("operators", {})),
        _steps(study, told.get("steps", [])),
        *_layers(study, told.get("layers", {})),
        _flips(told.get("flips", {})),
        Section("What to try next", lines=advice(study, trial, told.get("advice", []))),
    ]
    return [part for part in parts if part.rows or part.lines]


def _time(operators: Told) -> Section:
    title = "Where the time of a call goes"
    if "unavailable" in operators:
        return Section(title, lines=(capital(operators["unavailable"]),))
    mine, base = operators["member"], operators["baseline"]
    twin = operators["twin"]
    columns = ["baseline_s", *(["twin_s"] if twin else []), "member_s"]
    head = ["layer", "operator", "baseline"]
    head += (["pruned, float"] if twin else []) + ["this", "runs in", ""]
    call = max(mine["call_s"], base["call_s"])
    rows: list[tuple[str, ...]] = []
    rest: list[list[float]] = []
    for layer in operators["layers"]:
        taken = [layer[c] or 0.0 for c in columns]
        loud = layer["note"] in ("slower", "fell back") and layer["weighted"]
        big = max(taken[0] / base["call_s"], taken[-1] / mine["call_s"]) >= SEEN
        if (big or loud) and len(rows) < LINES:
            times = (seconds(layer[c], call) for c in columns)
            note = NOTES.get(layer["note"], "") if layer["weighted"] else ""
            where = layer["dtype"] or "–"
            rows.append((layer["layer"], layer["op"], *times, where, note))
        else:
            rest.append(taken)
    if rest:
        sums = [seconds(sum(each), call) for each in zip(*rest, strict=True)]
        rows.append((_count(len(rest), "smaller layer"), "", *sums, "", ""))
    arms = [base, *([twin] if twin else []), mine]
    for kind, name in (
        ("quantize", "number formats"),
        ("layout", "memory layout"),
    ):
        spent = [arm["kinds"].get(kind, 0.0) for arm in arms]
        if any(spent):
            part = spent[-1] / mine["call_s"]
            share = f"{w.percent(part)} of the call" if part >= 0.005 else ""
            rows.append((name, "", *(seconds(s, call) for s in spent), "", share))
    spent = [sum(arm["unmatched"].values()) for arm in arms]
    if any(spent):
        times = (seconds(s, call) for s in spent)
        rows.append(("not matched with a layer", "", *times, "", ""))
    spent = [max(0.0, arm["outside_s"]) for arm in arms]
    rows.append(("outside operators", "", *(seconds(s, call) for s in spent), "", ""))
    spent = [arm["call_s"] for arm in arms]
    rows.append(("a whole call", "", *(seconds(s, call) for s in spent), "", ""))
    numeric = (False, False, *(True for _ in columns), False, False)
    return Section(
        title, tuple(head), tuple(rows), numeric, tuple(_time_lines(operators))
    )


def _time_lines(operators: Told) -> Iterator[str]:
    mine = operators["member"]
    whole = max(mine["call_s"], mine["total_s"])
    shares = ", ".join(
        f"{w.percent(s / whole)} is computing in {dtype}"
        for dtype, s in sorted(mine["dtypes"].items(), key=lambda item: -item[1])
    )
    said = f"Of this trial's call, {shares}."
    if mine["least_s"]:
        said += (
            " Times are the runtime's own profile, less what profiling itself costs; "
            f"an operator with nothing to do costs {seconds(mine['least_s'])}."
        )
    yield said
    by_operator = ", ".join(
        f"{o['count']} {o['op']} {seconds(o['seconds'])}"
        for o in mine["ops"][:OPERATORS]
    )
    if by_operator:
        yield f"By operator: {by_operator}."
    if lost := mine["unmatched"]:
        named = join([f"{op} ({seconds(s)})" for op, s in lost.items()])
        yield f"Not matched with a layer: {named}."
    if operators.get("left_out"):
        yield f"{_count(operators['left_out'], 'smaller layer')} not listed."


def _steps(study: Study, steps: Any) -> Section:
    title = "What each step did to the quality, on the validation split"
    if isinstance(steps, Mapping):
        return Section(title, lines=(capital(steps["unavailable"]),))
    metric = next(iter(study.metrics), "")
    rows = []
    for record in steps:
        quality = record.get("quality", {}).get(metric)
        change = record.get("change", {}).get(metric)
        samples = (quality or {}).get("samples")
        judged = JUDGED.get(record["judged"], record["judged"])
        if samples:
            judged = f"first {samples:,} samples"
        rows.append(
            (
                "baseline"
                if record["step"] == "baseline"
                else step_name(record["step"]),
                points(study, metric, quality["value"]) if quality else "–",
                signed(study, metric, change["value"]) if change else "–",
                spread(study, metric, change) if change else "–",
                _verdict(change),
                judged,
            )
        )
    lines = []
    if any(record["judged"] == "trace" for record in steps):
        lines.append(
            "A state that is no longer in the cache is not trained again: its figure "
            "is what the search noted of it, on the first samples of the split."
        )
    head = ("after", w.label(metric), "change", "95 % interval", "", "judged in")
    numeric = (False, True, True, True, False, False)
    return Section(title, head, tuple(rows), numeric, tuple(lines))


def _verdict(change: Told | None) -> str:
    if not change:
        return ""
    return {1: "better", -1: "worse"}.get(int(change["verdict"]), "can't be told")


def _layers(study: Study, layers: Told) -> Iterator[Section]:
    metric = next(iter(study.metrics), "")
    for kind, title in (
        ("quantized", "One layer in fewer bits, all others in float"),
        ("pruned", "The baseline with one layer's weakest channels set to zero"),
    ):
        if kind not in layers:
            continue
        part = layers[kind]
        if "unavailable" in part:
            yield Section(title, lines=(capital(part["unavailable"]),))
            continue
        own = ("channels",) if kind == "pruned" else ("signal to noise", "error")
        rows = []
        for layer in part["layers"][:LINES]:
            change = layer["effect"].get(metric)
            cells = [layer["layer"]]
            if kind == "pruned":
                cells.append(f"{layer['before']} → {layer['after']}")
            else:
                decibel = layer.get("sqnr_db")
                cells.append("–" if decibel is None else f"{decibel:.1f} dB")
                error = layer.get("error")
                cells.append("–" if error is None else w.percent(error, 1))
            cells.append(signed(study, metric, change["value"]) if change else "–")
            cells.append(spread(study, metric, change) if change else "–")
            rows.append((*cells, _verdict(change)))
        head = ("layer", *own, f"{w.label(metric)} change", "95 % interval", "")
        numeric = (False, *(True for _ in head[1:-1]), False)
        yield Section(title, head, tuple(rows), numeric, tuple(_beneath(kind, part)))


def _beneath(kind: str, part: Told) -> Iterator[str]:
    which = f"On the first {part['samples']:,} samples of the validation split at most."
    if kind == "pruned":
        yield (
            f"{which} Without any training after it: it shows what a layer can spare, "
            "not what the recipe lost in the end."
        )
    else:
        yield f"{which} The error is the layer's own, none of it from layers before."
    if len(part["layers"]) > LINES:
        yield f"{len(part['layers']) - LINES} more layers are not listed."
    if part["judged"] < min(len(part["layers"]), LINES):
        yield f"Time sufficed to judge {part['judged']} of them."


def _flips(flips: Told) -> Section:
    title = "Which samples changed"
    if "unavailable" in flips:
        return Section(title, lines=(capital(flips["unavailable"]),))
    if not flips:
        return Section(title)
    lines = []
    if "lost" in flips:
        for key, words in (
            ("lost", "Right before and wrong now"),
            ("won", "Wrong before and right now"),
        ):
            count, some = flips[key]["count"], flips[key]["samples"]
            more = ", …" if count > len(some) else ""
            listed = f": {', '.join(map(str, some))}{more or '.'}" if some else "."
            lines.append(f"{words}, {count} of {flips['samples']:,}{listed}")
        lines.append(f"McNemar's mid-p for no difference: {flips['p']:.2g}.")
    else:
        for key, words in (("worse", "fell"), ("better", "rose")):
            some = flips[key]
            pairs = zip(some["samples"], some["before"], some["after"], strict=True)
            told = ", ".join(
                f"{n} ({w.digits(a)} → {w.digits(b)})" for n, a, b in list(pairs)[:8]
            )
            if told:
                lines.append(f"Samples whose score {words} most, in quality: {told}.")
    classes = [c for c in flips.get("classes", ()) if c["lost"] or c["won"]][:CLASSES]
    rows = tuple(
        (
            str(c["class"]),
            str(c["samples"]),
            str(c["lost"]),
            str(c["won"]),
            f"{c['won'] - c['lost']:+d}".replace("-", "−"),
        )
        for c in classes
    )
    head = ("class", "samples", "lost", "won", "net") if rows else ()
    numeric = tuple(name != "class" for name in head)
    return Section(title, head, rows, numeric, tuple(lines))


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}{'' if number == 1 else 's'}"
