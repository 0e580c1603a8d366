"""What is said of subnets: whether inherited quality tells the tuned one."""

import dataclasses
import io

import numpy as np

from paretune.core.measurement import Measurement
from paretune.report._supernet import agreement
from paretune.report.page import page


def subnet(number):
    return (
        {"technique": "supernet", "epochs": 5},
        {"technique": "subnet", "early": number / 100},
        {"technique": "distillation", "epochs": 1},
        {"technique": "post_training_quantization"},
    )


def with_subnets(study, inherited, tuned):
    """The study with so many of its trials made from subnets."""
    metric = next(iter(study.metrics))
    ok = [t for t in study.trials if t.ok and t.number]
    base = ok[0]
    made = []
    for number, (before, after) in enumerate(zip(inherited, tuned, strict=True), 1):
        trace = (
            {"step": "supernet", "format": "torch", "quality": {metric: 0.9}},
            {"step": "subnet", "format": "torch", "quality": {metric: before}},
            {"step": "distillation", "format": "torch", "quality": {metric: after}},
        )
        figure = Measurement(metric, "", "higher", (after,), "exact")
        measurements = {**base.measurements, metric: figure}
        made.append(
            dataclasses.replace(
                base,
                number=number,
                steps=subnet(number),
                trace=trace,
                measurements=measurements,
            )
        )
    return dataclasses.replace(study, trials=(study.trials[0], *made))


def test_nothing_is_said_of_few_subnets_or_none(study):
    assert agreement(study) == ""
    assert agreement(with_subnets(study, [0.5, 0.6], [0.7, 0.8])) == ""


def test_the_same_order_is_said_to_agree(study):
    values = np.linspace(0.5, 0.9, 12)
    said = agreement(with_subnets(study, values, values + 0.05))
    assert (
        "12 subnets, inherited and tuned quality agree: Kendall's tau is 1.00" in said
    )
    assert "goes from 0.55 to 0.95" in said


def test_no_order_is_not_said_to_agree(study):
    rng = np.random.default_rng(0)
    study = with_subnets(study, rng.permutation(12) / 12, rng.permutation(12) / 12)
    assert "they may not agree" in agreement(study)


def test_it_stands_on_the_page(study):
    values = np.linspace(0.5, 0.9, 12)
    out = io.StringIO()
    page(with_subnets(study, values, values), out)
    assert "inherited and tuned quality agree" in out.getvalue()


def test_several_files_of_one_net_count_once(study):
    many = with_subnets(study, [0.5] * 12, np.linspace(0.7, 0.8, 12))
    twins = [dataclasses.replace(t, steps=subnet(1)) for t in many.trials[1:]]
    assert agreement(dataclasses.replace(many, trials=(many.trials[0], *twins))) == ""
