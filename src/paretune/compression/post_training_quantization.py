"""Smaller numbers for weights and activations, without training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from paretune.core.space import Choice, Integer, Text
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

    Example:
        >>> PostTrainingQuantization(scheme="float16").to_json()["scheme"]
        'float16'
    """

    source: ClassVar[str] = (
        "Jacob et al. 2018, arXiv:1712.05877; Krishnamoorthi 2018, arXiv:1806.08342; "
        "entropy calibration: Migacz 2017, GTC S7310"
    )
    refuses: ClassVar[frozenset[str]] = frozenset({"quantized"})
    gives: ClassVar[frozenset[str]] = frozenset({"quantized"})

    scheme: str = param(
        "static_int8", Choice(("static_int8", "dynamic_int8", "float16"))
    )
    calibration: str = param("minmax", Choice(("minmax", "percentile", "entropy")))
    samples: int = param(256, Integer(16, 4096, log=True))
    keep_float: str = param("", Text("Softmax"))
    weight_bits: int = param(8, Choice((8, 7)), "bit")

    def on_onnx(self, model: onnx.ModelProto, run: Run) -> onnx.ModelProto:
        """The quantized graph; inputs and outputs keep their types.

        Raises:
            UnsupportedError: the model has nothing to quantize, or `keep_float` names
                something that isn't there.
            TaskError: the calibration split is empty.
        """
        from paretune.compression._quantization import calibration, choice, rewrite

        graph = choice.prepare(model)
        kept = choice.matching(graph, self.keep_float)
        match self.scheme:
            case "static_int8":
                graph, chosen = choice.choose(graph, kept)
                ranges = calibration.ranges(
                    graph, chosen.tensors, run, self.calibration, self.samples
                )
                return rewrite.static(graph, chosen, ranges, self.weight_bits)
            case "dynamic_int8":
                return rewrite.dynamic(graph, kept, self.weight_bits)
            case _:
                return rewrite.half(graph, kept)
