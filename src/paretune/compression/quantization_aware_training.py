"""Training with the rounding of a quantized file in the loop."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from paretune.core.errors import RecipeError, UnavailableError, nearest
from paretune.core.space import Choice, Integer, Real, Text
from paretune.core.technique import Run, Technique, param

if TYPE_CHECKING:
    import torch
    from torch import nn

TEMPERATURE = 4.0


@dataclass(frozen=True)
class QuantizationAwareTraining(Technique):
    """Trains weights that lose little when they are rounded to a few bits.

    While it trains, weights and activations are rounded as in the file that
    `post_training_quantization` (scheme `static_int8`) with the same `weight_bits`
    writes, and gradients pass through the rounding as if it weren't there: symmetric
    weights with a scale per output channel, which follows the largest weight all the
    time; unsigned activations between convolutions, with ranges that follow the data
    until `freeze` of the steps are done. Statistics of batch normalisation are fixed at
    the same time, so that the last steps train the network that is written. The layers
    are traced with torch.export and prepared by torchao.

    The result is the same model with weights that are whole multiples of their scale:
    rounding them to as many bits once more changes nothing. So leave what would move
    them out of the step that quantizes (`equalise`, `smooth`). Steps that prune,
    factorize, share or train weights refuse such a model: put them before.

    Attributes:
        epochs: passes over the "train" split.
        learning_rate: the highest; it rises over the first steps and then falls to 0.
        weight_bits: of weights. `post_training_quantization` can store 8, 7 and 4;
            fewer distinct values make a smaller file to transfer in any case.
        activation_bits: 8; 32 leaves activations as they are, for files with
            quantized weights only.
        freeze: the share of all steps after which ranges and statistics are fixed.
        distil: weight of the distance from a teacher's outputs in the loss; the rest
            is the task's own. 0 for no teacher.
        teacher: "float" (the model as it comes into this step), "baseline" (the task's
            model), or a name in `task.teachers`.

    Example:
        >>> QuantizationAwareTraining(weight_bits=4).to_json()["weight_bits"]
        4
    """

    source: ClassVar[str] = (
        "Jacob et al. 2018, arXiv:1712.05877; Krishnamoorthi 2018, arXiv:1806.08342; "
        "with a teacher: Mishra & Marr 2018, arXiv:1711.05852"
    )
    refuses: ClassVar[frozenset[str]] = frozenset({"quantized", "clustered"})
    gives: ClassVar[frozenset[str]] = frozenset({"quantization_aware"})
    trains: ClassVar[bool] = True

    epochs: int = param(3, Integer(1, 100, log=True))
    learning_rate: float = param(5e-4, Real(1e-6, 1e-2, log=True))
    weight_bits: int = param(8, Choice((8, 4, 7, 6, 5, 3, 2)), "bit")
    activation_bits: int = param(8, Choice((8, 32)), "bit")
    freeze: float = param(0.6, Real(0.0, 1.0))
    distil: float = param(0.0, Real(0.0, 1.0))
    teacher: str = param("float", Text("float"))

    def on_torch(self, model: nn.Module, run: Run) -> nn.Module:
        """The trained copy, its weights rounded, in evaluation mode.

        Raises:
            UnavailableError: torchao is not installed.
            RecipeError: the task has no such teacher.
            UnsupportedError: the model can't be traced in training mode, or has no
                convolution or product with constant weights.
            TaskError: the "train" split is empty.
            MeasurementError: the loss or a weight is no longer finite.
        """
        from paretune.infrastructure.formats import _export, _training
        from paretune.infrastructure.formats import torch as torch_format

        try:
            with _export.quiet():  # it reports kernels for hardware that isn't here
                from paretune.compression._qat import simulation
        except ModuleNotFoundError as error:
            if error.name is None or not error.name.startswith("torchao"):
                raise
            raise UnavailableError(
                "package",
                f"{self.name()} needs torchao, which is not installed; "
                "run: pip install 'paretune[qat]'.",
            ) from error
        loss = self._loss(model, run)
        trained = _training.fit(
            simulation.Simulation(
                model, run.task, self.weight_bits, self.activation_bits
            ),
            loss,
            run,
            epochs=self.epochs,
            learning_rate=self.learning_rate,
            precision="float32",
            after_step=self._freezing,
            what=self.name(),
        )
        assert isinstance(trained, simulation.Simulation)
        result = torch_format.clone(model)
        simulation.put_back(result, trained.tensors())
        return result

    def _freezing(self, simulated: Any, step: int, steps: int) -> None:
        if step >= self.freeze * steps:
            simulated.freeze()

    def _loss(self, model: nn.Module, run: Run) -> Any:
        if not self.distil:
            return lambda forward, x, y: run.task.loss(forward(x), y)
        from paretune.infrastructure.formats import _modes
        from paretune.infrastructure.formats._soft import soft_loss

        teacher = _modes.frozen(self._teacher(model, run))

        def loss(forward: Any, inputs: Any, targets: Any) -> torch.Tensor:
            outputs = forward(inputs)
            total = self.distil * soft_loss(
                outputs, teacher(inputs), targets, TEMPERATURE
            )
            if self.distil < 1:
                total = total + (1 - self.distil) * run.task.loss(outputs, targets)
            return total

        return loss

    def _teacher(self, model: nn.Module, run: Run) -> nn.Module:
        builders = {
            "float": lambda: model,
            "baseline": run.task.model,
            **run.task.teachers,
        }
        if self.teacher not in builders:
            raise RecipeError(
                "recipe-value",
                f"{run.task.name} has no teacher {self.teacher!r}; "
                + nearest(self.teacher, builders),
            )
        built: nn.Module = builders[self.teacher]()
        return built
