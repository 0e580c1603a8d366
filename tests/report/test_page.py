"""The page: self-contained, safe whatever it is given, and true to the study."""

from __future__ import annotations

import base64
import hashlib
import html
import io
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest

from paretune.frontier import frontier
from paretune.report.page import page
from paretune.report.verdict import verdict
from tests.report.conftest import CASES


class Seen(HTMLParser):
    """What a browser would see."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.open, self.content = [], [], {}
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        self.open.append(tag)

    def handle_endtag(self, tag):
        while self.open and self.open.pop() != tag:
            pass

    def handle_data(self, data):
        inside = self.open[-1] if self.open else ""
        self.content.setdefault(inside, []).append(data)

    def all(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


def rendered(study):
    out = io.StringIO()
    page(study, out)
    return out.getvalue()


@pytest.fixture(scope="module")
def text(study):
    return rendered(study)


@pytest.fixture(scope="module")
def data(text):
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', text)
    return json.loads(found[1])


def test_any_study_makes_a_safe_page(any_study):
    text = rendered(any_study)
    text.encode("utf-8")
    seen = Seen(text)
    assert len(seen.all("script")) == 2
    assert len(seen.all("style")) == 1
    assert not seen.all("img")
    for tag, attributes in seen.tags:
        assert not any(name.startswith("on") for name in attributes), (tag, attributes)
        assert "style" not in attributes
        for name in ("src", "href", "action", "srcset", "xlink:href", "formaction"):
            assert attributes.get(name, "data:,") == "data:,", (tag, attributes)
    assert "\x1b" not in text
    assert "alert(1)</script>" not in text


def test_the_policy_allows_its_own_script_and_style_and_nothing_else(text):
    seen = Seen(text)
    (policy,) = (
        m["content"]
        for m in seen.all("meta")
        if m.get("http-equiv") == "Content-Security-Policy"
    )
    assert policy.startswith("default-src 'none'")
    assert "unsafe" not in policy
    for tag in ("script", "style"):
        content = re.findall(rf"<{tag}>(.*?)</{tag}>", text, re.DOTALL)[-1]
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy


def test_nothing_of_the_machine_is_in_it(text, study):
    assert "alice" not in text
    assert str(study.artifacts) not in text
    assert str(Path.home()) == "/" or str(Path.home()) not in text


def test_it_asks_nobody(text):
    assert "//" not in re.sub(r"http://www\.w3\.org/2000/svg|\s//.*", "", text)
    assert len(text) < 400_000


def test_the_verdict_stands_at_the_top(text, study):
    assert f"<h1>{html.escape(verdict(study), quote=True)}</h1>" in text


def test_the_chart_has_every_trial_that_is_ok(data, study):
    by_number = {p["n"]: p for p in data["points"]}
    assert by_number.keys() == {t.number for t in study.trials if t.ok}
    members = {t.number for t in frontier(study).members}
    assert {n for n, p in by_number.items() if p["kind"] == "member"} == members
    assert by_number[0]["kind"] == "baseline"
    point, trial = by_number[13], study.trials[13]
    assert point["v"]["size"][0] == pytest.approx(trial.values["size"] / 1e3)
    accuracy = trial.measurements["accuracy"]
    assert point["v"]["accuracy"] == pytest.approx(
        [
            100 * v
            for v in (accuracy.value, accuracy.interval.low, accuracy.interval.high)
        ]
    )
    proof = study.certified[13]["accuracy"]
    assert point["v"]["accuracy test"][0] == pytest.approx(100 * proof.value)


def test_figures_of_two_splits_never_share_an_axis(data, study):
    axis = next(a for a in data["axes"] if a["key"] == "accuracy test")
    assert axis["label"] == "accuracy, test split"
    with_test = {p["n"] for p in data["points"] if "accuracy test" in p["v"]}
    assert with_test == study.certified.keys()


def test_the_budget_is_drawn_where_it_lies(data, study):
    limits = {limit["key"]: limit["value"] for limit in data["limits"]}
    base = study.baseline.values
    assert limits["size"] == pytest.approx(base["size"] / 8 / 1e3)
    assert limits["accuracy"] == pytest.approx(100 * base["accuracy"] - 1.5)


def test_each_trial_tells_its_recipe_and_what_each_step_did(text):
    article = re.search(r'<article[^>]*id="trial-13">.*?</article>', text, re.DOTALL)[0]
    for said in ("structured pruning", "amount 0.56", "export to onnx", "−76 %"):
        assert said in article
    for said in ("shared", "99.85 % of decisions agree", "SHA-256", "test split"):
        assert said in article


def test_failures_are_shown_with_their_reasons(text):
    for said in ("failed:crash(SIGSEGV)", "failed:parity", "infeasible", "stopped"):
        assert said in text
    assert "max 0.42 at output" in text
    assert "~/secret/task.py" in text


def test_how_it_was_measured_is_there(text):
    for said in ("1.8 %", "2,000 samples", "4,000 samples", "read once", "1.32.0"):
        assert said in text


CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")


@pytest.mark.skipif(CHROMIUM is None, reason="no browser here")
@pytest.mark.parametrize("case", ["whole", "hostile", "regression", "empty"])
def test_a_browser_runs_it_without_complaint(case, study, tmp_path):
    shown = CASES[case](study)
    file = tmp_path / "page.html"
    file.write_text(rendered(shown), encoding="utf-8")
    command = (
        f"{CHROMIUM} --headless --no-sandbox --disable-gpu --no-first-run "
        f"--disable-background-networking --user-data-dir={tmp_path / 'profile'} "
        "--enable-logging=stderr --virtual-time-budget=2000 --dump-dom"
    )
    done = subprocess.run(
        [*command.split(), file.as_uri()],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert "CONSOLE" not in done.stderr
    drawn = done.stdout.count('class="point')
    assert drawn == sum(t.ok for t in shown.trials)
    hidden = done.stdout.count('" hidden="">')
    assert drawn == 0 or drawn - 1 <= hidden
