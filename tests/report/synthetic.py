"""A made-up study with everything in it that a report must be able to show."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from paretune.core.budget import Budget
from paretune.core.measurement import Measurement
from paretune.core.strategy import Objective
from paretune.core.study import Study
from paretune.core.target import Target
from paretune.core.trial import Trial

BASE_SIZE, BASE_SECONDS, BASE_MACS = 1_652_480, 0.000_918, 21_400_000
REQUIRE = "size<=baseline/8, latency_p50<=baseline/2, accuracy>=baseline-1.5pt"
SCHEMES = ("static_int8", "dynamic_int8", "float16")


def scores(difficulty, accuracy, rng):
    noisy = difficulty + rng.normal(0, 0.008, len(difficulty))
    return tuple((noisy < np.quantile(noisy, accuracy)).astype(float).tolist())


def quality(difficulty, accuracy, rng, split):
    return Measurement(
        "accuracy",
        "1",
        "higher",
        scores(difficulty, accuracy, rng),
        "samples",
        split=split,
    )


def latency(seconds, rng, launches, flags=()):
    drift = rng.normal(0, 0.03)
    values = seconds * np.exp(drift + rng.normal(0, 0.012, launches))
    ratios = seconds / BASE_SECONDS * np.exp(rng.normal(0, 0.009, launches))
    return Measurement(
        "latency_p50",
        "s",
        "lower",
        tuple(values.tolist()),
        "launches",
        tuple(ratios.tolist()),
        flags=tuple(flags),
    )


def exact(metric, value, unit="1"):
    return Measurement(metric, unit, "lower", (float(value),), "exact")


def recipe(amount, epochs, scheme, technique):
    steps = []
    if amount:
        steps.append(
            {
                "technique": "structured_pruning",
                "amount": amount,
                "importance": "taylor",
                "scope": "global",
            }
        )
        steps.append(
            {"technique": technique, "epochs": epochs, "learning_rate": 0.0031}
        )
    if scheme:
        steps.append(
            {
                "technique": "post_training_quantization",
                "scheme": scheme,
                "calibration": "minmax",
            }
        )
    return tuple(steps)


def trace(steps, accuracy, left, rng):
    def node(step, format_, share, quality_=None, seconds=0.4, cached=False):
        return {
            "step": step,
            "format": format_,
            "parameters": round(411_000 * share),
            "macs": round(BASE_MACS * share),
            "quality": {} if quality_ is None else {"accuracy": quality_},
            "seconds": seconds,
            "cached": cached,
        }

    nodes = [node("baseline", "torch", 1.0, 0.921, 0.2, True)]
    for step in steps:
        if step["technique"] == "structured_pruning":
            nodes.append(node(step["technique"], "torch", left, 0.41, 1.9, True))
        elif step["technique"] == "post_training_quantization":
            nodes.append(node("export", "onnx", left, None, 1.1, True))
            nodes.append(node(step["technique"], "onnx", left, None, 2.3))
        else:
            spent = float(rng.uniform(9, 30))
            nodes.append(node(step["technique"], "torch", left, accuracy, spent))
    if nodes[-1]["format"] == "torch":
        nodes.append(node("export", "onnx", left))
    return tuple(nodes)


def study(certified=True, require=REQUIRE, name="demo", trials=26, artifacts=None):
    """26 trials: the baseline, 19 that are ok, 3 infeasible, 2 failed, 1 stopped."""
    rng = np.random.default_rng(7)
    validation, test = rng.random(2_000), rng.random(4_000)
    made, proofs = [], {}
    for number in range(trials):
        amount = 0.0 if number < 4 else float(rng.uniform(0.25, 0.92))
        scheme = (None, *SCHEMES)[number % 4] if number != 5 else None
        technique = "distillation" if number % 2 else "fine_tuning"
        steps = recipe(amount, int(rng.integers(2, 7)), scheme, technique)
        left = (1 - amount) ** 1.7
        share = {"static_int8": 0.26, "dynamic_int8": 0.27, "float16": 0.51}
        quick = {"static_int8": 0.62, "dynamic_int8": 1.18, "float16": 1.05}
        size = BASE_SIZE * left * share.get(scheme, 1.0) + 6_400
        seconds = BASE_SECONDS * (0.12 + 0.88 * left**0.8) * quick.get(scheme, 1.0)
        accuracy = 0.921 - 0.075 * amount**3 + (0.004 if number % 5 == 2 else 0.0)
        footprint = {
            "size": exact("size", round(size), "byte"),
            "parameters": exact("parameters", round(411_000 * left)),
            "macs": exact("macs", round(BASE_MACS * left)),
        }
        base = {"number": number, "steps": steps}
        if number in (9, 14, 22):
            error = "size is 412 kB, the budget allows 207 kB"
            made.append(
                Trial(**base, state="infeasible", measurements=footprint, error=error)
            )
            continue
        if number in (11, 18, 25):
            state, error = {
                11: ("failed:crash(SIGSEGV)", "the worker died of SIGSEGV."),
                18: (
                    "failed:parity",
                    "onnx differs from torch: max 0.42 at output 'output' in "
                    "/home/alice/secret/task.py (limit 1e-4).",
                ),
                25: ("stopped", "the time was up."),
            }[number]
            made.append(Trial(**base, state=state, error=error))
            continue
        launches = 2 if number % 7 == 6 else 6
        flags = ("screening",) if launches == 2 else ()
        memory = 9.1e6 * (0.5 + 0.5 * left)
        footprint["latency_p50"] = latency(seconds, rng, launches, flags)
        footprint["peak_memory"] = Measurement(
            "peak_memory", "byte", "lower", (memory, memory * 1.01), "peak"
        )
        footprint["accuracy"] = quality(validation, accuracy, rng, "validation")
        digest = f"{number:02d}" + "ab" * 31
        proofs[number] = {"accuracy": quality(test, accuracy - 0.006, rng, "test")}
        made.append(
            Trial(
                **base,
                state="ok",
                measurements=footprint,
                parity={"max_abs": 3.1e-6, "relative": 8e-7, "agreement": 0.9985},
                artifact=digest,
                format="onnx",
                cost={"train_s": 12.0, "export_s": 1.4, "measure_s": 2.2},
                trace=trace(steps, accuracy, left, rng),
            )
        )
    found = Study(
        name=name,
        task="fashion",
        metrics={"accuracy": "higher"},
        target=Target(),
        strategy="shrink_and_improve",
        objectives=(
            Objective("accuracy", "higher"),
            Objective("size", "lower"),
            Objective("latency_p50", "lower"),
        ),
        budget=Budget.parse(require, ["accuracy"]),
        trials=tuple(made),
        cost={
            "wall_s": 231.0,
            "train_s": 318.0,
            "export_s": 41.0,
            "judge_s": 22.0,
            "measure_s": 38.0,
            "overhead_s": 7.5,
        },
        noise=0.018,
        environment={
            "processor": "Example CPU @ 2.10GHz, 0x1",
            "cores": 2,
            "system": "Linux x86_64",
            "python": "3.11.2",
            "runtime": {"onnxruntime": "1.32.0"},
            "target": Target().to_json(),
            "governor": "unknown",
            "digest": "0123456789abcdef",
        },
        artifacts=artifacts or Path("/home/alice/.paretune/artifacts"),
    )
    if not certified:
        return found
    from dataclasses import replace

    from paretune.frontier import frontier

    members = {t.number for t in frontier(found).members} | {0}
    kept = {n: p for n, p in proofs.items() if n in members}
    return replace(found, certified=kept, certifications=1)
