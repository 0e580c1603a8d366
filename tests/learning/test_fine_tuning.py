"""Fine-tuning makes a model better on data that it wasn't trained on."""

import numpy as np
import pytest
import torch

from paretune.compression.structured_pruning import StructuredPruning
from paretune.core.candidate import Candidate
from paretune.core.errors import RecipeError, UnsupportedError
from paretune.core.task import as_arrays
from paretune.core.technique import Run
from paretune.infrastructure.formats.torch import call, tensors
from paretune.learning.fine_tuning import FineTuning
from paretune.tasks.fashion import Fashion
from tests.toys import ConvNet, PairNet, TextNet


def quality(task, model):
    outputs, targets = [], []
    with torch.no_grad():
        for inputs, target in task.batches("validation"):
            outputs.append(as_arrays(call(model, tensors(inputs)), "output"))
            targets.append(as_arrays(target, "target"))
    joined = [
        {k: np.concatenate([p[k] for p in parts]) for k in parts[0]}
        for parts in (outputs, targets)
    ]
    lone = [next(iter(j.values())) if len(j) == 1 else j for j in joined]
    return float(np.mean(task.quality(*lone)[task.metric]))


@pytest.mark.parametrize("task", [ConvNet(), TextNet(), PairNet()])
def test_it_raises_the_quality_clearly(task):
    model = task.model()
    tuned = FineTuning(epochs=8, learning_rate=5e-3).on_torch(model, Run(task))
    assert quality(task, tuned) > quality(task, model) + 0.25


def test_it_refuses_a_quantized_or_clustered_model_and_establishes_nothing():
    step = FineTuning(epochs=1)
    assert step.trains
    assert step.traits_after(frozenset({"pruned"})) == {"pruned"}
    for trait in ("quantized", "clustered"):
        with pytest.raises(RecipeError, match="recipe-order"):
            step.traits_after(frozenset({trait}))


def test_it_names_itself_in_the_lineage_and_in_the_progress():
    task, told = ConvNet(), set()
    run = Run(task, progress=lambda what, share: told.add(what))
    candidate = FineTuning(epochs=1).apply(Candidate(task.model(), "torch"), run)
    assert told == {"fine_tuning"}
    assert '"technique": "fine_tuning"' in candidate.lineage[-1]


class Clothes(Fashion):
    """A thousand of the training images."""

    def split(self, name):
        images, labels = super().split(name)
        few = 1024 if name == "train" else 500
        return images[:few], labels[:few]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"schedule": "one_cycle", "average": "ema", "label_smoothing": 0.1},
        {"schedule": "constant", "average": "swa", "batch_size": 64},
        {"sharpness": 0.05, "patience": 1, "batch_size": "auto"},
    ],
)
def test_a_pruned_network_of_real_images_recovers(options):
    task = Clothes()
    run = Run(task)
    model = StructuredPruning(ratio=0.4).on_torch(task.model(), run)
    step = FineTuning(epochs=1, learning_rate=3e-3, **options)
    after = quality(task, step.on_torch(model, run))
    assert after > quality(task, model) + 0.1
    assert after > 0.75


def test_a_fresh_start_forgets_and_the_seed_decides():
    task = ConvNet()
    trained = FineTuning(epochs=8, learning_rate=5e-3).on_torch(task.model(), Run(task))
    step = FineTuning(epochs=1, learning_rate=1e-5, start="fresh")
    first, again = (step.on_torch(trained, Run(task, seed=1)) for _ in range(2))
    other = step.on_torch(trained, Run(task, seed=2))
    assert torch.equal(first[0].weight, again[0].weight)
    assert not torch.allclose(first[0].weight, other[0].weight, atol=1e-2)
    assert quality(task, first) < quality(task, trained) - 0.1


def test_smoothed_labels_make_a_model_less_sure():
    task = ConvNet()
    sure = {}
    for share in (0.0, 0.3):
        step = FineTuning(epochs=8, learning_rate=1e-2, label_smoothing=share)
        model = step.on_torch(task.model(), Run(task))
        inputs = torch.from_numpy(task.split("train")[0])
        with torch.no_grad():
            sure[share] = float(model(inputs).softmax(1).amax(1).mean())
    assert sure[0.3] < sure[0.0] - 0.05


def test_labels_can_not_be_smoothed_where_there_are_none():
    class Values(PairNet):
        def split(self, name):
            inputs, targets = super().split(name)
            return inputs, {"value": targets["value"]}

        def loss(self, outputs, targets):
            return torch.nn.functional.mse_loss(outputs["value"], targets["value"])

    task = Values()
    with pytest.raises(UnsupportedError, match="label_smoothing to 0"):
        FineTuning(epochs=1, label_smoothing=0.1).on_torch(task.model(), Run(task))
