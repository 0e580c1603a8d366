"""The structural difference between two PyTorch modules, as JSON that replays."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NoReturn

import torch
from torch import nn

from paretune.core.errors import UnsupportedError
from paretune.infrastructure.formats._modules import outside, replace, replacements

_ABSENT = object()
Edit = dict[str, Any]
_OF_EVERY_MODULE = frozenset(vars(nn.Module()))
# The new tensor by the identity of the old and the shape; the old one is kept alive
# so that its identity stays its own.
_Made = dict[tuple[int, tuple[int, ...]], tuple[torch.Tensor, torch.Tensor]]


def edits(base: nn.Module, model: nn.Module) -> list[Edit]:
    """The edits that turn `base`'s structure into `model`'s; weights don't count.

    Each is one of::

        {"edit": "resize", "module": name, "attributes": {name: value},
         "shapes": {tensor: [size, ...] or null}}
        {"edit": "share", "tensors": [name, ...]}
        {"edit": "replace", "module": name, "layer": description}
        {"edit": "replace", "module": name, "like": name of another that was replaced}

    The second makes several names one tensor (or, of one name, takes it out of the
    group that it shared with others). The third puts a layer from the vocabulary of
    `_modules` in the place of a module, and the last the same one in a second place.

    Args:
        base: the task's model.
        model: what techniques made of it: modules under the same names, but inside
            those that were replaced.

    Returns:
        Edits for `replay`; empty if the structures are alike.

    Raises:
        UnsupportedError: modules were added, removed or untied, or replaced by what
            can't be described.

    Example:
        >>> wide, narrow = nn.Linear(8, 4), nn.Linear(8, 2)
        >>> edits(wide, narrow)[0]["shapes"]
        {'weight': [2, 8], 'bias': [2]}
    """
    old = dict(base.named_modules(remove_duplicate=False))
    new = dict(model.named_modules(remove_duplicate=False))
    changes = replacements(old, new)
    places = [change["module"] for change in changes]
    old, new = outside(old, places), outside(new, places)
    if changed := sorted(old.keys() ^ new.keys()):
        _refuse(f"module {changed[0]!r} was added or removed")
    if _groups({k: id(v) for k, v in old.items()}) != _groups(
        {k: id(v) for k, v in new.items()}
    ):
        _refuse("a module that was used in two places no longer is, or now is")
    found: list[Edit] = []
    done: set[int] = set()
    for name, module in new.items():
        if id(module) not in done:
            done.add(id(module))
            found.append(_resize(name, old[name], module))
    resizes = [e for e in found if e["attributes"] or e["shapes"]]
    return changes + resizes + _shares(base, model)


def replay(model: nn.Module, changes: list[Edit]) -> nn.Module:
    """Applies `edits` to a fresh model, in place.

    Values that still fit stay where they are, new ones are zero; the weights proper
    are loaded afterwards. Parameters that were one tensor stay one.

    Args:
        model: a fresh model of the task.
        changes: from `edits`.

    Returns:
        The same model.

    Raises:
        UnsupportedError: the edits don't fit this model.
    """
    modules = dict(model.named_modules(remove_duplicate=False))
    made: _Made = {}
    for change in changes:
        match change["edit"]:
            case "replace":
                replace(model, change)
                modules = dict(model.named_modules(remove_duplicate=False))
            case "resize":
                module = modules.get(change["module"])
                if module is None:
                    _refuse(f"there is no module {change['module']!r}")
                for name, value in change["attributes"].items():
                    setattr(module, name, _as_before(vars(module).get(name), value))
                for name, shape in change["shapes"].items():
                    _set(module, name, _resized(module, name, shape, made))
            case "share":
                _share(modules, change["tensors"])
            case other:
                _refuse(f"edit {other!r} is not known")
    return model


def named_tensors(model: nn.Module) -> dict[str, torch.Tensor]:
    """Every parameter and buffer by every one of its names, None left out."""
    return {
        f"{path}.{name}" if path else name: tensor
        for path, module in model.named_modules(remove_duplicate=False)
        for name, tensor in _own(module)
        if tensor is not None
    }


def groups(tensors: Mapping[str, torch.Tensor]) -> list[tuple[str, ...]]:
    """The names that stand for one and the same tensor, group by group."""
    return _groups({k: id(v) for k, v in tensors.items()})


def _groups(identities: Mapping[str, int]) -> list[tuple[str, ...]]:
    found: dict[int, list[str]] = {}
    for name, identity in identities.items():
        found.setdefault(identity, []).append(name)
    return sorted(tuple(sorted(names)) for names in found.values())


def _own(module: nn.Module) -> Iterator[tuple[str, torch.Tensor | None]]:
    yield from module._parameters.items()
    yield from module._buffers.items()


def _resize(name: str, old: nn.Module, new: nn.Module) -> Edit:
    where = f"module {name!r}" if name else "the model"
    kinds = [f"{type(m).__module__}.{type(m).__qualname__}" for m in (old, new)]
    if kinds[0] != kinds[1]:
        _refuse(f"{where} was {kinds[0]} and is {kinds[1]}")
    before, after = dict(_own(old)), dict(_own(new))
    if changed := sorted(before.keys() ^ after.keys()):
        _refuse(f"tensor {changed[0]!r} of {where} was added or removed")
    shapes = {
        key: None if tensor is None else list(tensor.shape)
        for key, tensor in after.items()
        if _shape(tensor) != _shape(before[key])
    }
    attributes = {}
    for key, value in vars(new).items():
        plain = _plain(value)
        if key in _OF_EVERY_MODULE or plain is _ABSENT:
            continue
        if plain != _plain(vars(old).get(key, _ABSENT)):
            attributes[key] = plain
    return {
        "edit": "resize",
        "module": name,
        "attributes": attributes,
        "shapes": shapes,
    }


def _shares(base: nn.Module, model: nn.Module) -> list[Edit]:
    before, after = named_tensors(base), named_tensors(model)
    kept = _groups({k: id(v) for k, v in before.items() if k in after})
    # `replay` keeps those together that were one tensor and have one shape now.
    expected = {
        tuple(n for n in names if after[n].shape == shape)
        for names in kept
        for shape in {after[n].shape for n in names}
    }
    expected |= {(n,) for n in after.keys() - before.keys()}
    return [
        {"edit": "share", "tensors": list(names)}
        for names in groups(after)
        if names not in expected
    ]


def _share(modules: Mapping[str, nn.Module], names: list[str]) -> None:
    places = [name.rpartition(".")[::2] for name in names]
    path, key = places[0]
    first = dict(_own(modules[path]))[key]
    if first is None:
        _refuse(f"there is no tensor {names[0]!r}")
    one = _like(first, first.detach().clone())
    for path, key in places:
        _set(modules[path], key, one)


def _resized(
    module: nn.Module,
    name: str,
    shape: list[int] | None,
    made: _Made,
) -> torch.Tensor | None:
    old = dict(_own(module)).get(name, _ABSENT)
    if old is _ABSENT:
        _refuse(f"{type(module).__name__} has no tensor {name!r}")
    if shape is None:
        return None
    if old is None:
        fresh = torch.zeros(shape)
        return nn.Parameter(fresh) if name in module._parameters else fresh
    assert isinstance(old, torch.Tensor)
    key = (id(old), tuple(shape))
    if key not in made:
        values = old.detach().new_zeros(shape)
        if values.dim() == old.dim():
            both = tuple(slice(0, min(p)) for p in zip(shape, old.shape, strict=True))
            values[both] = old.detach()[both]
        made[key] = _like(old, values), old
    return made[key][0]


def _like(old: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    if isinstance(old, nn.Parameter):
        return nn.Parameter(values, requires_grad=old.requires_grad)
    return values


def _set(module: nn.Module, name: str, value: torch.Tensor | None) -> None:
    # Through setattr: recurrent modules keep a second list of their weights.
    setattr(module, name, value)


def _shape(tensor: torch.Tensor | None) -> tuple[int, ...] | None:
    return None if tensor is None else tuple(tensor.shape)


def _plain(value: Any) -> Any:
    """The value as JSON has it, or _ABSENT if JSON hasn't."""
    if value is None or isinstance(value, bool | str | float):
        return value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, tuple | list):
        items = [_plain(v) for v in value]
        return _ABSENT if any(i is _ABSENT for i in items) else items
    if isinstance(value, dict) and all(isinstance(k, str) for k in value):
        items = [_plain(v) for v in value.values()]
        if any(i is _ABSENT for i in items):
            return _ABSENT
        return dict(zip(value, items, strict=True))
    if hasattr(value, "__index__") and not isinstance(value, torch.Tensor):
        return int(value.__index__())
    return _ABSENT


def _as_before(old: Any, value: Any) -> Any:
    """JSON has lists only; a tuple must come back as one."""
    if isinstance(value, list):
        inner = old[0] if isinstance(old, tuple | list) and old else None
        items = [_as_before(inner, v) for v in value]
        return items if isinstance(old, list) else tuple(items)
    return value


def _refuse(what: str) -> NoReturn:
    raise UnsupportedError(
        "edit",
        f"{what}; a candidate differs from the task's model only in sizes, in plain "
        "attributes, and in modules that known layers took the place of.",
    )
