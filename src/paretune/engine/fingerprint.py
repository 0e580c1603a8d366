"""A digest of what makes a task: its code, its weights and its data.

No address, path or module name is in it, so that a copy of the project, in another
process, has the same one.
"""

from __future__ import annotations

import ast
import enum
import functools
import hashlib
import sys
import sysconfig
from argparse import Namespace
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from types import (
    BuiltinFunctionType,
    CodeType,
    FunctionType,
    MappingProxyType,
    MethodType,
    ModuleType,
    SimpleNamespace,
)
from typing import Any

import numpy as np

from paretune.core.task import Task

PLAIN = (
    int,
    float,
    complex,
    str,
    bytes,
    slice,
    type(None),
    type(...),
    np.generic,
    Path,
)
INSTALLED = (
    *map(sysconfig.get_path, ("stdlib", "platstdlib", "purelib", "platlib")),
    str(Path(__file__).parents[1]),
)


class Fingerprint:
    """Takes in one thing after another.

    Functions count with their code, defaults, closures and those globals that they
    name, and each file of code counts as a whole, with those beside it that it
    imports. Of installed libraries the file alone counts. Of an object without code,
    such as a loader, only the class does: its state may change as it is used.

    Example:
        >>> def scaled(factor):
        ...     return lambda outputs: factor * outputs
        >>> def of(value):
        ...     found = Fingerprint()
        ...     found.value(value)
        ...     return found.hexdigest()
        >>> of(scaled(2)) == of(scaled(2)), of(scaled(2)) == of(scaled(3))
        (True, False)
    """

    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        self._met: dict[int, tuple[int, Any]] = {}  # the object too: ids are reused
        self._todo: deque[Any] = deque()

    def hexdigest(self) -> str:
        return self._hash.hexdigest()

    def text(self, *words: object) -> None:
        """Words that can't be taken for others that join to the same text."""
        for word in map(str, words):
            content = word.encode(errors="surrogatepass")
            self._hash.update(b"%d:" % len(content) + content)

    def arrays(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Name, type, shape and content of each."""
        for name, array in arrays.items():
            self.text(name, array.dtype.str, array.shape)
            flat = np.ascontiguousarray(array).reshape(-1)
            self._hash.update(flat.view(np.uint8).data)

    def task(self, task: Task) -> None:
        """The code of a task, and the values and functions that it holds.

        Call it last: what the task loads when it is first used is then there.
        """
        self.value(type(task))
        held = sorted(vars(task).items())
        self.value({k: v for k, v in held if k != "reference"})

    def value(self, value: Any) -> None:
        """A function, a class, a module, an object, or plain data."""
        self._put(value)
        while self._todo:
            self._describe(self._todo.popleft())

    def _put(self, *values: Any) -> None:
        """Plain data as it is; for the rest, its number in the order of meeting."""
        for value in values:
            if isinstance(value, enum.Enum):
                self.text("enum", type(value).__qualname__, value.name)
            elif isinstance(value, PLAIN):
                self.text(type(value).__name__, value)
            elif isinstance(value, tuple):
                self.text("tuple", len(value))
                self._put(*value)
            elif isinstance(value, set | frozenset):
                self.text("set", *sorted(map(_member, value)))
            elif isinstance(value, CodeType):
                self._code(value)
            else:
                if id(value) not in self._met:
                    self._met[id(value)] = len(self._met), value
                    self._todo.append(value)
                self.text("met", self._met[id(value)][0])

    def _describe(self, value: Any) -> None:
        self.text(type(value).__name__)
        match value:
            case FunctionType():
                self._function(value)
            case BuiltinFunctionType():
                self.text(value.__module__, value.__qualname__)
            case MethodType():
                self._put(value.__func__, value.__self__)
            case functools.partial():
                self._put(value.func, value.args, value.keywords)
            case staticmethod() | classmethod():
                self._put(value.__func__)
            case property():
                self._put(value.fget)
            case functools.cached_property():
                self._put(value.func)
            case ModuleType():
                self._module(value)
            case type():
                self._class(value)
            case dict() | MappingProxyType():
                self._put(*(part for item in value.items() for part in item))
            case list() | deque():
                self._put(*value)
            case np.ndarray() if value.dtype != object:
                self.arrays({"": value})
            case _ if _is_tensor(value):
                self._tensor(value)
            case _:
                self._put(type(value))
                self._put(*(part for item in _state(value) for part in item))

    def _function(self, function: FunctionType) -> None:
        module = sys.modules.get(function.__module__)
        self.text(function.__qualname__)
        self._put(function.__code__, function.__defaults__, function.__kwdefaults__)
        for cell in function.__closure__ or ():
            try:
                self._put(cell.cell_contents)
            except ValueError:
                self.text("empty cell")
        self._put(module)
        if not _installed(module):
            scope = function.__globals__
            for name in sorted(set(_names(function.__code__)) & scope.keys()):
                self.text(name)
                self._put(scope[name])

    def _code(self, code: CodeType) -> None:
        self.text("code", code.co_flags, code.co_argcount, code.co_posonlyargcount)
        self.text(code.co_kwonlyargcount, code.co_code, code.co_exceptiontable)
        self.text(code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars)
        self._put(code.co_consts)

    def _class(self, found: type) -> None:
        module = sys.modules.get(found.__module__)
        self.text(found.__qualname__)
        self._put(module, found.__mro__[1:])
        if not _installed(module):
            for name, value in vars(found).items():
                inner = name.startswith("__") and not isinstance(value, FunctionType)
                if not inner or isinstance(value, staticmethod | classmethod):
                    self.text(name)
                    self._put(value)

    def _module(self, module: ModuleType) -> None:
        path = _file(module)
        if path is None:
            return
        if _installed(module):
            self.text(module.__name__)
            self._hash.update(path.read_bytes())
            return
        for name, content in local_files(path, module.__package__ or ""):
            self.text(name, len(content))
            self._hash.update(content)

    def _tensor(self, tensor: Any) -> None:
        import torch

        self.text(tensor.dtype, tuple(tensor.shape))
        plain = tensor.layout == torch.strided and not tensor.is_quantized
        if plain and not tensor.is_meta:
            flat = tensor.detach().cpu().contiguous().reshape(-1)
            self._hash.update(flat.resolve_conj().view(torch.uint8).numpy())


def local_files(path: Path, package: str = "") -> list[tuple[str, bytes]]:
    """(name, content) of a file and of the files in its folder that it imports.

    They are found in the text, not among the modules that happen to be loaded: the
    answer must not hang on what else was imported, or on whether an import inside a
    function has run.

    Args:
        path: a Python file.
        package: the dotted name of the package that it is in.
    """
    folder, found = path.resolve().parent, dict[str, bytes]()
    todo = [path.resolve()]
    while todo:
        file = todo.pop()
        name = file.relative_to(folder).as_posix()
        if name in found or not file.is_file():
            continue
        found[name] = file.read_bytes()
        for base, dotted in _imports(found[name], file, folder, package):
            parts = dotted.split(".")
            for end in range(1, len(parts) + 1):
                stem = base.joinpath(*parts[:end])
                todo += [stem.with_name(f"{stem.name}.py"), stem / "__init__.py"]
    return sorted(found.items())


def _imports(
    content: bytes, file: Path, folder: Path, package: str
) -> Iterator[tuple[Path, str]]:
    """(where to look, dotted name) of all that a file may import from `folder`."""
    try:
        tree = ast.parse(content)
    except (SyntaxError, ValueError):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield folder, alias.name.removeprefix(f"{package}.")
        elif isinstance(node, ast.ImportFrom):
            above = (
                file.parents[node.level - 1 : node.level] if node.level else [folder]
            )
            stem = f"{node.module}." if node.module else ""
            names = [f"{stem}{alias.name}" for alias in node.names]
            for base in above:
                if base.is_relative_to(folder):
                    yield from ((base, n.removeprefix(f"{package}.")) for n in names)


def _member(value: Any) -> str:
    kind = type(value).__qualname__
    return f"{kind} {value!r}" if isinstance(value, PLAIN) else kind


def _state(value: Any) -> Iterable[tuple[str, Any]]:
    """The attributes of what is called, or only holds values; none of other objects."""
    if is_dataclass(value):
        return [(f.name, getattr(value, f.name, None)) for f in fields(value)]
    if callable(value) or isinstance(value, SimpleNamespace | Namespace):
        held = getattr(value, "__dict__", {})
        return [(k, v) for k, v in held.items() if k != "training"]  # set by eval()
    return []


def _names(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            yield from _names(inner)


def _is_tensor(value: Any) -> bool:
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.Tensor)


def _file(module: ModuleType | None) -> Path | None:
    """The file of a module; None for what is built in or typed into a console."""
    name = getattr(module, "__file__", None)
    return Path(name) if isinstance(name, str) and Path(name).is_file() else None


def _installed(module: ModuleType | None) -> bool:
    """Whether a module is of the standard library, an installed one, or ours."""
    path = _file(module)
    if module is None or path is None:
        name = getattr(module, "__name__", "")
        return name.partition(".")[0] in sys.stdlib_module_names
    inside = any(path.is_relative_to(root) for root in INSTALLED if root)
    return inside or bool({"site-packages", "dist-packages"} & set(path.parts))
