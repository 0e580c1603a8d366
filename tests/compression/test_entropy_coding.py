from __future__ import annotations

import zlib

import onnx
import pytest

from paretune.compression.entropy_coding import EntropyCoding
from paretune.compression.weight_clustering import WeightClustering
from paretune.core.candidate import Artifact, Candidate
from paretune.core.errors import RecipeError
from paretune.core.meter import Subject
from paretune.core.target import Target
from paretune.core.technique import Run
from paretune.infrastructure.formats import _container
from paretune.infrastructure.formats import onnx as onnx_format
from paretune.measurement.transfer_size import TransferSize
from paretune.tasks.fashion import Fashion

TASK = Fashion()


def transfer(artifact: Artifact) -> int:
    subject = Subject(artifact, Target(), TASK, _never, _never)  # type: ignore[arg-type]
    (((measured),),) = TransferSize().measure([subject], subject)
    assert measured.kind == "exact"
    return int(measured.value)


def _never(*_: object) -> None:
    raise AssertionError


@pytest.fixture(scope="module")
def exported():
    clustered = WeightClustering(clusters=32).apply(
        Candidate(TASK.model(), "torch"), Run(TASK)
    )
    return onnx_format.from_torch(clustered, TASK)


def test_the_file_travels_in_fewer_bytes(exported, tmp_path):
    plain = onnx_format.write(exported, TASK, tmp_path / "plain.onnx")
    coded = EntropyCoding().apply(exported, Run(TASK))
    assert coded.model == exported.model
    assert coded.traits == exported.traits | {"entropy_coded"}
    marked = onnx_format.write(coded, TASK, tmp_path / "marked.onnx")
    assert transfer(plain) == len(zlib.compress(plain.path.read_bytes(), 6))
    packed = _container.pack(marked.path.read_bytes())
    assert transfer(marked) == len(packed) < 0.98 * transfer(plain)
    assert _container.unpack(packed) == marked.path.read_bytes()
    a, b = (onnx_format.open_artifact(x.path, None) for x in (plain, marked))
    for one, other in zip(
        a.model.graph.initializer, b.model.graph.initializer, strict=True
    ):
        assert one.raw_data == other.raw_data
    assert [n.op_type for n in a.model.graph.node] == [
        n.op_type for n in b.model.graph.node
    ]


def test_an_ordinary_file_grows_by_its_mark_alone(tmp_path):
    exported = onnx_format.from_torch(Candidate(TASK.model(), "torch"), TASK)
    plain = onnx_format.write(exported, TASK, tmp_path / "plain.onnx")
    coded = EntropyCoding().apply(exported, Run(TASK))
    marked = onnx_format.write(coded, TASK, tmp_path / "marked.onnx")
    assert 0 < marked.size - plain.size < 40
    assert onnx.load(plain.path).graph == onnx.load(marked.path).graph
    assert transfer(marked) < 0.92 * transfer(plain)


def test_once_is_enough(exported):
    once = EntropyCoding().apply(exported, Run(TASK))
    with pytest.raises(RecipeError, match="entropy_coded"):
        EntropyCoding().apply(once, Run(TASK))
