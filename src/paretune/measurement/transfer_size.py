"""Transfer size: bytes of the deployable file as it travels."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence

from paretune.core.measurement import Measurement
from paretune.core.meter import Meter, Subject

LEVEL = 6  # what web servers use; 9 gains under 1 % on weights
CHUNK = 2**22


class TransferSize(Meter):
    """Bytes after DEFLATE, which every downloader can undo (gzip, zip, HTTP). Exact.

    Of a file that `entropy_coding` marked: bytes of the packed file that a deploy
    bundle holds. The program that unpacks it, `unpack.py`, is not counted: it is the
    same for all models, less than 8 kB, or 3 kB after DEFLATE; the card of a bundle
    gives its bytes.

    Source: Deutsch 1996, RFC 1951.

    Example:
        >>> from pathlib import Path
        >>> from paretune.infrastructure.formats import _unpacking
        >>> program = Path(_unpacking.__file__).read_bytes()
        >>> len(program) < 8000, deflated([program]) < 3000
        (True, True)
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
        with path.open("rb") as file:
            total = deflated(iter(lambda: file.read(CHUNK), b""))
    return Measurement("transfer_size", "byte", "lower", (float(total),), "exact")


def deflated(chunks: Iterable[bytes]) -> int:
    """How many bytes they all are, one after the other, after DEFLATE."""
    packer = zlib.compressobj(LEVEL)
    total = sum(len(packer.compress(chunk)) for chunk in chunks)
    return total + len(packer.flush())
