"""The built-in task: its data, its baseline, its augmentation."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch

from paretune.core.errors import TaskError
from paretune.core.task import SPLITS
from paretune.tasks.fashion import BLACK, FOLDER, Fashion

torch.set_num_threads(1)

SIZES = {"train": 10_000, "calibration": 500, "validation": 3_000, "test": 5_000}
OFFICIAL = Path("/usr/share/datasets/fashion-mnist")
SCRIPT = Path(__file__).parents[2] / "scripts/cut_fashion.py"


@pytest.mark.parametrize("name", SPLITS)
def test_a_split_has_its_size_and_every_class_equally_often(name):
    images, labels = Fashion().split(name)
    assert images.shape == (SIZES[name], 1, 28, 28)
    assert images.dtype == np.float32 and labels.dtype == np.int64
    assert np.bincount(labels).tolist() == [SIZES[name] // 10] * 10


def test_inputs_are_normalised_with_black_at_the_bottom():
    images, _ = Fashion().split("train")
    assert abs(images.mean()) < 0.02 and abs(images.std() - 1) < 0.02
    assert images.min() == np.float32(BLACK)


def test_no_image_is_there_twice_in_one_split_or_two():
    contents = [im.tobytes() for name in SPLITS for im in Fashion().split(name)[0]]
    assert len(set(contents)) == len(contents) == sum(SIZES.values())


def test_what_ships_stays_small():
    assert (FOLDER / "images.npz").stat().st_size <= 7_000_000
    assert (FOLDER / "baseline.safetensors").stat().st_size <= 2_400_000
    assert "MIT licence" in (FOLDER / "NOTICE").read_text()


def test_an_unknown_split_is_refused():
    with pytest.raises(TaskError, match="no split 'dev'"):
        Fashion().split("dev")


def test_the_baseline_is_plain_and_reaches_ninety_per_cent_on_test():
    task = Fashion()
    model = task.model()
    assert not model.training
    assert 300_000 <= sum(p.numel() for p in model.parameters()) <= 600_000
    right = []
    for inputs, targets in task.batches("test"):
        with torch.inference_mode():
            outputs = model(torch.from_numpy(inputs)).numpy()
        right.append(task.quality(outputs, targets)["accuracy"])
    assert np.concatenate(right).mean() >= 0.90


def test_every_model_is_a_new_object():
    task = Fashion()
    first, second = task.model(), task.model()
    with torch.no_grad():
        first.head.weight.zero_()
    assert second.head.weight.abs().sum() > 0


def test_augmentation_only_moves_and_flips():
    torch.manual_seed(3)
    images, labels = next(iter(Fashion().batches("validation")))
    images, labels = torch.from_numpy(images), torch.from_numpy(labels)
    before = images.clone()
    varied, targets = Fashion().augment(images, labels)
    assert varied.shape == images.shape and varied.dtype == images.dtype
    assert torch.equal(targets, labels) and torch.equal(images, before)

    padded = torch.nn.functional.pad(images, (2,) * 4, value=BLACK)
    moved = [padded[..., y : y + 28, x : x + 28] for y in range(5) for x in range(5)]
    seen = torch.stack([*moved, *(m.flip(-1) for m in moved)])
    same = (seen == varied).flatten(2).all(-1)
    assert same.any(0).all(), "an image that is no shift or flip of its source"
    assert len(same.float().argmax(0).unique()) > 30


def test_augmentation_repeats_with_the_seed_and_differs_without():
    images, labels = map(torch.from_numpy, next(iter(Fashion().batches("test"))))
    draws = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        draws.append(Fashion().augment(images, labels)[0])
    assert torch.equal(draws[0], draws[1]) and not torch.equal(draws[0], draws[2])


@pytest.mark.skipif(not OFFICIAL.is_dir(), reason="dataset-fashion-mnist is missing")
def test_the_shipped_images_are_what_the_script_cuts(tmp_path):
    spec = importlib.util.spec_from_file_location("cut_fashion", SCRIPT)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    arrays = script.cut(*script.official(OFFICIAL, "t10k"), script.TEST, seen := set())
    training = script.official(OFFICIAL, "train")
    arrays |= script.cut(*training, script.TRAINING, seen)
    with np.load(FOLDER / "images.npz", allow_pickle=False) as shipped:
        assert sorted(shipped) == sorted(arrays)
        assert all(np.array_equal(shipped[name], arrays[name]) for name in arrays)
    few = {"test_images": arrays["test_images"][:20]}
    for name in ("one.npz", "two.npz"):
        script.write(tmp_path / name, few)
    assert (tmp_path / "one.npz").read_bytes() == (tmp_path / "two.npz").read_bytes()


def test_an_image_that_is_there_twice_is_cut_once(tmp_path):
    spec = importlib.util.spec_from_file_location("cut_fashion", SCRIPT)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (60, 28, 28), np.uint8)
    images = np.concatenate([images, images[:20]])
    labels = np.arange(80, dtype=np.uint8) % 10
    arrays = script.cut(images, labels, {"train": 40, "test": 20}, set())
    cut = np.concatenate([arrays["train_images"], arrays["test_images"]])
    assert len(np.unique(cut.reshape(60, -1), axis=0)) == 60
