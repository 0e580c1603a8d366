"""Channels and heads removed round by round, each importance computed anew."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from torch import nn

from paretune.compression._pruning.allocation import Cost, allocate, total
from paretune.core.errors import UnsupportedError
from paretune.core.technique import Run
from paretune.infrastructure.formats._dependency import Pruner
from paretune.infrastructure.formats._saliency import saliency
from paretune.infrastructure.formats._units import Units, normal, plan

WORDS = {"macs": "MACs", "latency": "modelled time"}


@dataclass(frozen=True)
class Order:
    """What is asked for: the parameters of `structured_pruning` of these names."""

    ratio: float
    importance: str
    scope: str
    rounds: int
    round_to: int
    heads: bool
    embedding: bool


def narrower(
    model: nn.Module, order: Order, run: Run, must: bool = True
) -> tuple[nn.Module, list[str]]:
    """A copy with fewer channels and heads, and what there is to say about it.

    Args:
        model: left as it is.
        order: what is asked for.
        run: the task, and how to give way.
        must: whether it is an error if nothing can be removed.

    Raises:
        UnsupportedError: nothing in the model can be removed like this.
    """
    work = _Work(order, run)
    small = model
    for number in range(1, order.rounds + 1):
        small = work.round(small, number)
    if must and not work.removed:
        raise work.reason
    return small, work.notes(small)


class _Work:
    """What is known from one round to the next."""

    def __init__(self, order: Order, run: Run) -> None:
        self.removed = 0
        self.reason = UnsupportedError(
            "not-applicable",
            f"ratio {order.ratio:g} with round_to {order.round_to} removes no "
            "channel of these layers; raise ratio or lower round_to.",
        )
        self._order, self._run = order, run
        self._first: dict[str, int] = {}
        self._alone: set[str] = set()
        self._held: dict[str, None] = {}
        self._whole = 0.0
        self._left = 1.0

    def round(self, model: nn.Module, number: int) -> nn.Module:
        """The model after a round, which begins with 1."""
        order, run = self._order, self._run
        share = order.ratio * number / order.rounds
        worth = saliency(model, order.importance, run)
        costs = self._costs(model)
        while True:
            run.give_way()
            run.progress("prune", (number - 1) / order.rounds)
            pruner = Pruner(model, run.task, worth, order.embedding)
            channels = self._known(pruner.channels())
            self._held |= dict.fromkeys(pruner.held)
            heads = self._known(pruner.heads() if order.heads else {})
            if not channels and not heads:
                self.reason = _nothing(order.importance)
                return model
            planned, left = self._planned(channels, heads, share, costs)
            if not planned:
                return model
            for done, (name, units) in enumerate(planned.items()):
                run.progress("prune", (number - 1 + done / len(planned)) / order.rounds)
                if not pruner.remove(name, units):
                    # What a failed removal did can't be undone in place: again.
                    self._alone.add(name)
                    break
            else:
                self.removed += sum(map(len, planned.values()))
                self._left *= left
                return pruner.finished()

    def notes(self, model: nn.Module) -> list[str]:
        """What there is to say about the model at the end."""
        said = []
        if word := WORDS.get(self._order.scope):
            if self._order.scope == "macs":
                self._costs(model)
            said.append(f"{1 - self._left:.1%} of the {word} went")
        alone = sorted(self._alone) + [
            f"{name} (nn.MultiheadAttention adds to it)" for name in sorted(self._held)
        ]
        return [*said, *([f"left alone: {', '.join(alone)}"] if alone else [])]

    def _known(self, places: Mapping[str, Units]) -> dict[str, Units]:
        """Those that removal works for, with how many units they had at first."""
        return {
            name: replace(u, first=self._first.setdefault(name, len(u.scores)))
            for name, u in places.items()
            if name not in self._alone
        }

    def _costs(self, model: nn.Module) -> tuple[Cost, ...]:
        if self._order.scope not in WORDS:
            return ()
        # It brings the exporter and the runtime, which other scopes do without.
        from paretune.compression._pruning.costs import costs

        found = costs(model, self._order.scope, self._run)
        if self._order.scope == "macs":
            # They are counted; times are only as good as their model, and as noisy.
            self._whole = self._whole or total(found)
            self._left = total(found) / self._whole if self._whole else 1.0
        return found

    def _planned(
        self,
        channels: dict[str, Units],
        heads: dict[str, Units],
        share: float,
        costs: Iterable[Cost],
    ) -> tuple[dict[str, list[int]], float]:
        """The units to remove by place, and the share of the costs that stays."""
        order = self._order
        if order.scope in WORDS:
            steps = dict.fromkeys(channels, order.round_to) | dict.fromkeys(heads, 1)
            return allocate(
                channels | heads,
                tuple(costs),
                min(1.0, (1 - share) / self._left),
                order.ratio,
                steps,
            )
        if order.importance == "magnitude":
            channels, heads = normal(channels), normal(heads)
        planned = plan(channels, share, order.scope, order.round_to)
        return planned | plan(heads, share, order.scope, 1), 1.0


def _nothing(importance: str) -> UnsupportedError:
    if importance == "bn_scale":
        return UnsupportedError(
            "not-applicable",
            "bn_scale finds no batch normalisation on channels that can be removed; "
            "use importance: magnitude.",
        )
    return UnsupportedError(
        "not-applicable",
        "no channel of this model can be removed without changing its outputs' "
        "shapes or its sense; leave structured_pruning out.",
    )
