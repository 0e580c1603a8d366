"""Varied training data for the steps that follow."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

from paretune.core.errors import TaskError, UnsupportedError
from paretune.core.space import Choice, Integer, Real
from paretune.core.technique import Run, Technique, param

if TYPE_CHECKING:
    from torch import nn

    from paretune.learning._augment.policy import Policy

NOT_OF_THE_POLICY = ("own", "blend", "alpha")


@dataclass(frozen=True)
class DataAugmentation(Technique):
    """Varies the training batches of every later step of the recipe.

    The model stays as it is. Each batch is varied as a whole, in tensors, and anew in
    every epoch. Which parameters count hangs on the kind of input:

    - images, floats (n, channels, height, width): `shift`, `flip`, `fill`, `operations`
      (turned, sheared, moved, zoomed, brighter, more contrast, fewer levels, a hole)
      at up to `strength`, `erase`, `crop`, `colour`;
    - signals, floats (n, channels, length): `jitter`, `scaling`, `warp`, `slicing`,
      `permutation`, `rotation`;
    - text, whole numbers (n, length): `drop`, `swap`, `synonyms`, `padding`.

    `operations=1` is TrivialAugment; `operations=2, steady=True` is RandAugment. All of
    it suits a target that says something of the whole sample, such as a class or a
    vector of values; one that may tell of pixels, time steps, tokens or boxes is
    refused, and so are inputs with several fields that could be varied.

    Attributes:
        kind: "image", "signal" or "text"; "auto" tells it by type and shape.
        own: whether the task's own augmentation comes before it.
        blend: two samples into one, with the loss of both in their shares.
        alpha: of the beta distribution that shares are drawn from.
        shift: images: furthest move, as a share of height and width.
        flip: images: chance to be mirrored; for what keeps its meaning then.
        fill: images: what comes in at the edges.
        operations: images: further changes of each.
        strength: of those, 0 to 1.
        steady: images: each at full strength, not at one drawn up to it.
        erase: images: chance that a rectangle is filled with noise.
        crop: images: largest share of the area that is cut away; the rest is enlarged.
        colour: images: how much the level and contrast of each channel change, and
            twice the chance that all channels become the same.
        jitter: signals: noise, in standard deviations of the channel.
        scaling: signals: standard deviation of the factor of a channel.
        warp: signals: how unevenly time runs.
        slicing: signals: largest share that is cut off; the rest is stretched.
        permutation: signals: parts that half of the windows are cut into, to come in
            any order; below 2 none.
        rotation: signals: angle by which the axes of three channels each are turned.
        drop: text: chance that a token becomes `padding`.
        swap: text: chance that a token changes places with the next one.
        synonyms: text: chance that a token becomes one of the nearest in the model's
            own embedding.
        padding: text: its number; numbers up to it are left alone.

    Example:
        >>> DataAugmentation(blend="mixup").to_json()["blend"]
        'mixup'
    """

    source: ClassVar[str] = (
        "mixup: Zhang et al. 2018, arXiv:1710.09412; CutMix: Yun et al. 2019, "
        "arXiv:1905.04899; random erasing: Zhong et al. 2020, arXiv:1708.04896; "
        "RandAugment: Cubuk et al. 2020, arXiv:1909.13719; TrivialAugment: Müller and "
        "Hutter 2021, arXiv:2103.10158; signals: Um et al. 2017, arXiv:1706.00527; "
        "text: Wei and Zou 2019, arXiv:1901.11196"
    )
    refuses: ClassVar[frozenset[str]] = frozenset({"quantized"})

    kind: str = param("auto", Choice(("auto", "image", "signal", "text")))
    own: bool = param(True, Choice((True, False)))
    blend: str = param("none", Choice(("none", "mixup", "cutmix", "both")))
    alpha: float = param(0.4, Real(0.1, 2.0))
    shift: float = param(0.1, Real(0.0, 0.5))
    flip: float = param(0.0, Real(0.0, 0.5))
    fill: str = param("edge", Choice(("edge", "reflect", "zero")))
    operations: int = param(1, Integer(0, 4))
    strength: float = param(0.5, Real(0.0, 1.0))
    steady: bool = param(False, Choice((False, True)))
    erase: float = param(0.25, Real(0.0, 1.0))
    crop: float = param(0.0, Real(0.0, 0.9))
    colour: float = param(0.0, Real(0.0, 1.0))
    jitter: float = param(0.05, Real(0.0, 0.5))
    scaling: float = param(0.1, Real(0.0, 0.5))
    warp: float = param(0.2, Real(0.0, 1.0))
    slicing: float = param(0.1, Real(0.0, 0.8))
    permutation: int = param(0, Integer(0, 8))
    rotation: float = param(0.0, Real(0.0, 1.0), "rad")
    drop: float = param(0.1, Real(0.0, 0.5))
    swap: float = param(0.05, Real(0.0, 0.5))
    synonyms: float = param(0.1, Real(0.0, 0.5))
    padding: int = param(0, Integer(0, 1000))

    def on_torch(self, model: nn.Module, run: Run) -> nn.Module:
        """A copy of the model, as it is.

        Raises:
            UnsupportedError: the inputs are of no kind that can be varied, or not by
                these parameters; or there is a target for each place of an input.
            TaskError: the "train" split is empty.
        """
        from paretune.infrastructure.formats import torch as torch_format

        torch_format.seed(run.seed)
        for batch in run.task.batches("train"):
            self._check(model, *torch_format.tensors(batch))
            return torch_format.clone(model)
        raise TaskError(
            "data-too-small",
            "batches('train') gave no batch; augmentation needs one to vary.",
        )

    def structural(self) -> None:
        """Nothing: the model stays as it is."""

    def sets(self, run: Run) -> Run:
        """A run whose task varies its training batches."""
        from paretune.learning._augment.task import Augmented

        task = Augmented(run.task, self._policy(), self.own, self.blend, self.alpha)
        return replace(run, task=task)

    def _policy(self) -> Policy:
        from paretune.learning._augment.policy import Policy

        values = self.parameters()
        return Policy(**{k: v for k, v in values.items() if k not in NOT_OF_THE_POLICY})

    def _check(self, model: nn.Module, inputs: Any, targets: Any) -> None:
        from paretune.learning._augment import policy, texts

        key, kind = policy.field_of(inputs, self.kind)
        varied = policy.fields(inputs)[key]
        places = tuple(varied.shape[1 if kind == "text" else 2 :])
        for target in policy.fields(targets).values():
            if policy.placed(target, places):
                raise UnsupportedError(
                    "augment-target",
                    f"the targets are {policy.told(target)}, which may tell of each of "
                    f"the {places} places of an input and would have to move along; "
                    "vary such a task in its own augment(), or give a vector of values "
                    "as floats.",
                )
        if kind == "signal" and self.rotation and varied.shape[1] % 3:
            raise UnsupportedError(
                "augment-rotation",
                f"rotation turns three channels at a time and these signals have "
                f"{varied.shape[1]}; set rotation to 0.",
            )
        given = policy.fields(inputs).values()
        blends = {
            "mixup": all(t.is_floating_point() for t in given),
            "cutmix": len(given) == 1,
        }
        blends |= {"both": all(blends.values()), "none": True}
        if not blends[self.blend]:
            fit = " or ".join(repr(b) for b, fits in blends.items() if fits)
            raise UnsupportedError(
                "augment-blend",
                f"blend={self.blend!r} doesn't suit inputs of "
                f"{', '.join(map(policy.told, given))}: mixup can't average whole "
                "numbers, and cutmix can't find the same place in fields of different "
                f"kinds; choose {fit}.",
            )
        table = texts.embedding(model)
        known = 0 if table is None else len(table)
        if kind == "text" and self.synonyms and known < self.padding + 3:
            raise UnsupportedError(
                "augment-synonyms",
                "synonyms are looked up in the model's embedding and it has none "
                f"with more than {self.padding + 2} tokens; set synonyms to 0.",
            )
