"""The number format and memory layout that a PyTorch model trains fastest in."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from paretune.infrastructure.formats.torch import call, clone

Forward = Callable[[Any], Any]

_WIDE = 64  # rows and columns of a matrix


@dataclass(frozen=True)
class Mode:
    """How a forward pass is computed. The weights stay float32 in every mode.

    Attributes:
        bf16: convolutions and matrix products in bfloat16 (autocast).
        channels_last: images and 2-D convolution weights with channels innermost.
    """

    bf16: bool = False
    channels_last: bool = False

    def prepare(self, model: nn.Module) -> nn.Module:
        """`model` itself, its weights laid out for this mode."""
        if self.channels_last:
            model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        return model

    def call(self, model: nn.Module, inputs: Any) -> Any:
        """The outputs, in float32 where they are floats."""
        if self.channels_last:
            inputs = _mapped(_channels_last, inputs)
        with torch.autocast("cpu", torch.bfloat16, enabled=self.bf16):
            outputs = call(model, inputs)
        return _mapped(_float32, outputs)


def frozen(model: nn.Module, remember: bool = True) -> Forward:
    """A function from inputs to the outputs of `model` as it is, without gradients.

    For a teacher: evaluation mode, and the number format that pays. What it answered
    is remembered in this process, by its weights and the inputs: an epoch of one seed
    has the same augmented batches for every student, so that the teacher works for the
    first of them alone.

    Args:
        model: left as it is.
        remember: no, where answers are many times larger than inputs.
    """
    model = clone(model)
    weights = _digest(dict(model.state_dict())) if remember else b""
    modes: list[Mode] = []

    # inference_mode would forbid the outputs in a loss that is differentiated.
    @torch.no_grad()
    def forward(inputs: Any) -> Any:
        key = weights + _digest(inputs) if remember else b""
        if key in _answers:
            return _answers[key]
        if not modes:
            modes.append(fastest(model, lambda m, s: m.call(s.eval(), inputs)))
            modes[0].prepare(model)
        answer = modes[0].call(model, inputs)
        if not remember:
            return answer
        if _size(answer) * (len(_answers) + 1) > _REMEMBERED:
            _answers.clear()
        _answers[key] = answer
        return answer

    return forward


_answers: dict[bytes, Any] = {}
_REMEMBERED = 2**27  # bytes of answers


def _digest(structure: Any) -> bytes:
    """Of the bytes, shapes and types of all tensors in a structure."""
    content = hashlib.blake2b(digest_size=16)

    def add(tensor: torch.Tensor) -> torch.Tensor:
        content.update(f"{tensor.dtype}{tuple(tensor.shape)}".encode())
        raw = tensor.contiguous().view(-1).view(torch.uint8)
        content.update(raw.numpy().tobytes())
        return tensor

    _mapped(add, structure)
    return content.digest()


def _size(structure: Any) -> int:
    """Bytes of all tensors in a structure."""
    if isinstance(structure, torch.Tensor):
        return structure.nbytes
    parts = structure.values() if isinstance(structure, dict) else structure
    return sum(map(_size, parts))


def fastest(
    model: nn.Module,
    attempt: Callable[[Mode, nn.Module], object],
    bf16: bool = True,
) -> Mode:
    """The mode that `model` most likely trains fastest in on this processor.

    Args:
        model: left as it is.
        attempt: runs one step of a copy in a mode; a mode in which it raises
            RuntimeError (such as a `view` of what isn't contiguous) is passed over.
        bf16: whether bfloat16 may be used.
    """
    for mode in _promising(model):
        if mode.bf16 and not bf16:
            continue
        try:
            attempt(mode, mode.prepare(clone(model).train()))
        except RuntimeError:
            continue
        return mode
    return Mode()


def _promising(model: nn.Module) -> Iterator[Mode]:
    """Modes that should beat float32, the best first.

    The rule looks at the processor and the structure and never at a clock: timing a
    few steps would choose better on some machines, but another choice means other
    weights, and the same seed must give the same weights.

    - 2-D convolutions, of any width: training them is bound by memory traffic through
      normalisation, activation and pooling, so halving the bytes pays even where the
      convolutions are too narrow for matrix units. channels_last is what the
      convolution kernels use inside, and saves a reordering at every layer.
    - 1-D convolutions and transformers gain less from bfloat16, since float32 work
      (softmax, normalisation, embedding) is a larger share and casts cost as much as
      they save when matrices are small: only from `_WIDE` up. There is no
      channels_last for them.
    - Without bfloat16 instructions the format is emulated, and slower.
    - torch.compile is left off: it compiles every pruned structure anew, tens of
      seconds each, for a gain over bfloat16 with channels_last that only runs of many
      minutes pay back; a search trains many structures for a short time.
    """
    if any(p.dtype != torch.float32 for p in model.parameters()):
        return
    images = any(isinstance(m, nn.Conv2d | nn.ConvTranspose2d) for m in model.modules())
    wide = any(min(p.flatten(1).shape) >= _WIDE for p in _matrices(model))
    if _has_bf16() and (images or wide):
        if images:
            yield Mode(bf16=True, channels_last=True)
        yield Mode(bf16=True)
    if images:
        yield Mode(channels_last=True)


def _matrices(model: nn.Module) -> Iterator[nn.Parameter]:
    return (p for p in model.parameters() if p.dim() > 1)


def _has_bf16() -> bool:
    # Not on Arm: nothing was tried there.
    capabilities: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(capabilities.get("amx_bf16") or capabilities.get("avx512_bf16"))


def _mapped(change: Callable[[torch.Tensor], torch.Tensor], structure: Any) -> Any:
    if isinstance(structure, torch.Tensor):
        return change(structure)
    if isinstance(structure, dict):
        return {k: _mapped(change, v) for k, v in structure.items()}
    if isinstance(structure, tuple | list):
        return tuple(_mapped(change, v) for v in structure)
    return structure


def _channels_last(tensor: torch.Tensor) -> torch.Tensor:
    if tensor.dim() == 4:
        return tensor.to(memory_format=torch.channels_last)
    return tensor


def _float32(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.float() if tensor.dtype == torch.bfloat16 else tensor
