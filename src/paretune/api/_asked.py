"""What a search was asked for, made into who proposes and who decides how far."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from paretune import catalog
from paretune.core.errors import StoreError, UnavailableError, nearest
from paretune.core.strategy import Strategy
from paretune.options import SCHEDULER, Options


def pace(asked: Options, kept: Mapping[str, str]) -> dict[str, str]:
    """Who decides how far each trial trains, and what rungs are shares of.

    Args:
        asked: by the user; what isn't asked for is as it was.
        kept: what the study began with.

    Raises:
        UnavailableError: there is none of that name, or rungs over nothing known.
        StoreError: what the study has judged so far isn't comparable with that.
    """
    over = asked.rungs_over or kept.get("over", "length")
    pace = {"name": asked.scheduler or kept.get("name", SCHEDULER), "over": over}
    known = ("length", "data")
    if over not in known:
        raise UnavailableError(
            "rungs-over",
            f"rungs are shares of length or data, not of {over!r}; "
            f"{nearest(over, known)}",
        )
    catalog.SCHEDULERS[pace["name"]]
    if kept and kept != pace and kept["name"] != SCHEDULER:
        raise StoreError(
            "study-scheduler",
            f"this study's trials were judged by {kept['name']} over "
            f"{kept['over']}, and can't be ranked with those of {pace['name']} over "
            f"{over}; leave --scheduler and --rungs-over out, or begin another study "
            "with --study.",
        )
    return pace


def extra(asked: Options, strategy: type[Strategy]) -> dict[str, Any]:
    """What is asked of the strategy that not every one knows.

    Raises:
        UnavailableError: this one doesn't.
    """
    known = {f.name for f in fields(strategy)}  # type: ignore[arg-type]
    if asked.supernet and "supernet" not in known:
        raise UnavailableError(
            "supernet",
            f"strategy {asked.strategy} has no recipes with a supernet; leave "
            "--supernet out, or take shrink_and_improve.",
        )
    if asked.start is not None and "start" not in known:
        raise UnavailableError(
            "start",
            f"strategy {asked.strategy} says itself what trainings start from; leave "
            "start out, or take strategy tune.",
        )
    if asked.recipes and "listed" not in known:
        raise UnavailableError(
            "recipes",
            f"strategy {asked.strategy} shapes recipes itself; leave it out to run "
            "those of a list, or take strategy sweep.",
        )
    if asked.warm_start and asked.recipes:
        raise UnavailableError(
            "warm-start",
            "a list of recipes is run as it is, and no others; leave --warm-start out, "
            "or --recipes.",
        )
    given = {"supernet": True} if asked.supernet else {}
    return given if asked.start is None else {**given, "start": asked.start}


def found_out(strategy: type[Strategy], found: Mapping[str, Any]) -> dict[str, Any]:
    """What preflight found out about the task that this strategy wants to know."""
    known = {f.name for f in fields(strategy)}  # type: ignore[arg-type]
    return {k: found[k] for k in ("kind", "classes") if k in known}


def listed(asked: Options) -> dict[str, Any]:
    """The recipes that a search is to run, as its study remembers them."""
    return {"recipes": [r.to_json() for r in asked.recipes]} if asked.recipes else {}


def strategy(asked: Options, epochs: int, extra: Mapping[str, Any]) -> Strategy:
    """Who proposes, as asked."""
    given = {**extra, **({"listed": asked.recipes} if asked.recipes else {})}
    given["sampler"] = catalog.SAMPLERS[asked.sampler]()
    made: Strategy = catalog.STRATEGIES[asked.strategy](epochs=epochs, **given)  # type: ignore[call-arg]
    return made
