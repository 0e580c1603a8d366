"""How far quantized graphs are from the float one on calibration data."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
import onnxruntime

from paretune.compression._precision.mix import FLOAT32, Mixer, Part
from paretune.compression._quantization import calibration
from paretune.core.target import Arrays
from paretune.core.technique import Run
from paretune.infrastructure.formats import _only

NOTHING = 1e30  # the noise of what isn't finite


class Judge:
    """Holds the answers of a float graph, and compares others with them.

    Args:
        source: the float graph.
        run: gives the calibration split and the threads.
        samples: of it to look at.
    """

    def __init__(self, source: onnx.ModelProto, run: Run, samples: int) -> None:
        self.source, self.run = source, run
        self.feeds: list[Arrays] = list(calibration.feeds(source, run, samples))
        self.wanted = self._answers(source)
        self.power = [
            max(sum(float((a[i] ** 2).sum()) for a in self.wanted), 1e-30)
            for i in range(len(self.wanted[0]))
        ]

    def noise(self, model: onnx.ModelProto) -> float:
        """||a - b||² / ||a||² over all samples, the mean of all outputs: 1 / SQNR."""
        self.run.give_way()
        errors = np.zeros(len(self.power))
        for wanted, got in zip(self.wanted, self._answers(model), strict=True):
            errors += [
                float(((w - g) ** 2).sum()) for w, g in zip(wanted, got, strict=True)
            ]
        found = float(np.mean(errors / self.power))
        return found if np.isfinite(found) else NOTHING

    def _answers(self, model: onnx.ModelProto) -> list[list[np.ndarray]]:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.intra_op_num_threads = self.run.threads
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        session = onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        return [
            [np.asarray(a, np.float64) for a in session.run(None, feed)]
            for feed in self.feeds
        ]


def alone(mixer: Mixer, parts: Sequence[Part], judge: Judge) -> list[dict[str, float]]:
    """The noise of each part in each of its precisions, all others being float32."""
    uniform = {
        precision: everywhere(mixer, parts, precision)
        for precision in dict.fromkeys(p for part in parts for p in part.options)
        if precision != FLOAT32
    }
    found = []
    for number, part in enumerate(parts):
        mixer.run.progress("measure sensitivities", number / len(parts))
        own = {FLOAT32: 0.0}
        for precision in part.options:
            if precision != FLOAT32:
                model = _only.with_only(uniform[precision], mixer.graph, part.nodes)
                own[precision] = judge.noise(model)
        found.append(own)
    return found


def everywhere(mixer: Mixer, parts: Sequence[Part], precision: str) -> onnx.ModelProto:
    """The graph with this precision wherever it is an option."""
    return mixer.mixed(
        parts, [precision if precision in part.options else FLOAT32 for part in parts]
    )


def together(
    mixer: Mixer,
    parts: Sequence[Part],
    precisions: Sequence[str],
    noise: float,
    judge: Judge,
) -> list[float]:
    """What each part adds to the noise of the whole: 0 for those in float32.

    Args:
        mixer: makes the graphs.
        parts: of it.
        precisions: of the parts.
        noise: with all of them.
        judge: of noise.
    """
    found = []
    for i, precision in enumerate(precisions):
        mixer.run.progress("measure sensitivities together", i / len(parts))
        if precision == FLOAT32:
            found.append(0.0)
            continue
        others = [FLOAT32 if j == i else p for j, p in enumerate(precisions)]
        found.append(max(0.0, noise - judge.noise(mixer.mixed(parts, others))))
    return found
