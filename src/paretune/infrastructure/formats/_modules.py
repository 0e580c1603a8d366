"""PyTorch layers as JSON that builds them again, from a closed vocabulary."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from torch import nn

from paretune.core.errors import UnsupportedError
from paretune.infrastructure.formats import _blocks

Description = dict[str, Any]

# Layers that keep what they were built with in attributes of the same names.
LAYERS: tuple[type[nn.Module], ...] = (
    *(nn.Linear, nn.Bilinear, nn.Embedding, nn.Identity, nn.Dropout, nn.Flatten),
    *(nn.Conv1d, nn.Conv2d, nn.Conv3d),
    *(nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d),
    *(nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d),
    *(nn.LayerNorm, nn.GroupNorm, nn.RMSNorm),
    *(nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.GELU, nn.SiLU, nn.Mish),
    *(nn.Sigmoid, nn.Tanh, nn.Hardswish, nn.Hardsigmoid, nn.Softmax),
    *(nn.MaxPool1d, nn.MaxPool2d, nn.AvgPool1d, nn.AvgPool2d),
    *(nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d),
    nn.Sequential,
)
_KNOWN = {t.__name__: t for t in LAYERS} | {
    name: value
    for name, value in vars(_blocks).items()
    if isinstance(value, type) and issubclass(value, nn.Module)
}
_ELSEWHERE = frozenset({"device", "dtype"})


def describe(module: nn.Module) -> Description:
    """What `build` makes the same layer from; weights don't count.

    Raises:
        UnsupportedError: the layer, or one inside it, is not of the vocabulary.

    Example:
        >>> describe(nn.Linear(4, 2, bias=False))
        {'type': 'Linear', 'in_features': 4, 'out_features': 2, 'bias': False}
    """
    kind = type(module)
    if _KNOWN.get(kind.__name__) is not kind:
        raise UnsupportedError(
            "edit",
            f"a {kind.__module__}.{kind.__qualname__} can't be put into a model, only "
            f"{', '.join(sorted(_KNOWN))}.",
        )
    if kind is nn.Sequential:
        layers = {name: describe(m) for name, m in module.named_children()}
        return {"type": "Sequential", "layers": layers}
    return {"type": kind.__name__} | {
        name: _plain(module, name) for name in _arguments(kind)
    }


def build(description: Description) -> nn.Module:
    """The layer that `describe` described, its weights not yet set.

    Raises:
        UnsupportedError: it is of a type that is not known here.

    Example:
        >>> build({"type": "Identity"})
        Identity()
    """
    arguments = {k: _given(v) for k, v in description.items() if k != "type"}
    kind = _KNOWN.get(description["type"])
    if kind is None:
        raise UnsupportedError(
            "edit",
            f"layer {description['type']!r} is not known; write the file again with "
            "this version of paretune.",
        )
    if kind is nn.Sequential:
        made = nn.Sequential()
        for name, inner in description["layers"].items():
            made.add_module(name, build(inner))
        return made
    return kind(**arguments)


def replacements(
    old: Mapping[str, nn.Module], new: Mapping[str, nn.Module]
) -> list[Description]:
    """One for each module that is of another type now, the outermost alone."""
    found: list[Description] = []
    first: dict[int, str] = {}
    inside: tuple[str, ...] = ()
    for name, module in new.items():  # a module comes before those inside it
        if (
            name.startswith(inside)
            or name not in old
            or type(module) is type(old[name])
        ):
            continue
        if not name:
            raise UnsupportedError("edit", "the model itself can't be replaced.")
        inside += (f"{name}.",)
        edit: Description = {"edit": "replace", "module": name}
        if id(module) in first:
            found.append(edit | {"like": first[id(module)]})
        else:
            first[id(module)] = name
            found.append(edit | {"layer": describe(module)})
    return found


def outside(
    modules: Mapping[str, nn.Module], places: list[str]
) -> dict[str, nn.Module]:
    """The modules that are at none of these places, nor inside one."""
    inside = tuple(f"{place}." for place in places)
    return {
        name: module
        for name, module in modules.items()
        if name not in places and not name.startswith(inside)
    }


def replace(model: nn.Module, change: Description) -> None:
    """Does one of `replacements`, in place.

    Raises:
        UnsupportedError: there is no such module.
    """
    name = change["module"]
    modules = dict(model.named_modules(remove_duplicate=False))
    if name not in modules:
        raise UnsupportedError(
            "edit", f"there is no module {name!r} in the task's model any more."
        )
    like = change.get("like")
    layer = build(change["layer"]) if like is None else modules[like]
    path, _, own = name.rpartition(".")
    model.get_submodule(path)._modules[own] = layer


def _arguments(kind: type[nn.Module]) -> list[str]:
    return [
        name
        for name, p in inspect.signature(kind.__init__).parameters.items()
        if name != "self"
        and p.kind is p.POSITIONAL_OR_KEYWORD
        and not name.startswith("_")
        and name not in _ELSEWHERE
    ]


def _plain(module: nn.Module, name: str) -> Any:
    value = getattr(module, name)
    if name == "bias":
        return value is not None and value is not False
    if isinstance(value, tuple):
        return [int(v) for v in value]
    return value


def _given(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
