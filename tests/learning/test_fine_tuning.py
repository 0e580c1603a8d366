"""Fine-tuning makes a model better on data that it wasn't trained on."""

import numpy as np
import pytest
import torch

from paretune.core.candidate import Candidate
from paretune.core.errors import RecipeError
from paretune.core.task import as_arrays
from paretune.core.technique import Run
from paretune.infrastructure.formats.torch import call, tensors
from paretune.learning.fine_tuning import FineTuning
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


def test_it_refuses_a_quantized_model_and_establishes_nothing():
    step = FineTuning(epochs=1)
    assert step.trains
    assert step.traits_after(frozenset({"pruned"})) == {"pruned"}
    with pytest.raises(RecipeError, match="recipe-order"):
        step.traits_after(frozenset({"quantized"}))


def test_it_names_itself_in_the_lineage_and_in_the_progress():
    task, told = ConvNet(), set()
    run = Run(task, progress=lambda what, share: told.add(what))
    candidate = FineTuning(epochs=1).apply(Candidate(task.model(), "torch"), run)
    assert told == {"fine_tuning"}
    assert '"technique": "fine_tuning"' in candidate.lineage[-1]
