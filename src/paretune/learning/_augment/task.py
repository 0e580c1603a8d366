"""A task whose training batches are varied by a policy."""

from __future__ import annotations

from typing import Any

import torch

from paretune.core.delegate import Delegate
from paretune.core.task import Task
from paretune.infrastructure.formats._mixed import Mixed
from paretune.learning._augment import images, signals, texts
from paretune.learning._augment.mixing import mix
from paretune.learning._augment.policy import Policy, field_of, replaced


class Varier:
    """Applies a policy to batches of inputs.

    Args:
        policy: what to do.
        task: whose model's own embedding has the synonyms, if there are to be some.
    """

    def __init__(self, policy: Policy, task: Task) -> None:
        self.policy = policy
        self._task = task
        self._near: torch.Tensor | None = None

    @torch.no_grad()
    def __call__(self, inputs: Any) -> Any:
        """Varied inputs; the given ones are left as they are."""
        key, kind = field_of(inputs, self.policy.kind)
        tensor = inputs if key is None else inputs[key]
        match kind:
            case "image":
                tensor = images.vary(tensor, self.policy)
            case "signal":
                tensor = signals.vary(tensor, self.policy)
            case _:
                if self.policy.synonyms and self._near is None:
                    model = self._task.model()
                    self._near = texts.neighbours(model, self.policy.padding)
                tensor = texts.vary(tensor, self.policy, self._near)
        return replaced(inputs, key, tensor)


class Augmented(Delegate):
    """A task whose training batches are varied.

    Args:
        task: the user's.
        policy: what is varied.
        own: whether the task's own augmentation comes first.
        blend: "none", "mixup", "cutmix" or "both".
        alpha: of the shares of a blend.
    """

    def __init__(
        self, task: Task, policy: Policy, own: bool, blend: str, alpha: float
    ) -> None:
        super().__init__(task)
        self.policy, self.own, self.blend, self.alpha = policy, own, blend, alpha
        self._vary = Varier(policy, task)

    def augment(self, inputs: Any, targets: Any) -> tuple[Any, Any]:
        """A varied batch; the targets of a blend are `Mixed`."""
        if self.own:
            inputs, targets = self.task.augment(inputs, targets)
        inputs = self._vary(inputs)
        # Nobody's targets can't be shared, nor can those that are shared already.
        if self.blend == "none" or targets is None or isinstance(targets, Mixed):
            return inputs, targets
        return mix(inputs, targets, self.blend, self.alpha)

    def loss(self, outputs: Any, targets: Any) -> Any:
        """The task's; of a blend, that of both targets in their shares."""
        if not isinstance(targets, Mixed):
            return self.task.loss(outputs, targets)
        first, second = (
            self.task.loss(outputs, t) for t in (targets.first, targets.second)
        )
        return targets.share * first + (1 - targets.share) * second
