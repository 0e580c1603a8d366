"""The fingerprint changes with whatever changes a result, and with nothing else."""

import functools
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from paretune.core.loaders import Loaders
from paretune.engine import preflight
from paretune.engine.fingerprint import Fingerprint, local_files
from tests.toys import ConvNet

FACTOR = 1.0


def of(value):
    digest = Fingerprint()
    digest.value(value)
    return digest.hexdigest()


def of_task(**changed):
    toy = ConvNet()
    np.random.seed(0)
    given = {
        "loss": toy.loss,
        "quality": {"accuracy": lambda o, t: o.argmax(-1) == t},
        **{s: list(toy.batches(s)) for s in ("train", "validation", "test")},
    }
    task = Loaders(toy.model(), **{**given, **changed})
    digest = Fingerprint()
    digest.task(task)
    return digest.hexdigest()


def smooth(amount):
    return lambda o, t: nn.functional.cross_entropy(o, t, label_smoothing=amount)


def scaled(outputs, targets):
    return FACTOR * outputs.sum()


def weighed(by, outputs, targets):
    return by * outputs.sum()


def helped(outputs, targets):
    return weighed(2.0, outputs, targets)


@dataclass
class Focal:
    gamma: float

    def __call__(self, outputs, targets):
        return outputs.sum() ** self.gamma


DIFFERENT = {
    "another lambda of the line": [lambda o, t: o.sum(), lambda o, t: o.mean()],
    "a constant": [lambda o, t: 2 * o.sum(), lambda o, t: 3 * o.sum()],
    "a member of a set": [lambda o, t: t in {"a", "b"}, lambda o, t: t in {"a", "c"}],
    "what is closed over": [smooth(0.1), smooth(0.2)],
    "an argument of a partial": [
        functools.partial(weighed, 1.0),
        functools.partial(weighed, 2.0),
    ],
    "an object that is called": [Focal(1.0), Focal(2.0)],
    "a module": [nn.CrossEntropyLoss(), nn.CrossEntropyLoss(label_smoothing=0.1)],
    "a module's tensor": [
        nn.CrossEntropyLoss(weight=torch.tensor([1.0, 1.0, w])) for w in (1.0, 2.0)
    ],
    "a method of another object": [Focal(1.0).__call__, Focal(2.0).__call__],
    "a library's function": [nn.functional.cross_entropy, nn.functional.nll_loss],
}


@pytest.mark.parametrize("what", DIFFERENT)
def test_another_loss(what):
    one, two = DIFFERENT[what]
    assert of_task(loss=one) == of_task(loss=one)
    assert of_task(loss=one) != of_task(loss=two)


def test_another_metric_or_augmentation():
    def best(power):
        return {"accuracy": lambda o, t: (o.argmax(-1) == t) ** power}

    assert of_task(quality=best(1)) == of_task(quality=best(1))
    assert of_task(quality=best(1)) != of_task(quality=best(2))
    shifts = [lambda x, y, by=by: (x + by, y) for by in (1, 2)]
    assert of_task(augment=shifts[0]) != of_task(augment=shifts[1])


def test_globals_that_a_function_names(monkeypatch):
    before = of(scaled), of(helped)
    monkeypatch.setitem(globals(), "FACTOR", 2.0)
    assert of(scaled) != before[0]
    monkeypatch.setitem(globals(), "weighed", scaled)
    assert of(helped) != before[1]


def test_a_class_made_inside_a_function():
    def made(by):
        class Scaled(ConvNet):
            def loss(self, outputs, targets):
                return by * super().loss(outputs, targets)

        return Scaled

    assert of(made(2)) == of(made(2)) != of(made(3))


def test_what_changes_as_it_is_used_is_left_out():
    passes = torch.Generator()
    loader = torch.utils.data.DataLoader(np.arange(9), shuffle=True, generator=passes)

    def train():
        return loader

    before = of(train)
    list(loader)
    assert of(train) == before
    model = ConvNet().model()
    before = of(model.train())
    assert of(model.eval()) == before


def test_the_structure_of_a_model_counts_where_the_weights_are_the_same():
    one, two = nn.Conv2d(1, 1, 3), nn.Conv2d(1, 1, 3, stride=2)
    two.load_state_dict(one.state_dict())
    assert of(one) != of(two)


TASK = """
import torch
import helper
from tests.toys import ConvNet

class Mine(ConvNet):
    def loss(self, outputs, targets):
        from package import inner
        return helper.weigh(inner.loss(outputs, targets))
"""
FILES = {
    "task.py": TASK,
    "helper.py": "from deeper import FACTOR\ndef weigh(x): return FACTOR * x\n",
    "deeper.py": "FACTOR = 2.0\n",
    "package/inner.py": (
        "from . import most\nfrom torch.nn import functional\n"
        "def loss(o, t): return functional.cross_entropy(o, t)\n"
    ),
    "package/most.py": "",
    "unused.py": "",
}
PROBE = """
import sys
from paretune.engine import preflight
from paretune.engine.tasks import find_task
print(preflight.check(find_task(sys.argv[1]))["fingerprint"])
"""


@pytest.fixture
def project(tmp_path):
    (tmp_path / "package").mkdir()
    for name, content in FILES.items():
        (tmp_path / name).write_text(content)
    return tmp_path


def test_every_file_beside_the_tasks_that_it_imports(project):
    found = dict(local_files(project / "task.py"))
    assert found.keys() == FILES.keys() - {"unused.py"}


def test_files_of_the_own_package_by_their_full_name(project):
    (project / "package" / "task.py").write_text("from package.sub import most\n")
    found = dict(local_files(project / "package" / "task.py", "package.sub"))
    assert found.keys() == {"task.py", "most.py"}


def test_another_process_and_another_folder_give_the_same_and_a_helper_counts(
    project, tmp_path_factory
):
    other, third = (tmp_path_factory.mktemp("copies") / name for name in "ab")
    shutil.copytree(project, other)
    shutil.copytree(project, third)
    (third / "deeper.py").write_text("FACTOR = 3.0\n")

    def probe(folder, seed):
        return subprocess.Popen(
            [sys.executable, "-c", PROBE, str(folder / "task.py")],
            cwd=Path(__file__).parents[2],
            env={"PYTHONHASHSEED": seed, "OMP_NUM_THREADS": "1", "PATH": ""},
            stdout=subprocess.PIPE,
            text=True,
        )

    ran = [probe(project, "1"), probe(other, "2"), probe(third, "3")]
    one, two, changed = (p.communicate(timeout=120)[0] for p in ran)
    assert one == two != changed
    assert len(one.strip()) == 64


def test_every_training_sample_and_every_count():
    def fingerprint(at=None, drop=0):
        class Altered(ConvNet):
            batch = 2

            def split(self, name):
                inputs, labels = super().split(name)
                if name == "train":
                    labels = labels.copy()
                    if at is not None:
                        labels[at] = (labels[at] + 1) % 3
                    return inputs[drop:], labels[drop:]
                return inputs, labels

        return preflight.check(Altered())["fingerprint"]

    found = [fingerprint(), fingerprint(at=0), fingerprint(at=255), fingerprint(drop=2)]
    assert len(set(found)) == 4
    assert fingerprint() == found[0]


def test_a_teachers_weights(tmp_path):
    file = tmp_path / "weight"

    class Taught(ConvNet):
        @property
        def teachers(self):
            return {"big": self.big}

        def big(self):
            model = super().model()
            model[0].weight.data[0, 0, 0, 0] = float(file.read_text())
            return model

    def fingerprint(weight):
        file.write_text(weight)
        return preflight.check(Taught())["fingerprint"]

    assert fingerprint("1.0") == fingerprint("1.0") != fingerprint("2.0")
