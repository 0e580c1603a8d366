"""The layers of a PyTorch model that a user names in a few words."""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase

from torch import nn

from paretune.core.errors import UnsupportedError, nearest


def matching(layers: Mapping[str, nn.Module], patterns: str) -> set[str]:
    """The names of the layers that comma-separated patterns mean.

    A pattern is a layer ("head"), what layers are inside of ("layers.0"), both with
    wildcards ("layers.*.mlp"), or a type of layer ("Embedding"). A type of PyTorch's
    need not occur.

    Args:
        layers: by name.
        patterns: "" for none.

    Raises:
        UnsupportedError: a pattern matches nothing.

    Example:
        >>> layers = {"body.0": nn.Linear(2, 2), "head": nn.Linear(2, 2)}
        >>> matching(layers, "head"), sorted(matching(layers, "Linear"))
        ({'head'}, ['body.0', 'head'])
    """
    words = {
        name: [type(layer).__name__, *_paths(name)] for name, layer in layers.items()
    }
    found: set[str] = set()
    for pattern in filter(None, map(str.strip, patterns.split(","))):
        hits = {
            name
            for name, own in words.items()
            if any(fnmatchcase(word, pattern) for word in own)
        }
        if not hits and not hasattr(nn, pattern):
            known = {word for own in words.values() for word in own}
            raise UnsupportedError(
                "skip", f"skip: no layer matches {pattern!r}; {nearest(pattern, known)}"
            )
        found |= hits
    return found


def _paths(name: str) -> list[str]:
    """The name of a layer, and those of what it is inside of."""
    parts = name.split(".") if name else []
    return [".".join(parts[:n]) for n in range(1, len(parts) + 1)]
