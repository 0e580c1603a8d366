"""Wrong input: one sentence, exit code 1, no traceback, at once."""

import subprocess
import sys

import pytest

RAISES = "import paretune\nraise RuntimeError('my own fault')\n"
WRONG = [
    (["optimize", "no_such_task.py"], "There is no file no_such_task.py"),
    (["optimize", "fashon"], "did you mean 'fashion'"),
    (["optimise", "fashion"], "did you mean 'optimize'"),
    (["optimize"], "Missing argument"),
    (["optimize", "fashion", "--budget", "soon"], "90s, 10m"),
    (["optimize", "fashion", "--trials", "0"], "trials"),
    (["optimize", "fashion", "--sampler", "tpee"], "did you mean 'tpe'"),
    (["optimize", "fashion", "--strategy", "shrink"], "shrink_and_improve"),
    (["optimize", "fashion", "--runtime", "onnx"], "did you mean 'onnxruntime'"),
    (["optimize", "fashion", "--data", "nowhere"], "no data folder"),
    (["optimize", "fashion", "--require", "latncy_p50<=5ms"], "'latency_p50'"),
    (["optimize", "fashion", "--require", "latency_p50<=5 parsecs"], "parsecs"),
    (["optimize", "fashion", "--require", "accuracy>=basline"], "'baseline'"),
    (["optimize", "fashion", "--require", "size=3MB"], "'<=' or '>='"),
    (["optimize", "fashion", "--objectives", "sise"], "did you mean 'size'"),
    (["optimize", "fashion", "--grid", "1e9"], "grams of CO2 equivalent per kWh"),
    (["optimize", "raises.py"], "raises.py:2"),
    (["frontier", "nothing"], "nothing"),
    (["report", "nothing", "-o", "x.html"], "nothing"),
    (["apply", "nothing.yaml", "fashion"], "no recipe file"),
    (["apply", "order.yaml", "fashion"], "can't follow"),
    (["apply", "typo.yaml", "fashion"], "did you mean 'structured_pruning'"),
    (["apply", "value.yaml", "fashion"], "ratio=1.5"),
    (["measure", "nothing.onnx", "fashion"], "no file"),
    (["measure", "value.yaml", "fashion", "--threads", "999"], "at most"),
    (["measure", "value.yaml", "fashion", "--scenario", "ofline"], "offline"),
    (["compare", "nothing.onnx", "nothing.onnx"], "STUDY:MEMBER"),
    (["compare", "nothing:0", "nothing:1"], "nothing"),
    (["compare", "value.yaml", "value.yaml"], "value.yaml"),
    (["optimize", "fashion", "--objectives", "energy"], "--estimate-energy"),
    (["optimize", "fashion", "--grid", "many"], "grams per kWh"),
    (["why", "nothing", "best"], "nothing"),
    (["attribute", "nothing"], "nothing"),
    (["plan", "fashion", "--recipes", "nothing.yaml"], "no recipe file"),
    (["plan", "fashion"], "--recipes"),
    (["plan", "fashion", "--recipes", "empty.yaml"], "no list of recipes"),
    (["plan", "fashion", "--recipes", "typo.yaml"], "one step alone"),
    (["optimize", "fashion", "--recipes", "free.yaml"], "can be expanded"),
    (["optimize", "fashion", "--recipes", "list.yaml"], "recipe 2: there is no tech"),
    (["optimize", "fashion", "--strategy", "sweep"], "--recipes FILE"),
]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wrong")
    (folder / "raises.py").write_text(RAISES)
    int8, prune = "- technique: post_training_quantization\n", "- technique: {}\n"
    (folder / "order.yaml").write_text(int8 + prune.format("structured_pruning"))
    (folder / "typo.yaml").write_text(prune.format("structured_prunning"))
    (folder / "value.yaml").write_text(
        prune.format("structured_pruning") + "  ratio: 1.5\n"
    )
    (folder / "empty.yaml").write_text("[]")
    many = "- - {technique: structured_pruning, ratio: 0.5}\n"
    (folder / "free.yaml").write_text(many.replace("0.5", "{real: [0.3, 0.5]}"))
    (folder / "list.yaml").write_text(many + "- - {technique: prune}\n")
    return folder


@pytest.mark.parametrize(("words", "part"), WRONG, ids=[" ".join(w) for w, _ in WRONG])
def test_one_sentence(words, part, place):
    told = subprocess.run(
        [sys.executable, "-m", "paretune.cli.main", *words],
        cwd=place,
        env={"PATH": "/usr/bin:/bin", "HOME": str(place), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert told.returncode == 1, told.stderr
    assert part in told.stderr
    assert "Traceback" not in told.stderr
    lines = told.stderr.strip().splitlines()
    assert lines[-1].startswith("paretune: ["), "the sentence comes last"
