"""The examples run in a quick form on tiny data of the same make.

With PARETUNE_DATA set, the real files are looked at too.
"""

import gzip
import importlib.util
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from paretune.core.errors import TaskError
from paretune.core.task import SPLITS

torch.set_num_threads(1)

EXAMPLES = Path(__file__).parents[2] / "examples"
NAMES = ("cifar10", "activity", "sentiment")


def write_cifar10(folder):
    image = pytest.importorskip("PIL.Image")
    rng = np.random.default_rng(0)
    arrays = {"classes": np.array([f"class {i}" for i in range(10)])}
    for part, count in (("train", 300), ("test", 60)):
        pieces = []
        for _ in range(count):
            stream = io.BytesIO()
            pixels = rng.integers(0, 256, (32, 32, 3), np.uint8)
            image.fromarray(pixels).save(stream, "JPEG", quality=75)
            pieces.append(stream.getvalue())
        arrays[f"{part}_jpeg"] = np.frombuffer(b"".join(pieces), np.uint8)
        arrays[f"{part}_offsets"] = np.cumsum([0, *map(len, pieces)])
        arrays[f"{part}_labels"] = rng.integers(0, 10, count).astype(np.uint8)
    np.savez(folder / "cifar10_jpeg.npz", **arrays)


def write_activity(folder):
    rng = np.random.default_rng(0)
    subjects = np.repeat(np.arange(1, 11), 7)
    lengths = rng.integers(450, 700, len(subjects))
    signal = rng.normal(size=(lengths.sum(), 6)).astype(np.float32)
    signal[:, 5] = np.repeat(subjects, lengths)  # tells whose window it is
    np.savez(
        folder / "watch_har_50hz.npz",
        signal=signal,
        offsets=np.cumsum([0, *lengths]),
        label=np.tile(np.arange(7), 10).astype(np.uint8),
        subject=subjects.astype(np.uint8),
        side=np.zeros(len(subjects), np.uint8),
        channels=np.array(["ax", "ay", "az", "wx", "wy", "wz"]),
        classes=np.array(list("abcdefg")),
    )


def write_sentiment(folder):
    rng = np.random.default_rng(0)
    words = [a + b for a in ("go", "ba", "fi", "mu", "lo") for b in ("od", "d", "ne")]
    with gzip.open(folder / "vader_sentiment.jsonl.gz", "wt") as file:
        for number in range(900):
            record = {
                "domain": "movie" if number % 2 else "nyt",
                "id": f"{number // 3}_{number % 3}",
                "score": round(float(rng.uniform(-4, 4)), 4),
                "text": " ".join(rng.choice(words, rng.integers(1, 60))) + "!",
            }
            file.write(json.dumps(record) + "\n")


WRITE = {n: globals()[f"write_{n}"] for n in NAMES}


def load(name):
    spec = importlib.util.spec_from_file_location(
        f"example_{name}", EXAMPLES / name / "task.py"
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Runs an example's train.py once on tiny data: (data folder, cache, output)."""
    done = {}

    def run(name):
        if name not in done:
            data, kept = tmp_path_factory.mktemp(name), tmp_path_factory.mktemp("kept")
            WRITE[name](data)
            command = [sys.executable, str(EXAMPLES / name / "train.py")]
            outcome = subprocess.run(
                [*command, "--quick", "--threads", "1", "--data", str(data)],
                env={**os.environ, "PARETUNE_EXAMPLES": str(kept)},
                capture_output=True,
                text=True,
                timeout=200,
            )
            assert outcome.returncode == 0, outcome.stderr
            done[name] = data, kept, outcome.stdout
        return done[name]

    return run


@pytest.fixture
def task(request, trained, monkeypatch):
    data, kept, _ = trained(request.param)
    monkeypatch.setenv("PARETUNE_DATA", str(data))
    monkeypatch.setenv("PARETUNE_EXAMPLES", str(kept))
    return load(request.param).task


every = pytest.mark.parametrize("task", NAMES, indirect=True)


@pytest.mark.parametrize("name", NAMES)
def test_training_writes_weights_to_the_cache_and_leaves_the_data_alone(name, trained):
    data, kept, output = trained(name)
    assert list(kept.rglob("baseline*.safetensors"))
    assert len(list(data.iterdir())) == 1
    assert "test 0." in output


@every
def test_a_batch_goes_through_model_loss_and_metric(task):
    model = task.model()
    assert not model.training
    inputs, targets = map(torch.from_numpy, next(iter(task.batches("train"))))
    varied, same = task.augment(inputs, targets)
    assert varied.shape == inputs.shape and varied.dtype == inputs.dtype
    assert not torch.equal(varied, inputs) and torch.equal(same, targets)
    outputs = model(varied)
    loss = task.loss(outputs, same)
    assert loss.ndim == 0 and torch.isfinite(loss)
    loss.backward()
    scores = task.quality(outputs.detach().numpy(), targets.numpy())
    assert list(scores) == [task.metric]
    assert scores["accuracy"].shape == (len(targets),)


@every
def test_splits_are_there_repeat_and_share_no_sample(task):
    seen = {}
    for split in SPLITS:
        first = [x for x, _ in task.batches(split)]
        assert first
        if split != "train":
            again = [x for x, _ in task.batches(split)]
            assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
        seen[split] = {sample.tobytes() for batch in first for sample in batch}
    for i, one in enumerate(SPLITS):
        for two in SPLITS[i + 1 :]:
            assert not seen[one] & seen[two]
    with pytest.raises(TaskError, match="no split 'dev'"):
        next(iter(task.batches("dev")))


@pytest.mark.parametrize("name", NAMES)
def test_without_weights_or_data_the_error_says_what_to_do(name, tmp_path, monkeypatch):
    monkeypatch.setenv("PARETUNE_EXAMPLES", str(tmp_path))
    monkeypatch.delenv("PARETUNE_DATA", raising=False)
    task = load(name).task
    with pytest.raises(TaskError, match=rf"run: python examples/{name}/train.py"):
        task.model()
    with pytest.raises(TaskError, match="set PARETUNE_DATA"):
        next(iter(task.batches("test")))
    monkeypatch.setenv("PARETUNE_DATA", str(tmp_path))
    with pytest.raises(TaskError, match="no file"):
        next(iter(task.batches("test")))


def test_weights_go_to_the_cache_home_by_default(tmp_path, monkeypatch):
    monkeypatch.delenv("PARETUNE_EXAMPLES", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    for name in NAMES:
        assert load(name).folder() == tmp_path / "paretune" / "examples" / name


def test_subjects_who_trained_together_are_in_one_split(trained):
    data, _, _ = trained("activity")
    module = load("activity")
    for fold in range(5):
        task = module.Activity(data, fold)
        whose = {
            s: {round(float(v)) for v in task.split(s)[0][:, 5, 0] * module.SCALE[5]}
            for s in SPLITS
        }
        assert whose["test"] == set(module.PAIRS[fold])
        assert whose["validation"] == set(module.PAIRS[(fold + 1) % 5])
        assert whose["train"] == whose["calibration"]
        assert whose["train"] == set(range(1, 11)) - whose["test"] - whose["validation"]
    with pytest.raises(TaskError, match="fold 5"):
        module.Activity(data, 5)


def test_padding_changes_nothing_in_the_text_encoder():
    module = load("sentiment")
    torch.manual_seed(0)
    model = module.Net().eval()
    tokens = torch.zeros(2, module.LENGTH, dtype=torch.int64)
    tokens[:, :4] = torch.tensor([module.START, 7, 8, 9])
    before = model(tokens)
    with torch.no_grad():
        model.position[:, 4:] += 5.0
    assert torch.allclose(before, model(tokens), atol=1e-6)


def test_the_tokenizer_cuts_pads_and_knows_its_words():
    module = load("sentiment")
    tokenizer = module.Tokenizer(["Good :) good movie!", "bad movie, good times"])
    assert tokenizer("good MOVIE unheard").tolist()[:5] == [2, 3, 4, 1, 0]
    assert tokenizer("good " * 99).shape == (module.LENGTH,)
    assert tokenizer("").tolist() == [module.START] + [0] * (module.LENGTH - 1)


@pytest.mark.skipif("PARETUNE_DATA" not in os.environ, reason="PARETUNE_DATA not set")
@pytest.mark.parametrize(
    ("name", "least", "shape"),
    [
        ("cifar10", {"test": 10_000, "validation": 5_000}, (3, 32, 32)),
        ("activity", {"test": 800, "validation": 800}, (6, 200)),
        ("sentiment", {"test": 3_500, "validation": 2_500}, (40,)),
    ],
)
def test_the_real_files_load(name, least, shape):
    task = load(name).task
    for split, count in least.items():
        assert len(task.split(split)[1]) >= count
    inputs, targets = next(iter(task.batches("validation")))
    assert inputs.shape == (task.batch, *shape) and len(targets) == task.batch
