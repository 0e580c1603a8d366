"""Size, parameters and multiply-accumulates: what the file alone says."""

import pytest

from paretune.catalog import METERS, usable_runtime
from paretune.core.target import Target
from paretune.engine import launches
from tests.measurement.artifacts import Numbers, artifact, network, weights


@pytest.mark.parametrize(
    ("metric", "expected"),
    [
        ("parameters", 8 * 16 + 16 + 16 * 3 + 3 + 16 * 3),
        ("macs", 8 * 16 + 2 * 16 * 3),
        ("size", None),
    ],
)
def test_counts_are_exact(tmp_path, metric, expected):
    file = artifact(tmp_path, network(weights()))
    subject = launches.subject(
        usable_runtime("onnxruntime"), file, Target(), Numbers(), tmp_path / "none"
    )
    ((measured,),) = METERS[metric]().measure([subject], subject)
    assert measured.value == (expected or file.path.stat().st_size)
    assert measured.kind == "exact"
    assert measured.metric == metric
