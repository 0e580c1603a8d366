"""Second moments of what layers get on calibration data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import onnx

from paretune.compression._quantization.calibration import CHUNK, seen
from paretune.core.technique import Run
from paretune.infrastructure.formats import _columns

ROWS = 16384  # of one input: more of them tell little more
VALUES = 2**25  # of moments that are summed up at once: 256 MB
DAMPING = 0.01


def of(
    model: onnx.ModelProto, inputs: Mapping[str, int], run: Run, samples: int
) -> dict[str, np.ndarray]:
    """The mean of x xᵀ over the rows x of each input, positive definite.

    With fewer rows than values in one, most of it would be chance: it is drawn towards
    its diagonal.

    Inputs with more than 6,144 numbers in a row are left out, and told of.

    Args:
        model: a float graph with shapes inferred.
        inputs: by the name of a value, how many numbers a row of it has.
        run: gives the calibration split and the seed.
        samples: of it to look at.

    Returns:
        float64, (numbers, numbers) of each that isn't left out.

    Raises:
        TaskError: the calibration split is empty.
    """
    wide = [name for name, size in inputs.items() if size > _columns.MOST]
    if wide:
        run.progress(
            f"rounded to the nearest, as too wide: inputs {', '.join(wide)}", 0.0
        )
    found = {}
    for names in _groups({k: v for k, v in inputs.items() if k not in wide}):
        found.update(_sums(model, names, run, samples))
    return found


def _groups(inputs: Mapping[str, int]) -> Iterator[list[str]]:
    group: list[str] = []
    held = 0
    for name, size in inputs.items():
        if group and held + size**2 > VALUES:
            yield group
            group, held = [], 0
        group.append(name)
        held += size**2
    if group:
        yield group


def _sums(
    model: onnx.ModelProto, names: list[str], run: Run, samples: int
) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(run.seed)
    quota = max(1, ROWS // -(-samples // CHUNK))
    total: dict[str, np.ndarray] = {}
    count = dict.fromkeys(names, 0)
    for values in seen(model, names, run, samples):
        for name in names:
            rows = values[name].reshape(-1, values[name].shape[-1]).astype(np.float64)
            if len(rows) > quota:
                rows = rows[rng.integers(0, len(rows), quota)]
            total[name] = total.get(name, 0.0) + rows.T @ rows
            count[name] += len(rows)
    return {name: _firm(total[name] / count[name], count[name]) for name in names}


def _firm(moments: np.ndarray, count: int) -> np.ndarray:
    size = len(moments)
    power = np.diagonal(moments)
    share = max(DAMPING, size / (size + count))
    usual = power.sum() / max(np.count_nonzero(power), 1)
    floor = max(DAMPING**2 * usual, 1e-30)
    firm: np.ndarray = (1 - share) * moments + np.diag(share * power + floor)
    return firm
