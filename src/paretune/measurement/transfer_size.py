"""Transfer size: bytes of the deployable file as it travels."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from pathlib import Path

from paretune.core.measurement import Measurement
from paretune.core.meter import Meter, Subject

LEVEL = 6  # what web servers use; 9 gains under 1 % on weights
CHUNK = 2**22


class TransferSize(Meter):
    """Bytes after DEFLATE, which every downloader can undo (gzip, zip, HTTP). Exact.

    Of a file that `entropy_coding` marked: bytes of the packed file that a deploy
    bundle holds, without the program of some 6 kB that unpacks it.

    Source: Deutsch 1996, RFC 1951.
    """

    metrics = ("transfer_size",)

    def measure(
        self, subjects: Sequence[Subject], baseline: Subject
    ) -> list[tuple[Measurement, ...]]:
        return [(_measurement(subject),) for subject in subjects]


def _measurement(subject: Subject) -> Measurement:
    from paretune.infrastructure.formats import _container

    path = subject.artifact.path
    if subject.artifact.format == "onnx" and _container.marked(path):
        total = len(_container.pack(path.read_bytes()))
    else:
        total = _deflated(path)
    return Measurement("transfer_size", "byte", "lower", (float(total),), "exact")


def _deflated(path: Path) -> int:
    packer, total = zlib.compressobj(LEVEL), 0
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            total += len(packer.compress(chunk))
    return total + len(packer.flush())
