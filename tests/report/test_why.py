"""An explanation in words: true to its figures, safe, and 100 columns wide."""

import dataclasses
import io
import json
import re

import pytest
from rich.console import Console

from paretune import catalog
from paretune.report import why
from paretune.report._why import sentences
from paretune.report._whyadvice import recipe
from paretune.report.page import page
from tests.report.conftest import HOSTILE

GONE = {"unavailable": "it is gone."}
TRIAL = 7


def arm(call, **changes):
    return {
        "call_s": call,
        "total_s": 0.9 * call,
        "outside_s": 0.1 * call,
        "kinds": {"compute": 0.85 * call, "quantize": 0.05 * call},
        "dtypes": {"int8": 0.8 * call, "float32": 0.05 * call},
        "ops": [],
        "unmatched": {},
        "least_s": 2e-7,
        **changes,
    }


def layer(name, member, baseline, note="", dtype="int8"):
    return {
        "layer": name,
        "op": "Conv",
        "weighted": True,
        "dtype": dtype,
        "member_s": member,
        "baseline_s": baseline,
        "twin_s": baseline,
        "note": note,
    }


def change(value, verdict):
    return {
        "accuracy": {
            "value": value,
            "low": value - 0.004,
            "high": value + 0.004,
            "verdict": verdict,
        }
    }


def figure(value, **more):
    return {"accuracy": {"value": value, **more}}


def explanation(name="stem"):
    step = {"format": "torch", "judged": "torch"}
    ptq = {"technique": "post_training_quantization"}
    kept = catalog.recipe([{**ptq, "keep_float": "stem"}]).to_json()
    longer = [{"technique": "distillation", "epochs": 8}]
    return {
        "version": 1,
        "trial": TRIAL,
        "total": change(-0.02, -1),
        "operators": {
            "member": arm(1e-4, unmatched={"Mystery": 2e-6}),
            "baseline": arm(3e-4, kinds={"compute": 2.7e-4}),
            "twin": None,
            "layers": [
                layer(name, 3e-5, 1e-5, "slower"),
                layer("body", 5e-5, 2e-4),
                layer("tiny", 1e-7, 2e-7, "small"),
            ],
            "left_out": 0,
        },
        "steps": [
            {"step": "baseline", "judged": "runtime", "quality": figure(0.9)},
            {
                "step": "structured_pruning",
                **step,
                "quality": figure(0.5),
                "change": change(-0.4, -1),
            },
            {
                "step": "distillation",
                **step,
                "judged": "trace",
                "quality": figure(0.88, samples=1024),
                "change": {},
            },
        ],
        "layers": {
            "quantized": {
                "layers": [
                    {
                        "layer": name,
                        "name": f"{name}/Conv",
                        "op": "Conv",
                        "error": 0.02,
                        "sqnr_db": 33.0,
                        "effect": change(-0.01, -1),
                    },
                    {"layer": "body", "name": "body/Conv", "effect": {}},
                ],
                "samples": 2000,
                "judged": 1,
            },
            "pruned": {
                "layers": [
                    {"layer": name, "before": 32, "after": 8, "effect": change(0, 0)}
                ],
                "samples": 2000,
                "judged": 1,
            },
        },
        "flips": {
            "metric": "accuracy",
            "samples": 2000,
            "lost": {"count": 60, "samples": list(range(20))},
            "won": {"count": 20, "samples": [5]},
            "p": 0.0001,
            "classes": [{"class": 6, "samples": 200, "lost": 30, "won": 4}],
        },
        "advice": [
            {
                "steps": kept,
                "recipe": [{**ptq, "keep_float": "stem"}],
                "aim": "faster",
                "why": f"{name} is slower in 8 bits than in float.",
                "change": change(0.001, 0),
                "call_s": 9e-5,
                "member_s": 1e-4,
                "helps": False,
            },
            {
                "steps": catalog.recipe(longer).to_json(),
                "recipe": longer,
                "aim": "better",
                "why": "after training, accuracy is still 2.0 pt worse.",
            },
        ],
    }


@pytest.fixture
def trial(study):
    return next(t for t in study.trials if t.number == TRIAL)


@pytest.fixture
def explained(study):
    return dataclasses.replace(study, explanations={TRIAL: explanation()})


def test_the_first_two_sentences_say_why(study, trial):
    faster, worse = sentences(study, trial, explanation())
    assert faster.startswith(f"Trial {TRIAL} is ") and faster.endswith(".")
    assert "stem (8 bits: 30 µs, float: 10 µs)" in faster
    assert "2.00 pt worse (−2.40 to −1.60 pt)" in worse
    assert "pruning costs 40.00 pt" in worse and "about 88.0 %" in worse
    assert "stem costs most, 1.00 pt" in worse
    assert "class 6 loses most, 26 of 200" in worse


def test_what_can_not_be_told_from_the_baseline_is_not_called_worse(study, trial):
    told = explanation() | {"total": change(-0.001, 0)}
    _, worse = sentences(study, trial, told)
    assert "not measurably worse" in worse and "20 samples won and 60 lost" in worse


def test_a_slower_trial_has_its_reasons(study, trial):
    slow = dataclasses.replace(
        trial,
        measurements={
            **trial.measurements,
            "latency_p50": dataclasses.replace(
                trial.measurements["latency_p50"], ratios=(1.5, 1.52, 1.51, 1.5)
            ),
        },
    )
    told = explanation()
    told["operators"]["member"] = arm(
        1e-4,
        dtypes={"float32": 7e-5},
        kinds={"compute": 7e-5, "quantize": 1.5e-5},
    )
    told["operators"]["layers"][1] |= {"dtype": "float32", "note": "float"}
    faster, _ = sentences(study, slow, told)
    assert "1.51× slower" in faster
    assert "70 % of its time is computing in float, most of it in body" in faster
    assert "changing number formats and moving numbers takes 15 µs" in faster
    assert "8 bits slow down stem" in faster


def test_plain_text_fits_and_holds_every_part(study, trial):
    text = why.plain(study, trial, explanation())
    assert max(map(len, text.splitlines())) <= 100
    for part in (
        "Where the time of a call goes",
        "slower than in float",
        "Not matched with a layer: Mystery (2 µs)",
        "first 1,024 samples",
        "33.0 dB",
        "32 → 8",
        "Time sufficed to judge 1 of them",
        "60 of 2,000: 0, 1, 2",
        "- {technique: distillation, epochs: 8}",
        "Not tried here.",
        "Not worth it: ",
        "keep_float stem",
        "90 µs a call in place of 100 µs",
    ):
        assert part in " ".join(text.split()), part


def test_the_terminal_has_the_same_words(study, trial):
    out = io.StringIO()
    Console(file=out, width=100).print(why.table(study, trial, explanation()))
    words = " ".join(out.getvalue().split())
    for part in ("slower than in float", "32 → 8", "epochs: 8}", "Not worth it"):
        assert part in words


def test_parts_that_are_gone_are_said_so(study, trial):
    told = explanation()
    gone = {
        **told,
        "operators": GONE,
        "steps": GONE,
        "flips": GONE,
        "layers": {"quantized": GONE},
        "total": {},
        "advice": [],
    }
    text = why.plain(study, trial, gone)
    assert text.count("It is gone.") == 4
    assert "Nothing to mend." in text
    assert "it is gone." in sentences(study, trial, gone)[0]


def test_a_recipe_in_text_is_one_that_apply_reads(tmp_path):
    steps = [{"technique": "post_training_quantization", "keep_float": "a,b"}]
    path = tmp_path / "recipe.yaml"
    path.write_text("\n".join(recipe(steps)))
    assert catalog.read_recipe(path).to_json()[0]["keep_float"] == "a,b"


def rendered(study):
    out = io.StringIO()
    page(study, out)
    return out.getvalue()


def test_the_page_shows_what_there_is_and_how_to_get_the_rest(explained):
    text = rendered(explained)
    assert f'id="why-{TRIAL}"' in text
    assert "paretune why demo" in text
    assert f"paretune why demo {TRIAL}<" not in text
    assert "paretune why demo 0<" not in text, "the baseline is what it is"
    assert not re.search(r"<[^>]+\sstyle=", text)


def test_nothing_in_it_can_leave_its_place(study, trial):
    told = json.loads(json.dumps(explanation(HOSTILE)))
    block = why.block(study, trial, told)
    assert "<script" not in block and "javascript:1" in block
    plain = why.plain(study, trial, told)
    assert "\x1b" not in plain and "\u202e" not in plain
