"""Fewer bytes on the way to the device, by coding each weight in its own entropy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from paretune.core.technique import Run, Technique

if TYPE_CHECKING:
    import onnx


@dataclass(frozen=True)
class EntropyCoding(Technique):
    """Lets the file travel packed: the third step of Deep Compression.

    Nothing changes in the model, in what it answers or in how fast it is. A deploy
    bundle then holds the packed file and a program that restores the exact file with
    Python's standard library alone; `transfer_size` is the bytes of the packed file.
    It gains the most where values are few (after weight_clustering, int8) or mostly
    zero (after magnitude_pruning). Such weights are kept in the form that packs best,
    which can make the file on disk some 15 % larger than without this step. As with
    weight_clustering, `peak_memory` can rise while a file loads.

    Example:
        >>> EntropyCoding().to_json()
        {'technique': 'entropy_coding'}
    """

    source: ClassVar[str] = (
        "Han et al. 2016, arXiv:1510.00149; the coder: Duda 2013, arXiv:1311.2540"
    )
    refuses: ClassVar[frozenset[str]] = frozenset({"entropy_coded"})
    gives: ClassVar[frozenset[str]] = frozenset({"entropy_coded"})
    lowers: ClassVar[frozenset[str]] = frozenset({"transfer_size"})

    def on_onnx(self, model: onnx.ModelProto, run: Run) -> onnx.ModelProto:
        """A copy; the writer marks its file."""
        copy = type(model)()
        copy.CopyFrom(model)
        return copy
