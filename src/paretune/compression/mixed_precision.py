"""A number format for each layer, within a budget of bytes or of time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from paretune.core.space import Choice, Integer, Real, Text
from paretune.core.technique import Run, Technique, param

if TYPE_CHECKING:
    import onnx


@dataclass(frozen=True)
class MixedPrecision(Technique):
    """Gives each layer the number format that the budget is best spent on.

    What a layer loses in a format is measured: by the noise that it adds to the
    model's outputs on calibration data when it alone has that format. What it costs is
    counted in bytes, or timed by the runtime's profiler. The formats with the least
    sum of noise within the budget are the solution of a knapsack problem, which is
    solved exactly. Noise that doesn't add up as the sum says is measured again with
    all layers in place, and what is found solved for once more; the better of both is
    taken.

    The formats, as ONNX Runtime's CPU kernels run them:

    - int4: weights in blocks of 32; of a convolution, a scale for each output channel,
      stored in 4 bits but widened to 8 at load: smaller, and as fast as int8.
    - int8: weights and activations, scales fixed from calibration data.
    - float16: storage alone; as fast as float32.
    - float32.

    Attributes:
        by: what the budget limits: the "size" of the file, or "latency": the sum of
            the times of the operators, for one sample, on the one thread that recipes
            are worked out with, however many the target has. Times are kept with the
            user's other caches, so that the same model gets the same formats again.
            What isn't limited isn't looked at: a change of format between two layers
            takes time, so a smaller file may be a slower one.
        budget: of it, as a share of what the float model takes, all of its weights
            stored plainly.
        rounding: of int4: "nearest"; or "adaptive": by what it does to a layer's
            output on calibration data, up to 6,144 inputs.
        samples: of the calibration split.
        keep_float: comma-separated operators ("Gather") and layers ("head",
            "layers.0.*") that stay float32; "" for none.

    Example:
        >>> MixedPrecision(budget=0.3).to_json()["by"]
        'size'
    """

    source: ClassVar[str] = (
        "Hubara et al. 2020, arXiv:2006.10518 (integer programming); Wang et al. 2019, "
        "arXiv:1811.08886 (by the hardware's own costs); Nagel et al. 2021, "
        "arXiv:2106.08295 (sensitivity by SQNR); adaptive rounding: Frantar et al. "
        "2023, arXiv:2210.17323"
    )
    lowers: ClassVar[frozenset[str]] = frozenset(
        {"size", "transfer_size", "latency_p50", "peak_memory"}
    )
    refuses: ClassVar[frozenset[str]] = frozenset({"quantized"})
    gives: ClassVar[frozenset[str]] = frozenset({"quantized"})

    by: str = param("size", Choice(("size", "latency")))
    budget: float = param(0.2, Real(0.1, 1.0))
    rounding: str = param("nearest", Choice(("nearest", "adaptive")))
    samples: int = param(128, Integer(16, 1024, log=True))
    keep_float: str = param("", Text("head"))

    def on_onnx(self, model: onnx.ModelProto, run: Run) -> onnx.ModelProto:
        """The graph with its layers in several formats; inputs and outputs as before.

        Raises:
            UnsupportedError: no layer can have another format, the budget is less than
                can be reached, or `keep_float` names something that isn't there.
            TaskError: the calibration split is empty.
        """
        from paretune.compression._precision import allocation, mix
        from paretune.compression._quantization import choice

        graph = choice.prepare(model)
        kept = choice.matching(graph, self.keep_float)
        adaptive = self.rounding == "adaptive"
        mixer = mix.Mixer(graph, kept, run, self.samples, adaptive)
        return allocation.allocate(mixer, self.by, self.budget)
