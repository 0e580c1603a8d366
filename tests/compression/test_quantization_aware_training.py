from __future__ import annotations

import functools
import logging

import numpy as np
import onnxruntime
import pytest
import torch
from onnx import numpy_helper
from torch import nn

from paretune.catalog import TECHNIQUES
from paretune.compression._qat import simulation
from paretune.compression._quantization import choice, grid
from paretune.compression.post_training_quantization import PostTrainingQuantization
from paretune.compression.quantization_aware_training import QuantizationAwareTraining
from paretune.core.candidate import Candidate
from paretune.core.errors import RecipeError, UnsupportedError
from paretune.core.technique import Run
from paretune.infrastructure.formats import onnx as onnx_format
from paretune.infrastructure.formats.torch import call, tensors
from paretune.tasks.fashion import Fashion
from tests.toys import Classes, ConvNet, PairNet, ResNet, SignalNet, TextNet

QUICK = {"epochs": 1, "learning_rate": 1e-3}


class Separable(Fashion):
    """Some images of `fashion` at half the size, a small net of separable layers."""

    name = "separable"
    counts = {"train": 1500, "validation": 1000, "calibration": 256, "test": 128}

    def split(self, name):
        images, labels = super().split(name)
        count = self.counts[name]
        return np.ascontiguousarray(images[:count, :, ::2, ::2]), labels[:count]

    def augment(self, inputs, targets):
        return inputs, targets

    def model(self):
        torch.manual_seed(0)
        net = separable()
        net.load_state_dict(weights())
        return net.eval()


def separable() -> nn.Sequential:
    def block(before, after, groups, size, stride):
        conv = nn.Conv2d(
            before, after, size, stride, size // 2, groups=groups, bias=False
        )
        return conv, nn.BatchNorm2d(after), nn.ReLU()

    layers, before = [*block(1, 16, 1, 3, 2)], 16
    for after, stride in ((24, 1), (32, 1), (32, 1)):
        layers += block(before, before, before, 3, stride)
        layers += block(before, after, 1, 1, 1)
        before = after
    return nn.Sequential(
        *layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(before, 10)
    )


@functools.cache
def weights() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    net, steps = separable().train(), 12 * 12
    images, labels = map(torch.from_numpy, Separable().split("train"))
    optimizer = torch.optim.AdamW(net.parameters(), 1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-2, steps)
    for _ in range(steps // 12):
        for rows in torch.randperm(len(images)).split(125):
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(net(images[rows]), labels[rows])
            loss.backward()
            optimizer.step()
            schedule.step()
    return {k: v.detach().clone() for k, v in net.state_dict().items()}


@functools.cache
def trained(**parameters) -> nn.Module:
    technique = QuantizationAwareTraining(
        weight_bits=4, epochs=3, learning_rate=2e-3, **parameters
    )
    task = Separable()
    return technique.on_torch(task.model(), Run(task))


def exported(model, task):
    return onnx_format.from_torch(Candidate(model, "torch"), task).model


def written(model, task, bits):
    technique = PostTrainingQuantization(weight_bits=bits)
    return technique.on_onnx(exported(model, task), Run(task))


def answers(model, inputs: np.ndarray) -> np.ndarray:
    if isinstance(model, nn.Module):
        with torch.no_grad():
            return call(model, torch.from_numpy(inputs)).numpy()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return session.run(None, {"input": inputs})[0]


def accuracy(model) -> float:
    images, labels = Separable().split("validation")
    return float((answers(model, images).argmax(-1) == labels).mean())


def simulated(model, task, bits=4) -> simulation.Simulation:
    """A simulation with the ranges of the calibration split, as files have them."""
    sim = simulation.Simulation(model, task, bits, 8)
    sim.eval()
    for part in sim._activations():
        part.enable_observer()
        part.activation_post_process.averaging_constant = 1.0
    with torch.no_grad():
        sim(tensors(task.split("calibration")[0]))
    return sim.eval()


def test_four_bits_lose_less_after_it_and_less_with_a_teacher():
    task = Separable()
    source = accuracy(task.model())
    before = accuracy(written(task.model(), task, 4))
    assert source - before > 0.01
    assert accuracy(written(trained(), task, 4)) > before
    taught = accuracy(written(trained(distil=0.9), task, 4))
    assert taught > before + 0.3 * (source - before)


@pytest.mark.parametrize("bits", [8, 4])
def test_the_file_decides_as_what_was_trained(bits):
    task = Separable()
    model = trained() if bits == 4 else task.model()
    images = task.split("validation")[0]
    file = answers(written(model, task, bits), images)
    training = answers(simulated(model, task, bits), images)
    assert (file.argmax(-1) == training.argmax(-1)).mean() >= 0.99
    assert np.abs(file - training).mean() < 0.02 * np.abs(training).max()


@pytest.mark.parametrize("bits", [7, 4])
def test_the_file_has_the_weights_that_were_trained(bits):
    task = ResNet()
    model = QuantizationAwareTraining(weight_bits=bits, **QUICK).on_torch(
        task.model(), Run(task)
    )
    quantized = written(model, task, bits)
    source = {
        i.name: numpy_helper.to_array(i)
        for i in exported(model, task).graph.initializer
    }
    makers = {n.output[0]: n for n in quantized.graph.node}
    stored = {i.name: numpy_helper.to_array(i) for i in quantized.graph.initializer}
    compared = 0
    for node in quantized.graph.node:
        if node.op_type not in ("Conv", "Gemm"):
            continue
        given = makers[node.input[1]].input
        levels = stored[given[0].removesuffix("_widened")].astype(np.float32)
        scale = grid.along(stored[given[1]], 0, levels.ndim)
        whole = levels * scale
        name = given[0].removesuffix("_widened").removesuffix("_quantized")
        np.testing.assert_allclose(whole, source[name], rtol=1e-4, atol=1e-7)
        compared += 1
    assert compared == 6


def test_weights_come_back_on_their_grid_and_structure_is_the_same():
    model, before = trained(), Separable().model()
    assert model.state_dict().keys() == before.state_dict().keys()
    assert not model.training and str(model) == str(before)
    for module in model.modules():
        assert not module._forward_hooks and not hasattr(module, "parametrizations")
        if isinstance(module, nn.Conv2d | nn.Linear):
            weight = module.weight.detach().numpy()
            step = grid.scales(weight, 0, 4)
            np.testing.assert_allclose(
                grid.rounded(weight, step, 0, 4), weight, rtol=1e-5, atol=1e-9
            )
            assert all(
                len(np.unique(np.round(row / s))) <= 15
                for row, s in zip(weight, step, strict=True)
            )


def test_float_and_simulated_model_differ_by_rounding_only():
    task = Separable()
    model = trained()
    images = task.split("validation")[0][:256]
    fine = simulation.Simulation(model, task, 4, simulation.FLOAT).eval()
    np.testing.assert_allclose(
        answers(fine, images), answers(model, images), rtol=1e-3, atol=1e-3
    )


class Odd(Classes):
    """Batch normalisation with an epsilon and factors that a fold must not lose."""

    name = "odd"

    def model(self):
        torch.manual_seed(0)
        net = nn.Sequential(
            nn.Conv2d(1, 8, 3, padding=1),
            nn.BatchNorm2d(8, eps=0.1, momentum=0.3),
            nn.ReLU(inplace=True),
            nn.Conv2d(8, 8, 3, padding=1, groups=8, bias=False),
            nn.BatchNorm2d(8, affine=False),
            nn.ReLU6(),
            nn.Dropout(0.5),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(8, 3),
        )
        with torch.no_grad():
            net[1].weight.copy_(torch.tensor([0.0, -1.0, 1.0, 2.0, 0.5, 1.0, 1.0, 1.0]))
            net[1].running_var.fill_(0.3)
        return net.eval()


def test_any_epsilon_and_factors_of_zero_are_simulated():
    task = Odd()
    model = QuantizationAwareTraining(**QUICK).on_torch(task.model(), Run(task))
    assert all(bool(torch.isfinite(p).all()) for p in model.parameters())
    inputs = task.split("validation")[0]
    fine = simulation.Simulation(model, task, 8, simulation.FLOAT).eval()
    np.testing.assert_allclose(
        answers(fine, inputs), answers(model, inputs), rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize("make", [ResNet, SignalNet, TextNet, PairNet, Odd])
def test_the_same_values_are_rounded_as_in_the_file(make):
    task = make()
    sim = simulation.Simulation(task.model(), task, 8, 8)
    graph, chosen = choice.choose(choice.prepare(exported(task.model(), task)), ())
    layers = [
        n
        for n in graph.graph.node
        if n.name in chosen.nodes and n.op_type in ("Conv", "Gemm", "MatMul")
    ]
    assert len(layers) == len(sim.axes)
    moved = {"MaxPool", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose"}
    makers = {o: n for n in graph.graph.node for o in n.output}
    own = [
        t for t in chosen.tensors if t not in makers or makers[t].op_type not in moved
    ]
    assert len(own) == len(sim._activations())


def test_ranges_and_statistics_are_fixed_from_a_share_of_the_steps_on():
    task = ConvNet()
    sim = simulation.Simulation(task.model(), task, 4, 8).train()
    inputs = tensors(task.split("train")[0])
    norm = dict(sim.graph.named_buffers())["1.running_mean"]
    scales = [p.scale for p in sim._activations()]

    def state():
        return [norm.clone(), *(s.clone() for s in scales)]

    def changed(a, b):
        return any(not torch.equal(x, y) for x, y in zip(a, b, strict=True))

    first = state()
    sim(inputs)
    second = state()
    assert changed(first, second)
    sim.freeze()
    sim(3 * inputs)
    sim.train()
    sim(3 * inputs)
    assert not changed(second, state())


def test_in_evaluation_mode_nothing_is_drawn_or_learned():
    task = Odd()
    sim = simulation.Simulation(task.model(), task, 4, 8).train()
    inputs = tensors(task.split("train")[0])
    assert not torch.equal(sim(inputs), sim(inputs))
    sim.eval()
    before = {k: v.clone() for k, v in sim.state_dict().items()}
    assert torch.equal(sim(inputs), sim(inputs))
    assert all(torch.equal(v, before[k]) for k, v in sim.state_dict().items())


def test_pruned_weights_stay_pruned():
    task = ResNet()
    model = task.model()
    masks = {}
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() > 1:
                cut = parameter.abs() < parameter.abs().median()
                parameter[cut] = 0.0
                masks[name] = cut
    result = QuantizationAwareTraining(weight_bits=4, **QUICK).on_torch(
        model, Run(task)
    )
    own = dict(result.named_parameters())
    assert all(bool((own[name][mask] == 0).all()) for name, mask in masks.items())
    assert any(not torch.equal(own[n], p) for n, p in model.named_parameters())


def test_what_would_move_its_weights_is_refused_after_it():
    kept = frozenset({"quantization_aware"})
    moved = {"pruned", "sparse", "factorized", "clustered"}
    refused = {
        name
        for name, technique in TECHNIQUES.items()
        if name != "quantization_aware_training"
        and (technique.trains or technique.gives & moved)
    }
    assert {"fine_tuning", "structured_pruning", "weight_clustering"} < refused
    for name, technique in TECHNIQUES.items():
        if name in refused:
            has = technique.needs | kept
            with pytest.raises(
                RecipeError, match="leaves the model quantization_aware"
            ):
                technique().traits_after(has)
        elif not technique.needs:
            assert kept <= technique().traits_after(kept)


def test_shared_weights_stay_shared():
    class Tied(TextNet):
        def model(self):
            model = super().model()
            model.layers[1].mlp[0].weight = model.layers[0].mlp[0].weight
            return model

    task = Tied()
    result = QuantizationAwareTraining(**QUICK).on_torch(task.model(), Run(task))
    assert result.layers[1].mlp[0].weight is result.layers[0].mlp[0].weight
    assert not torch.equal(
        result.layers[0].mlp[0].weight, task.model().layers[0].mlp[0].weight
    )


def test_a_model_that_can_not_be_traced_says_why():
    class Branching(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(64, 3)

        def forward(self, x):
            x = self.layer(x.flatten(1))
            return x if x.sum() > 0 else -x

    class Task(ConvNet):
        def model(self):
            return Branching().eval()

    with pytest.raises(UnsupportedError, match=r"\[not-traceable\].*\.$"):
        QuantizationAwareTraining().on_torch(Branching(), Run(Task()))


def test_a_model_without_layers_to_round_says_so():
    class Task(ConvNet):
        def model(self):
            return nn.Sequential(nn.Flatten(), nn.LayerNorm(64)).eval()

    with pytest.raises(UnsupportedError, match=r"\[not-applicable\]"):
        QuantizationAwareTraining().on_torch(Task().model(), Run(Task()))


def test_a_teacher_that_is_not_there_is_named():
    with pytest.raises(RecipeError, match=r"'flaot'.*'float'"):
        QuantizationAwareTraining(distil=0.5, teacher="flaot").on_torch(
            ConvNet().model(), Run(ConvNet())
        )


def test_nothing_is_printed(capfd, caplog):
    QuantizationAwareTraining(**QUICK).on_torch(ConvNet().model(), Run(ConvNet()))
    assert capfd.readouterr() == ("", "")
    assert not [r for r in caplog.records if r.levelno >= logging.WARNING]
