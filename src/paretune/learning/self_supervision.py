"""Pretraining without labels."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

from paretune.core.errors import TaskError
from paretune.core.space import Choice, Integer, Real
from paretune.core.technique import Run, Technique, param

if TYPE_CHECKING:
    import torch
    from torch import nn

WIDTH = 128  # of the space in which views are compared


@dataclass(frozen=True)
class SelfSupervision(Technique):
    """Trains the features of a model on inputs alone, whoever labelled them or not.

    What counts as features is what the model's last linear layer is given, which is
    found by running it. The layer itself isn't trained: put a step that trains on
    labels after this one. Inputs are those of "train", and of "unlabelled" where the
    task has that split; they may be images, signals or text as in `data_augmentation`.

    - `contrastive`: two views of a sample, varied by chance, are told from the views of
      all others in the batch, through a small network that is thrown away.
    - `masked`: patches, stretches or tokens are hidden, and a small decoder that is
      thrown away tells them (in less detail) from the features of the rest.

    Attributes:
        method: see above.
        epochs: passes over the inputs.
        learning_rate: the highest; it rises over the first steps and then falls to 0.
        temperature: contrastive: the lower, the more near strangers count.
        strength: contrastive: how much views are varied, 0 to 1.
        mask: masked: the share that is hidden.
        start: "trained": from the weights at hand; "fresh": from new ones.
        own: whether the task's own augmentation (and that of a `data_augmentation`
            before, without blends) varies the inputs first.
        padding: text: numbers up to it are neither varied nor hidden.

    Example:
        >>> SelfSupervision(method="masked").to_json()["mask"]
        0.5
    """

    source: ClassVar[str] = (
        "contrastive: Chen et al. 2020, arXiv:2002.05709; masked: He et al. 2022, "
        "arXiv:2111.06377; of signals: Dong et al. 2023, arXiv:2302.00861"
    )
    refuses: ClassVar[frozenset[str]] = frozenset(
        {"quantized", "quantization_aware", "clustered"}
    )
    trains: ClassVar[bool] = True
    teaches: ClassVar[bool] = False
    version: ClassVar[int] = 2

    method: str = param("contrastive", Choice(("contrastive", "masked")))
    epochs: int = param(10, Integer(1, 200, log=True))
    learning_rate: float = param(2e-3, Real(1e-5, 1e-1, log=True))
    temperature: float = param(0.2, Real(0.05, 1.0, log=True))
    strength: float = param(0.5, Real(0.0, 1.0))
    mask: float = param(0.5, Real(0.1, 0.9))
    start: str = param("trained", Choice(("trained", "fresh")))
    own: bool = param(True, Choice((True, False)))
    padding: int = param(0, Integer(0, 1000))

    def on_torch(self, model: nn.Module, run: Run) -> nn.Module:
        """The pretrained copy.

        Raises:
            UnsupportedError: the inputs are of no kind that can be varied, or the
                model runs no linear layer.
            TaskError: a split is empty.
            MeasurementError: the loss or a weight is no longer finite.
        """
        from paretune.infrastructure.formats import _fresh, _training
        from paretune.infrastructure.formats import torch as torch_format
        from paretune.learning._augment.policy import field_of, fields
        from paretune.learning._ssl import contrastive, masked, taps

        model = torch_format.clone(model)
        if self.start == "fresh":
            model = _fresh.fresh(model, run.seed)
        model = _training.unfrozen(model)
        first = self._first(run)
        key, kind = field_of(first, "auto")
        at, wide = taps.last_linear(model, first)
        torch_format.seed(run.seed)
        head: nn.Module
        task: contrastive.Inputs
        tokens = self.method == "masked" and kind == "text"
        if self.method == "contrastive":
            head = taps.projector(wide, WIDTH)
            policy = contrastive.views_of(kind, self.strength, self.padding)
            task = contrastive.Views(run.task, self.own, policy)
        else:
            head = masked.decoder(model, fields(first)[key], kind, wide)
            task = masked.Masked(run.task, self.own, self.mask, self.padding)

        def loss(forward: Any, inputs: Any, targets: Any) -> torch.Tensor:
            if self.method == "contrastive":
                return contrastive.contrastive_loss(forward(inputs), self.temperature)
            return masked.masked_loss(forward(inputs), targets)

        trained = _training.fit(
            taps.Tapped(model, at, head, tokens),
            loss,
            replace(run, task=task),
            epochs=self.epochs,
            learning_rate=self.learning_rate,
            splits=("train", "unlabelled") if run.task.unlabelled else ("train",),
            what=self.name(),
        )
        assert isinstance(trained, taps.Tapped)
        return trained.model.eval()

    def _first(self, run: Run) -> Any:
        """The inputs of a training batch, as tensors."""
        from paretune.infrastructure.formats import torch as torch_format

        torch_format.seed(run.seed)
        for inputs, _ in run.task.batches("train"):
            return torch_format.tensors(inputs)
        raise TaskError(
            "data-too-small",
            "batches('train') gave no batch; pretraining needs inputs.",
        )
