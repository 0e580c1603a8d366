"""Bad input: one sentence with what, where and the remedy, before any training."""

import numpy as np
import pytest
import torch
from torch import nn

from paretune.core.errors import TaskError
from paretune.core.loaders import Loaders
from paretune.engine import preflight
from tests.toys import ConvNet, PairNet, TextNet, blobs


def refused(task, code):
    """The message of the error that the task gets."""
    with pytest.raises(TaskError) as raised:
        preflight.check(task)
    assert raised.value.code == code, str(raised.value)
    return raised.value.message


def altered(split, change):
    """A ConvNet whose `split` went through `change(inputs, labels)`."""

    class Altered(ConvNet):
        def split(self, name):
            inputs, labels = super().split(name)
            return change(inputs, labels) if name == split else (inputs, labels)

    return Altered()


@pytest.mark.parametrize("toy", [ConvNet, TextNet, PairNet])
def test_sound_tasks_pass_and_the_fingerprint_repeats(toy):
    first, second = preflight.check(toy()), preflight.check(toy())
    assert first["fingerprint"] == second["fingerprint"]
    assert first["samples"] == toy.counts


def test_other_data_has_another_fingerprint():
    other = altered("validation", lambda x, y: (x + 1, y))
    assert (
        preflight.check(other)["fingerprint"]
        != preflight.check(ConvNet())["fingerprint"]
    )


def with_more(change=lambda x: (x, None)):
    """A ConvNet with inputs that nobody labelled, through `change(inputs)`."""

    class More(ConvNet):
        unlabelled = True

        def split(self, name):
            if name != "unlabelled":
                return super().split(name)
            return change(blobs(64, 9, self.shape)[0])

    return More()


def test_what_has_no_label_is_a_part_of_the_fingerprint():
    first, other = map(
        preflight.check, (with_more(), with_more(lambda x: (x + 1, None)))
    )
    assert first["samples"]["unlabelled"] == 64
    assert first["fingerprint"] == preflight.check(with_more())["fingerprint"]
    assert first["fingerprint"] != other["fingerprint"]


@pytest.mark.parametrize("split", ["validation", "test"])
def test_what_has_no_label_is_none_of_what_is_judged(split):
    judged = ConvNet().split(split)[0]
    assert split in refused(with_more(lambda _: (judged, None)), "data-leak")


def test_what_has_no_label_may_be_part_of_train():
    train = ConvNet().split("train")[0]
    preflight.check(with_more(lambda _: (train[:64], None)))


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda x: (x * np.nan, None), "data-nonfinite"),
        (lambda x: (np.moveaxis(x, 1, -1), None), "data-shape"),
        (lambda x: (x, np.zeros(len(x))), "data-type"),
        (lambda x: (x[:0], None), "data-empty"),
    ],
)
def test_what_has_no_label_is_looked_at_as_well(change, code):
    assert "unlabelled" in refused(with_more(change), code) or code == "data-shape"


def test_an_empty_split():
    message = refused(altered("validation", lambda x, y: (x[:0], y[:0])), "data-empty")
    assert "validation" in message


def test_a_split_too_small_to_tell_anything():
    message = refused(altered("test", lambda x, y: (x[:7], y[:7])), "data-too-small")
    assert "7 samples" in message and "14 points" in message


def test_the_same_sample_in_train_and_test():
    leaked = ConvNet().split("train")[0][:1]

    def leak(inputs, labels):
        return np.concatenate([leaked, inputs[1:]]), labels

    message = refused(altered("test", leak), "data-leak")
    assert "train" in message and "test" in message


def test_calibration_may_be_part_of_train():
    train = ConvNet().split("train")
    preflight.check(altered("calibration", lambda x, y: (train[0][:64], train[1][:64])))


@pytest.mark.parametrize("bad", [3, -1])
def test_a_label_out_of_range_names_the_sample(bad):
    def spoil(inputs, labels):
        labels[40] = bad
        return inputs, labels

    message = refused(altered("validation", spoil), "data-labels")
    assert f"label {bad} with 3 outputs (valid 0-2)" in message
    assert "validation sample 40" in message


def test_a_label_that_the_loss_ignores_is_fine():
    def ignore(inputs, labels):
        labels[3] = -100
        return inputs, labels

    preflight.check(altered("validation", ignore))


def test_nan_in_the_inputs_names_the_sample():
    def spoil(inputs, labels):
        inputs[77, 0, 2, 2:5] = np.nan
        return inputs, labels

    message = refused(altered("train", spoil), "data-nonfinite")
    assert "3 values" in message and "train sample" in message


def test_nan_in_the_weights_names_the_tensor():
    class Spoilt(ConvNet):
        def model(self):
            model = super().model()
            with torch.no_grad():
                model[4].weight[0, 0, 0, 0] = float("nan")
            return model

    assert "4.weight" in refused(Spoilt(), "model-nonfinite")


def test_unequal_numbers_of_inputs_and_targets():
    class Ragged(ConvNet):
        def batches(self, split):
            for inputs, labels in super().batches(split):
                yield inputs, labels[:-1]

    assert "unequal" in refused(Ragged(), "data-length")


def test_a_loader_that_can_be_read_once():
    class Once(ConvNet):
        def __init__(self):
            self.kept = {
                s: iter(list(super(Once, self).batches(s))) for s in self.counts
            }

        def batches(self, split):
            return self.kept[split]

    assert "second time" in refused(Once(), "data-once")


@pytest.mark.parametrize("once", ["train", "calibration", "validation", "test"])
def test_one_split_that_can_be_read_once_is_named(once):
    class Once(ConvNet):
        def __init__(self):
            self.kept = iter(list(super().batches(once)))

        def batches(self, split):
            return self.kept if split == once else super().batches(split)

    assert repr(once) in refused(Once(), "data-once")


@pytest.mark.parametrize(
    ("change", "part"),
    [
        (lambda x, y: (x, list(map(int, y))), "a list of 32 int"),
        (lambda x, y: ([object()] * len(x), y), "a list of 32 object"),
        (lambda x, y: ((row for row in x), y), "generator"),
        (lambda x, y: (x, ["a"] * len(x)), "a list of 32 str"),
        (lambda x, y: (x, np.array(["a"] * len(x))), "<U1[32]"),
        (lambda x, y: (x, ([[1], [1, 2]],)), "inhomogeneous"),
        (lambda x, y: {"x": x, "y": y}, "pair"),
        (lambda x, y: None, "pair"),
    ],
)
def test_batches_of_something_else_than_arrays(change, part):
    class Odd(ConvNet):
        def batches(self, split):
            return (change(*pair) for pair in super().batches(split))

    message = refused(Odd(), "data-type")
    assert part in message and "batches('train')" in message


def test_batches_that_are_no_batches():
    class Odd(ConvNet):
        def batches(self, split):
            return 7

    assert "batches('train') gives int" in refused(Odd(), "data-type")


def test_training_batches_that_do_not_repeat_are_warned_of():
    class Unseeded(ConvNet):
        own = np.random.default_rng(0)

        def split(self, name):
            inputs, labels = super().split(name)
            order = self.own.permutation(len(labels))
            return (
                (inputs[order], labels[order]) if name == "train" else (inputs, labels)
            )

    warnings = preflight.check(Unseeded())["warnings"]
    assert any("data-order" in w for w in warnings)
    assert not any("data-order" in w for w in preflight.check(ConvNet())["warnings"])


def test_images_in_another_layout():
    message = refused(
        altered("train", lambda x, y: (np.moveaxis(x, 1, -1), y)), "data-shape"
    )
    assert "float32" in message and "axes" in message


def test_a_model_left_in_train_mode_with_dropout():
    class Dropped(ConvNet):
        def model(self):
            model = super().model()
            model.append(nn.Dropout(0.5))
            model.train()
            return model

    # the sessions put modules in eval mode; what stays random is functional dropout
    class Random(ConvNet):
        def model(self):
            model = super().model()

            class Noisy(nn.Module):
                def forward(self, x):
                    return nn.functional.dropout(x, 0.5, training=True)

            model.append(Noisy())
            return model

    assert "differ by" in refused(Random(), "model-nondeterministic")


@pytest.mark.parametrize(
    ("value", "part"),
    [
        (float("nan"), "finite"),
        ("good", "str"),
        (torch.ones(3, 3), "Tensor"),
    ],
)
def test_a_metric_that_returns_something_else(value, part):
    class Odd(ConvNet):
        def quality(self, outputs, targets):
            return {"accuracy": value}

    assert part in refused(Odd(), "metric-type")


def test_a_metric_of_another_name():
    class Misnamed(ConvNet):
        def quality(self, outputs, targets):
            return {"acuracy": outputs.argmax(-1) == targets}

    with pytest.raises(TaskError, match="accuracy"):
        preflight.check(Misnamed())


def test_a_loss_that_is_no_scalar():
    class Vector(ConvNet):
        def loss(self, outputs, targets):
            return nn.functional.cross_entropy(outputs, targets, reduction="none")

    assert "scalar" in refused(Vector(), "loss-type")


def test_users_code_that_raises_is_told_as_theirs():
    class Raising(ConvNet):
        def model(self):
            raise ValueError("no such checkpoint")

    message = refused(Raising(), "task-raises")
    assert "ValueError" in message and "no such checkpoint" in message


def test_a_baseline_no_better_than_chance_is_warned_of():
    class Untrained(ConvNet):
        def model(self):
            model = super().model()
            with torch.no_grad():
                model[-1].weight.zero_()
            return model

    (warning,) = preflight.check(Untrained())["warnings"]
    assert "shuffled" in warning


@pytest.mark.parametrize(
    ("found", "code", "part"),
    [
        (lambda m: m.state_dict(), "model-weights-only", "holds 14 tensors"),
        (lambda m: {"epoch": 3, "model": m.state_dict()}, "model-type", "gives dict"),
        (lambda m: None, "model-type", "gives NoneType"),
        (lambda m: m.forward, "model-type", "gives method"),
    ],
)
def test_a_model_that_is_no_module(found, code, part):
    toy = ConvNet()

    class Odd(ConvNet):
        def model(self):
            return found(super().model())

    assert part in refused(Odd(), code)
    splits = {s: list(toy.batches(s)) for s in ("train", "validation", "test")}
    quality = {"accuracy": lambda o, t: o.argmax(-1) == t}
    held = Loaders(found(toy.model()), loss=toy.loss, quality=quality, **splits)
    assert part in refused(held, code)

    class Taught(ConvNet):
        @property
        def teachers(self):
            return {"big": Odd().model}

    assert "teachers['big']" in refused(Taught(), code)


def test_an_error_without_a_message_is_told_by_its_type():
    class Silent(nn.Module):
        def forward(self, x):
            raise AssertionError

    class Raising(ConvNet):
        def model(self):
            return Silent()

    assert "AssertionError" in refused(Raising(), "data-shape")


@pytest.mark.parametrize(
    ("shape", "part"),
    [(lambda x: x.sum(), "shape []"), (lambda x: x.sum((1, 2)).T, "shape [8, 32]")],
)
def test_outputs_without_a_batch_axis(shape, part):
    class Other(nn.Module):
        def forward(self, x):
            return shape(x)

    class Odd(ConvNet):
        def model(self):
            return Other()

    assert part in refused(Odd(), "output-shape")


@pytest.mark.parametrize("where", ["model", "batches", "loss", "forward"])
def test_running_out_of_memory_is_not_blamed_on_the_task(where):
    def burst(*_):
        raise MemoryError

    class Big(nn.Module):
        forward = burst

    class Huge(ConvNet):
        def model(self):
            return Big() if where == "forward" else super().model()

    if where != "forward":
        setattr(Huge, where, burst)
    with pytest.raises(MemoryError):
        preflight.check(Huge())


def test_a_direction_that_is_none():
    class Sideways(ConvNet):
        metrics = {"accuracy": "up"}

    assert "'higher' or 'lower'" in refused(Sideways(), "metric-direction")


def test_targets_shorter_than_inputs():
    message = refused(altered("train", lambda x, y: (x, y[:-5])), "data-length")
    assert "256" in message and "251" in message
