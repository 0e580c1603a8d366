"""What a search is told of energy, before any of it has run."""

import pytest

from paretune import api
from paretune.core.errors import MeasurementError, UnavailableError
from paretune.measurement import _energy
from paretune.options import Options, settings_of
from paretune.report.records import records
from tests.toys import ConvNet


@pytest.fixture(autouse=True)
def no_counter(monkeypatch):
    """As on a machine on which nothing counts joules."""
    monkeypatch.delenv("PARETUNE_METER", raising=False)
    monkeypatch.setattr(_energy, "rapl", lambda: "no RAPL in /sys/class/powercap")


def test_energy_is_asked_for_by_a_limit_an_objective_or_the_flag():
    assert settings_of(Options(), {"size", "latency_p50"}) == {}
    with pytest.raises(UnavailableError, match=r"no RAPL.*--estimate-energy"):
        settings_of(Options(), {"size", "energy"})
    guess = {"energy": {"source": "estimate"}}
    assert settings_of(Options(estimate_energy=True), {"energy"}) == guess
    assert settings_of(Options(estimate_energy=True), ()) == guess


def test_a_study_keeps_to_the_tier_that_it_has_figures_of():
    with pytest.raises(UnavailableError, match="taken by 'rapl'"):
        settings_of(Options(estimate_energy=True), (), "rapl")


@pytest.mark.parametrize(
    "asked",
    [{"require": "energy<=1mJ"}, {"objectives": ("size", "energy")}],
    ids=["require", "objectives"],
)
def test_a_guess_is_no_axis_unless_it_is_welcome(asked, tmp_path):
    with pytest.raises(UnavailableError, match="energy-unavailable"):
        api.optimize(ConvNet(), store=tmp_path, worker="in_process", trials=1, **asked)
    assert not list((tmp_path / "artifacts").glob("*"))


def test_a_grid_that_is_none_is_found_before_any_work(tmp_path):
    with pytest.raises(MeasurementError, match="grams of CO2"):
        api.optimize(ConvNet(), store=tmp_path, grid="-3")


def test_a_search_with_an_estimate_says_so_everywhere(tmp_path):
    study = api.optimize(
        ConvNet(),
        store=tmp_path,
        worker="in_process",
        trials=1,
        quick=True,
        epochs=1,
        estimate_energy=True,
        grid="100",
    )
    for trial in study.trials:
        if trial.ok:
            taken = trial.measurements["energy"]
            assert taken.flags[0] == "energy: estimated, ±50 %"
            assert taken.detail["source"] == "estimate"
            assert "cpu_s" not in trial.cost
    cost = records(study)["cost"]
    assert cost["energy_source"] == "estimate" and cost["energy_j"] > 0
    assert cost["cpu_s"] >= cost["train_s"] * 0.5
    assert cost["grid"]["intensity"] == 100.0
    assert cost["co2e_g"] == pytest.approx(cost["energy_j"] / 3.6e6 * 100.0)
