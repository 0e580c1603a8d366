"""Networks that are hard to quantize, and how near a quantized one is to its source."""

from __future__ import annotations

import functools

import numpy as np
import onnx
import onnxruntime
import torch
from torch import nn

from paretune.compression.post_training_quantization import PostTrainingQuantization
from paretune.core.candidate import Candidate
from paretune.core.task import as_arrays
from paretune.core.technique import Run
from paretune.infrastructure.formats import onnx as onnx_format
from paretune.infrastructure.runtimes.torch_eager import TorchEager
from paretune.measurement._parity import Graphs, check
from paretune.tasks.fashion import Fashion

TRAINED_ON, SEEN = 4_000, 500


class Separable(nn.Module):
    """Depthwise-separable convolutions."""

    def __init__(self):
        super().__init__()

        def block(given, out, size, stride=1, groups=1):
            return [
                nn.Conv2d(
                    *(given, out, size, stride, size // 2), groups=groups, bias=False
                ),
                nn.BatchNorm2d(out),
                nn.ReLU(),
            ]

        self.features = nn.Sequential(
            *block(1, 16, 3, 2),
            *block(16, 16, 3, groups=16),
            *block(16, 32, 1),
            *block(32, 32, 3, 2, groups=32),
            *block(32, 64, 1),
            *block(64, 64, 3, groups=64),
            *block(64, 64, 1),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
        )
        self.head = nn.Linear(64, 10)

    def forward(self, images):
        return self.head(self.features(images))


class Clothes(Fashion):
    """Fashion-MNIST with a small depthwise-separable net, trained for some seconds."""

    reference = None

    def __init__(self, change=lambda model: None):
        self.change = change

    def split(self, name):
        images, labels = super().split(name)
        few = TRAINED_ON if name == "train" else SEEN
        return images[:few], labels[:few]

    def model(self):
        model = Separable()
        model.load_state_dict(trained())
        self.change(model)
        return model.eval()


@functools.cache
def trained():
    torch.manual_seed(0)
    np.random.seed(0)
    model, task = Separable(), Clothes()
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    for images, labels in task.batches("train"):
        optimizer.zero_grad()
        loss = task.loss(model(torch.as_tensor(images)), torch.as_tensor(labels))
        loss.backward()
        optimizer.step()
    return model.state_dict()


def uneven(model):
    """Channels of very different sizes, and weights after them that make up for it."""
    rng = np.random.default_rng(0)
    layers = list(model.features)
    for norm, reader in ((layers[1], layers[3]), (layers[7], layers[9])):
        size = torch.as_tensor(np.exp2(rng.uniform(-5, 5, norm.num_features))).float()
        with torch.no_grad():
            norm.weight *= size
            norm.bias *= size
            reader.weight /= size[:, None, None, None]


def exported(task) -> onnx.ModelProto:
    return onnx_format.from_torch(Candidate(task.model(), "torch"), task).model


def quantized(task, source, seed=0, **parameters) -> onnx.ModelProto:
    technique = PostTrainingQuantization(**parameters)
    return technique.on_onnx(source, Run(task, seed=seed))


class Served:
    """A session of ONNX Runtime, from arrays by name to arrays by name."""

    def __init__(self, model):
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        self.names = [o.name for o in self.session.get_outputs()]

    def __call__(self, inputs):
        return dict(zip(self.names, self.session.run(None, inputs), strict=True))

    def close(self): ...


def answers(model, task, split="validation") -> np.ndarray:
    served = Served(model)
    return np.concatenate(
        [
            list(served(as_arrays(x, "input")).values())[-1]
            for x, _ in task.batches(split)
        ]
    )


def off(model, source, task) -> float:
    """The error of the outputs on validation data, relative to their size."""
    wanted = answers(source, task)
    return float(np.linalg.norm(answers(model, task) - wanted) / np.linalg.norm(wanted))


def accuracy(model, task) -> float:
    labels = np.concatenate([y for _, y in task.batches("validation")])
    return float((answers(model, task).argmax(-1) == labels).mean())


def passes_parity(model, source, task) -> int:
    """How many layers were judged; a ParityError if one is wrong."""
    inputs = [as_arrays(next(iter(task.batches("validation")))[0], "input")]
    reference = TorchEager().session(task.model())
    graphs = Graphs(model, lambda: source)
    found = check(reference, Served(model), inputs, True, graphs=graphs)
    return int(found["layers"])
