"""Whole residual blocks taken out: those that change least what goes through them."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import torch
from torch import nn

from paretune.core.errors import UnsupportedError
from paretune.core.technique import Run
from paretune.infrastructure.formats import _checks as checks
from paretune.infrastructure.formats import torch as torch_format
from paretune.infrastructure.formats._blocks import Skip

SAMPLES = 128
NEAR = 1e-4


class _Seen(NamedTuple):
    """The first call of a module in a pass."""

    arguments: tuple[Any, ...]
    named: Mapping[str, Any]
    output: Any


def shallower(model: nn.Module, share: float, run: Run) -> tuple[nn.Module, list[str]]:
    """A copy without the least important of its residual blocks, and their names.

    Args:
        model: left as it is.
        share: of the removable blocks, 0 to 1; rounded to whole blocks.
        run: its task gives the samples that importance is taken on.

    Raises:
        UnsupportedError: the model has no residual block that it runs without.
    """
    small = torch_format.clone(model)
    run.progress("look for blocks", 0.0)
    found = importances(small, run)
    if not found:
        raise UnsupportedError(
            "not-applicable",
            "no residual block of this model can be taken out; set depth to 0.",
        )
    inputs = checks.samples(run.task, SAMPLES)
    before = checks.answers(small, inputs)
    wanted = int(share * len(found) + 0.5)
    cut: list[str] = []
    for name in sorted(found, key=lambda n: (found[n], n)):
        if len(cut) == wanted:
            break
        with without(small, name) as keep:
            if _runs(small, inputs, before):
                keep()
                cut.append(name)
    return small, cut


def importances(model: nn.Module, run: Run) -> dict[str, float]:
    """How much each removable block changes its input, relative to its size.

    Args:
        model: left as it is.
        run: its task's calibration split is looked at.

    Returns:
        the mean over samples of |output - input| / |input|, by block.
    """
    able = removable(model, run)
    sums, count = dict.fromkeys(able, 0.0), 0
    for batch in checks.batches(run.task, SAMPLES) if able else ():
        run.give_way()
        seen = _calls(model, batch)
        for name in able:
            given, made = seen[name].arguments[0], seen[name].output
            sums[name] += float(_changes(given, made).sum())
        count += len(seen[able[0]].output)
    return {name: value / count for name, value in sums.items()}


def removable(model: nn.Module, run: Run) -> list[str]:
    """Residual blocks that the model still runs without, in the order of its modules.

    Such a block is a module with modules inside that gives the shape that it takes,
    around whose weights the input has a way, and without which the model still runs.
    Of blocks inside one another the inner ones count, but not a single one.

    Args:
        model: left as it is.
        run: its task's calibration split is looked at.
    """
    inputs = checks.samples(run.task, SAMPLES)
    first = _calls(model, inputs)
    names = [
        name
        for name, seen in first.items()
        if _alike(seen) and _bypassed(model.get_submodule(name), seen)
    ]
    before = checks.answers(model, inputs)
    able = []
    for name in _chosen(names):
        run.give_way()
        with without(model, name):
            if _runs(model, inputs, before):
                able.append(name)
    order = {name: number for number, (name, _) in enumerate(model.named_modules())}
    return sorted(able, key=order.__getitem__)


@contextlib.contextmanager
def without(model: nn.Module, name: str) -> Iterator[Any]:
    """The model without a block, in place; it comes back unless `keep` is called."""
    path, _, own = name.rpartition(".")
    parent = model.get_submodule(path)
    before = parent._modules[own]
    kept: list[bool] = []
    parent._modules[own] = Skip().eval()
    try:
        yield lambda: kept.append(True)
    finally:
        if not kept:
            parent._modules[own] = before


def _calls(model: nn.Module, inputs: Any) -> dict[str, _Seen]:
    """What went into and came out of modules that ran once, with modules inside."""
    found: dict[str, list[_Seen]] = {}
    hooks = []
    for name, module in model.named_modules():
        if not name or next(module.children(), None) is None:
            continue

        def hook(_: Any, args: Any, named: Any, output: Any, name: str = name) -> None:
            found.setdefault(name, []).append(_Seen(args, named, output))

        hooks.append(module.register_forward_hook(hook, with_kwargs=True))
    try:
        with torch.no_grad(), torch_format.plain_attention():
            torch_format.call(model, inputs)
    finally:
        for handle in hooks:
            handle.remove()
    return {name: calls[0] for name, calls in found.items() if len(calls) == 1}


def _alike(seen: _Seen) -> bool:
    """Whether a module gives a tensor of the shape that it takes."""
    given = seen.arguments[0] if seen.arguments else None
    return (
        isinstance(given, torch.Tensor)
        and isinstance(seen.output, torch.Tensor)
        and given.is_floating_point()
        and given.dim() > 1
        and given.shape == seen.output.shape
    )


@torch.no_grad()
def _bypassed(block: nn.Module, seen: _Seen) -> bool:
    """Whether the input gets around the weights: not only scaled, as by a gate."""
    bare = copy.deepcopy(block)
    for parameter in bare.parameters():
        if parameter.dim() > 1:
            parameter.zero_()
    given, *others = seen.arguments

    def answer(x: torch.Tensor) -> torch.Tensor:
        with torch_format.plain_attention():
            made: torch.Tensor = bare(x, *others, **seen.named)
        return made

    try:
        made, mirrored, doubled = answer(given), answer(-given), answer(2 * given)
    except Exception:  # the block's own code; then it is none that we know
        return False
    if _near(made, mirrored):
        return False
    there = given > 0
    scaled = _near(doubled, 2 * made)
    return not scaled or _near(made[there], given[there])


def _chosen(names: list[str]) -> list[str]:
    """The innermost, but of a block with one other inside the outer one."""

    def inside(name: str) -> list[str]:
        return [n for n in names if n.startswith(f"{name}.")]

    single = {n for name in names if len(below := inside(name)) == 1 for n in below}
    rest = [n for n in names if n not in single]
    return [n for n in rest if not any(o.startswith(f"{n}.") for o in rest)]


def _runs(model: nn.Module, inputs: Any, before: list[torch.Tensor]) -> bool:
    """Whether the model still gives finite numbers, as many as before."""
    try:
        answers = checks.answers(model, inputs)
    except Exception:  # whatever its own code raises: it needs the block
        return False
    finite = all(bool(torch.isfinite(t).all()) for t in answers)
    return finite and [t.shape for t in answers] == [t.shape for t in before]


def _changes(given: torch.Tensor, made: torch.Tensor) -> torch.Tensor:
    """|made - given| / |given| of each sample."""
    size = given.flatten(1).double().norm(dim=1)
    apart = (made.double() - given.double()).flatten(1).norm(dim=1)
    change: torch.Tensor = apart / size.clamp(min=1e-12)
    return change


def _near(a: torch.Tensor, b: torch.Tensor) -> bool:
    if a.shape != b.shape or not a.numel():
        return a.shape == b.shape
    size = max(float(a.abs().max()), 1e-12)
    return float((a - b).abs().max()) <= NEAR * size
