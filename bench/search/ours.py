"""One search of paretune, with the processor time at which each of its trials ended.

One worker of one thread, in this process, so that all that a search spends is counted:
the checks before it, its proposals and its store too. It ends at a limit of
CPU-seconds. Everything is timed by the screening protocol, as it is in the loop that it
is compared with: what is measured in full, the baseline before a search and the
frontier after it, is left out of both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

from bench.search import reference
from paretune import api
from paretune.engine import bench
from paretune.experiment import Experiment
from paretune.measurement._cpu import cpu_s
from paretune.store.cache import Cache
from paretune.strategies.shrink_and_improve import ShrinkAndImprove

Switch = Callable[[], Any]


@dataclass(frozen=True)
class Variant:
    """A way to search.

    Attributes:
        options: of `api.optimize`.
        switches: contexts in which it runs: what is off has no option of its own.
    """

    options: Mapping[str, Any] = field(default_factory=dict)
    switches: tuple[Switch, ...] = ()


def _forgetful() -> Any:
    """No node's result is kept for another recipe, but for those that are waiting."""
    return patch.object(bench, "Cache", partial(Cache, limit_bytes=0, grace_s=0.0))


def _blind() -> Any:
    """No structure is turned away, whatever its footprint."""
    return patch.object(Experiment, "_broken", lambda *_: ())


def _unopened() -> Any:
    """The strategy begins with its sampler."""
    return patch.object(ShrinkAndImprove, "opening", lambda *_: iter(()))


WHOLE: dict[str, Any] = {"scheduler": "successive_halving", "sampler": "nsga2"}
VARIANTS = {
    "ours": Variant(WHOLE),
    "no sharing": Variant(WHOLE, (_forgetful,)),
    "no screening": Variant(WHOLE, (_blind,)),
    "no halving": Variant({**WHOLE, "scheduler": "full_length"}),
    "with supernet": Variant({**WHOLE, "supernet": True}),
    "random": Variant({**WHOLE, "sampler": "random_search"}, (_unopened,)),
}


class Enough(Exception):
    """The limit of CPU-seconds is reached."""


def search(
    task: str, variant: Variant, seed: int, epochs: int, path: Path, limit_s: float
) -> None:
    """Searches until the limit; the events are kept in `path` as they come.

    One that was stopped goes on from its store, which lies beside `path`.
    """
    events, _ = reference.read(path)
    before = events[-1].cpu_s if events else 0.0
    began = cpu_s() if events else 0.0  # imports count once

    def heard(kind: str, facts: Mapping[str, Any]) -> None:
        if kind != "trial":
            return
        spent = before + cpu_s() - began
        events.append(reference.event(spent, facts["trial"]))
        reference.write(path, events, False)
        if spent >= limit_s:
            raise Enough

    with _switched(variant), suppress(Enough):
        api.optimize(
            reference.TASKS[task],
            store=path.with_suffix(".store"),
            study="search",
            require=reference.REQUIRE,
            epochs=epochs,
            worker="in_process",
            seed=seed,
            quick=True,
            on_event=heard,
            **variant.options,
        )
    reference.write(path, sorted(events, key=lambda e: e.cpu_s), True)


@contextmanager
def _switched(variant: Variant) -> Iterator[None]:
    with ExitStack() as stack:
        for switch in variant.switches:
            stack.enter_context(switch())
        yield
