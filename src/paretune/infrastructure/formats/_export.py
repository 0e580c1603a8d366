"""PyTorch to ONNX: quiet, with every axis that varies left dynamic."""

from __future__ import annotations

import contextlib
import copy
import io
import itertools
import logging
import re
import warnings
from collections.abc import Iterator, Mapping
from typing import Any, NoReturn, cast

import numpy as np
import onnx
import torch
from torch import nn

from paretune.core.errors import TaskError, UnsupportedError
from paretune.core.task import Task, as_arrays, like
from paretune.infrastructure.formats import torch as torch_format

BATCHES_LOOKED_AT = 8
_REGISTRIES: dict[tuple[Any, ...], Any] = {}
_ROWS = (3, 5, 7, 11, 13, 17, 19)
_NOISY = (
    *("torch", "torch.onnx", "torch.export", "torch.fx", "onnxscript", "onnx_ir"),
    "torchao",
)
_OPERATOR = re.compile(r"OpOverload\(op='([\w.:]+)'")
_STATIC = re.compile(
    r"a static shape of (\d+) for dimension inputs\['arrays'\]\[(\d+)\]\.shape\[(\d+)\]"
)
_LINE = re.compile(r'File "([^"]+)", line (\d+), in \S+')


class Flat(nn.Module):
    """A model that takes its arrays one by one and gives a tuple of them."""

    def __init__(self, model: nn.Module, structure: Any) -> None:
        super().__init__()
        self.model = model
        self.structure = like(structure, dict.fromkeys(as_arrays(structure, "input")))

    def forward(self, *arrays: torch.Tensor) -> tuple[torch.Tensor, ...]:
        inputs = like(self.structure, {str(i): a for i, a in enumerate(arrays)})
        outputs = torch_format.call(self.model, inputs)
        if isinstance(outputs, Mapping):
            return tuple(outputs.values())
        return tuple(outputs) if isinstance(outputs, tuple | list) else (outputs,)


def export(model: nn.Module, task: Task) -> onnx.ModelProto:
    """The graph of `model`, inputs and outputs named as `as_arrays` names them.

    Axis 0 of each input is the dynamic axis "batch"; other axes are dynamic if they
    differ among the first calibration batches.

    Raises:
        UnsupportedError: names the operator and the layer that ONNX can't hold.
        TaskError: the model's inputs or outputs are not arrays.
    """
    structure, arrays, axes = example(task)
    tensors = [torch_format.tensors(a) for a in arrays.values()]
    flat = Flat(model, structure).eval()
    with torch.inference_mode():
        inputs = like(structure, dict(zip(arrays, tensors, strict=True)))
        outputs = list(as_arrays(torch_format.call(model, inputs), "output"))
    dynamic = tuple(
        dict.fromkeys(axes[name], torch.export.Dim.DYNAMIC) for name in arrays
    )
    with quiet(), _remembered(), torch_format.plain_attention():
        # Importing it takes most of a second, which only an export should pay.
        from paretune.infrastructure.formats._attention import TRANSLATIONS

        try:
            program = torch.onnx.export(
                flat,
                tuple(tensors),
                dynamo=True,
                dynamic_shapes=(dynamic,),
                input_names=list(arrays),
                output_names=outputs,
                custom_translation_table=TRANSLATIONS,
                optimize=True,
                verbose=False,
            )
        except MemoryError:
            raise
        except Exception as error:
            _explain(error, list(arrays))
    assert program is not None and program.exported_program is not None
    graph = cast(onnx.ModelProto, program.model_proto)
    limits = {
        str(symbol): (limit.lower, limit.upper)
        for symbol, limit in program.exported_program.range_constraints.items()
    }
    _name_axes(graph, axes, limits)
    return graph


def example(task: Task) -> tuple[Any, dict[str, Any], dict[str, dict[int, str]]]:
    """(structure of the inputs, arrays to trace with, {input: {axis: its name}})."""
    batches = [
        inputs
        for inputs, _ in itertools.islice(
            task.batches("calibration"), BATCHES_LOOKED_AT
        )
    ]
    if not batches:
        raise TaskError(
            "data-too-small",
            "batches('calibration') gave no batch; at least one sample is needed.",
        )
    seen = [as_arrays(inputs, "input") for inputs in batches]
    axes: dict[str, dict[int, str]] = {}
    # Axes that always have the same size are one symbol.
    named: dict[tuple[int, ...], str] = {}
    for name, array in seen[0].items():
        axes[name] = {0: "batch"}
        for axis in range(1, array.ndim):
            sizes = tuple(arrays[name].shape[axis] for arrays in seen)
            if len(set(sizes)) > 1:
                axes[name][axis] = named.setdefault(sizes, f"{name}_axis_{axis}")
    varying = [
        {a[n].shape[axis] for n, own in axes.items() for axis in own if axis}
        for a in seen
    ]
    chosen = max(range(len(seen)), key=lambda i: len(varying[i]))
    # The tracer takes sizes that agree in the example for one and the same.
    rows = next(r for r in _ROWS if r not in varying[chosen])
    arrays = {
        name: np.resize(array[: min(rows, len(array))], (rows, *array.shape[1:]))
        for name, array in seen[chosen].items()
    }
    return batches[chosen], arrays, axes


def _name_axes(
    graph: onnx.ModelProto,
    axes: dict[str, dict[int, str]],
    limits: dict[str, tuple[Any, Any]],
) -> None:
    symbols = {}
    for value in graph.graph.input:
        for axis, name in axes[value.name].items():
            dim = value.type.tensor_type.shape.dim[axis]
            if not dim.dim_param:
                _fixed(value.name, axis, f"takes only {dim.dim_value}")
            symbols[dim.dim_param] = name
            low, high = limits.get(dim.dim_param, (0, "int_oo"))
            if name == "batch" and (low > 1 or str(high) != "int_oo"):
                most = "more" if str(high) == "int_oo" else f"up to {high}"
                _fixed(value.name, axis, f"takes only {low} and {most}")
    values = (graph.graph.input, graph.graph.output, graph.graph.value_info)
    for value in itertools.chain(*values):
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param:
                dim.dim_param = re.sub(
                    r"\w+",
                    lambda m: symbols.get(m.group(), m.group()),
                    dim.dim_param,
                )


def _fixed(name: str, axis: int, what: str) -> NoReturn:
    axis_name = "the batch size" if axis == 0 else f"the size of axis {axis}"
    raise UnsupportedError(
        "shape-dynamic",
        f"{axis_name} of {name!r} varies, but the model {what}: some of its code "
        "depends on that size; make it independent.",
    )


def _explain(error: Exception, names: list[str]) -> NoReturn:
    chain: list[BaseException] = [error]
    while cause := chain[-1].__cause__ or chain[-1].__context__:
        chain.append(cause)
    text = "\n".join(str(e) for e in chain)
    if found := _STATIC.search(text):
        size, index, axis = map(int, found.groups())
        _fixed(names[index], axis, f"takes only {size}")
    layer = next((n for e in chain if (n := _layer(e))), "")
    where = f" (layer {layer!r})" if layer else ""
    if found := _OPERATOR.search(text):
        operator = found.group(1).replace(".", "::", 1)
        raise UnsupportedError(
            "unsupported-op",
            f"{operator}{where} has no ONNX form; replace that layer by operators "
            "that have one.",
        ) from error
    lines = _LINE.findall(text)
    own = [
        f"{file}:{line}"
        for file, line in lines
        if "site-packages" not in file and file != __file__
    ]
    reason = str(chain[-1]).strip().partition("\n")[0]
    raise UnsupportedError(
        "unsupported-op",
        f"the model can't be traced to ONNX{where}"
        f"{f' at {own[-1]}' if own else ''}: {reason}",
    ) from error


def _layer(error: BaseException) -> str:
    """The module of the graph node at hand when `error` was raised."""
    # The exporter's messages name the operator only, its frames hold the node.
    trace = error.__traceback__
    found = ""
    while trace:
        node = trace.tb_frame.f_locals.get("node")
        if isinstance(node, torch.fx.Node):
            stack = list(node.meta.get("nn_module_stack", {}).values())
            if stack:
                found = str(stack[-1][0]).removeprefix("model").lstrip(".")
        trace = trace.tb_next
    return found


@contextlib.contextmanager
def _remembered() -> Iterator[None]:
    """Builds the exporter's table of operators once a process, not once a call."""
    name = "from_torchlib"
    # Building it parses 500 functions' source: a third of a small model's export.
    try:
        from torch.onnx._internal.exporter._registration import ONNXRegistry

        original = vars(ONNXRegistry)[name]
    except (ImportError, KeyError):  # another version of torch does it another way
        yield
        return

    def build(*_: Any, **options: Any) -> Any:
        key = tuple(sorted(options.items()))
        if key not in _REGISTRIES:
            _REGISTRIES[key] = original.__get__(None, ONNXRegistry)(**options)
        registry = copy.copy(_REGISTRIES[key])
        registry.functions = {k: list(v) for k, v in registry.functions.items()}
        return registry

    setattr(ONNXRegistry, name, staticmethod(build))
    try:
        yield
    finally:
        setattr(ONNXRegistry, name, original)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    loggers = [logging.getLogger(name) for name in _NOISY]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.CRITICAL)
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
