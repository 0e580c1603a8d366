"""Smaller numbers for weights and activations, without training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from paretune.core.errors import UnsupportedError
from paretune.core.space import Choice, Integer, Real, Text
from paretune.core.technique import Run, Technique, param

if TYPE_CHECKING:
    import onnx


@dataclass(frozen=True)
class PostTrainingQuantization(Technique):
    """Rounds a trained model's numbers to 8 or 16 bits: `x = scale * (q - zero)`.

    What each scheme does, as ONNX Runtime's CPU kernels run it:

    - `static_int8`: weights are int8, symmetric, with a scale per output channel;
      activations are uint8 with a scale and zero point fixed from calibration data;
      biases are int32. Convolutions and what lies between them (activation functions,
      pooling, residual sums, reshapes) run in 8 bits from end to end. Products with a
      weight matrix take 8-bit inputs and give floats, since what follows them in a
      transformer (normalisation, softmax) is float. Unsigned activations because
      x86's dot-product instructions take unsigned by signed bytes, and because what
      follows a ReLU then uses all 256 levels.
    - `dynamic_int8`: weight matrices and embedding tables are int8; the scale of an
      activation is found anew at every call, so no data is needed. Convolutions stay
      float: the runtime's dynamic kernel is several times slower on them than its
      float one.
    - `float16`: weights are stored in 16 bits and widened when the model is loaded:
      half the file, float32 arithmetic, float32 speed. The CPU runtime has no 16-bit
      arithmetic of its own: it would insert casts around every operator. bfloat16 is
      not offered, as it would be the same trick with 8 times the rounding error.

    Whatever 8 bits lose can be lowered by the rest, all of it for `static_int8`:

    - `equalise` divides the channels between two layers by factors, and multiplies the
      weights that read them, so that one scale fits all channels: for convolutions,
      depthwise ones above all, with ReLU, pooling or nothing between them.
    - `smooth` does the same between a transformer's normalisation and the products
      after it, by how large the channels are on calibration data.
    - `rounding` "adaptive" rounds each weight up or down by what it does to the output
      of its layer on calibration data; at 4 bits it also cuts off the largest weights
      where that lowers the error. Weights that are 0 stay 0; layers of more than
      6,144 inputs an output are rounded to the nearest.
    - `bias_correction` takes the mean error of each channel off the bias, of
      convolutions and of linear layers on vectors.

    Attributes:
        scheme: see above.
        calibration: how static ranges are chosen: all values seen ("minmax"), 99.99 %
            of them ("percentile"), or the range whose histogram loses the least
            information ("entropy").
        samples: of the calibration split that static ranges are taken from.
        keep_float: comma-separated operators ("Softmax") and layers ("head",
            "layers.0.*") that are left as they are; "" for none.
        weight_bits: of int8 weights. 7 rules out that sums saturate on x86 processors
            without VNNI (before about 2019), where 8 can give other results than here.
            4 halves the file and changes no speed: levels -7 to 7, a scale per output
            channel, stored as int4 and widened to int8 when the file is loaded;
            embedding tables keep 8. For `static_int8` only.
        equalise: whether channels are evened out between layers.
        smooth: how much of the unevenness of activations goes into weights: 0 for
            none, 0.5 for half, 1 for all.
        rounding: "nearest", or "adaptive".
        bias_correction: whether mean errors are taken off biases.
        calibration_data: "calibration", the task's split; or "bn_statistics": inputs
            made up from what batch normalisation keeps, for data that must not be
            used: no split of the task is read.

    Example:
        >>> PostTrainingQuantization(scheme="float16").to_json()["scheme"]
        'float16'
    """

    source: ClassVar[str] = (
        "Jacob et al. 2018, arXiv:1712.05877; Krishnamoorthi 2018, arXiv:1806.08342; "
        "entropy calibration: Migacz 2017, GTC S7310; equalisation, bias correction: "
        "Nagel et al. 2019, arXiv:1906.04721; SmoothQuant: Xiao et al. 2023, "
        "arXiv:2211.10438; adaptive rounding: Nagel et al. 2020, arXiv:2004.10568, "
        "Frantar et al. 2023, arXiv:2210.17323; calibration without data: Cai et al. "
        "2020, arXiv:2001.00281"
    )
    lowers: ClassVar[frozenset[str]] = frozenset(
        {"size", "transfer_size", "latency_p50", "peak_memory"}
    )
    refuses: ClassVar[frozenset[str]] = frozenset({"quantized"})
    gives: ClassVar[frozenset[str]] = frozenset({"quantized"})

    scheme: str = param(
        "static_int8", Choice(("static_int8", "dynamic_int8", "float16"))
    )
    calibration: str = param("minmax", Choice(("minmax", "percentile", "entropy")))
    samples: int = param(256, Integer(16, 4096, log=True))
    keep_float: str = param("", Text("Softmax"))
    weight_bits: int = param(8, Choice((8, 7, 4)), "bit")
    equalise: bool = param(False, Choice((False, True)))
    smooth: float = param(0.0, Real(0.0, 1.0))
    rounding: str = param("nearest", Choice(("nearest", "adaptive")))
    bias_correction: bool = param(False, Choice((False, True)))
    calibration_data: str = param(
        "calibration", Choice(("calibration", "bn_statistics"))
    )

    def on_onnx(self, model: onnx.ModelProto, run: Run) -> onnx.ModelProto:
        """The quantized graph; inputs and outputs keep their types.

        Raises:
            UnsupportedError: the model has nothing to quantize, `keep_float` names
                something that isn't there, or there are no statistics of batch
                normalisation that inputs could be made up from.
            TaskError: the calibration split is empty.
        """
        from paretune.compression._quantization import choice, rewrite

        graph = choice.prepare(model)
        kept = choice.matching(graph, self.keep_float)
        match self.scheme:
            case "static_int8":
                return self._static(graph, kept, run)
            case "dynamic_int8":
                if self.weight_bits < 7:
                    raise UnsupportedError(
                        "not-applicable",
                        f"dynamic int8 has weights of 8 or 7 bits, not "
                        f"{self.weight_bits}; use scheme: static_int8.",
                    )
                return rewrite.dynamic(graph, kept, self.weight_bits)
            case _:
                return rewrite.half(graph, kept)

    def _static(
        self, graph: onnx.ModelProto, kept: frozenset[str], run: Run
    ) -> onnx.ModelProto:
        from paretune.compression._quantization import (
            calibration,
            choice,
            correct,
            equalise,
            rewrite,
            rounding,
            smooth,
            weights,
        )

        if self.calibration_data == "bn_statistics":
            from paretune.compression._quantization import distilled

            run = distilled.without_data(run, graph, self.samples)
        if self.equalise:
            equalise.channels(graph, kept)
        if self.smooth and (spots := smooth.spots(graph, kept)):
            values = [spot.value for spot in spots]
            peaks = calibration.peaks(graph, values, run, self.samples)
            smooth.move(graph, spots, peaks, self.smooth)
        graph, chosen = choice.choose(graph, kept)
        layers = weights.layers(graph, chosen.nodes)
        if self.bias_correction:
            correct.give_biases(graph, layers)
        ranges = calibration.ranges(
            graph, chosen.tensors, run, self.calibration, self.samples
        )
        source = type(graph)()
        source.CopyFrom(graph)
        steps = {}
        if self.rounding == "adaptive":
            steps = rounding.adapt(
                graph, layers, run, self.samples, self.weight_bits, self.bias_correction
            )
        result = rewrite.static(graph, chosen, ranges, self.weight_bits, steps)
        if self.bias_correction:
            own = correct.biases(source, weights.layers(source, chosen.nodes))
            correct.correct(result, source, own, run, self.samples)
        return result
