"""A folder to deploy: the model, its recipe and figures, and a program that runs it."""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import time
from collections.abc import Container, Mapping, Sequence
from pathlib import Path

import numpy as np

from paretune.core.errors import StoreError, UnsupportedError
from paretune.core.study import Study
from paretune.core.trial import Trial
from paretune.frontier import Frontier, frontier
from paretune.infrastructure.formats import _container, _unpacking
from paretune.measurement.transfer_size import deflated
from paretune.report import _figures as f
from paretune.report._card import Packed, card
from paretune.report._html import asset, scrubbed
from paretune.report.records import member, plain

VERSION = 1
SUMS, FIGURES, MODEL = "SHA256SUMS", "measurements.json", "model.onnx"
PACKED = (f"{MODEL}.packed", "unpack.py")  # in the place of the model
NAMES = (
    FIGURES,
    MODEL,
    "recipe.yaml",
    "README.md",
    "predict.py",
    "example.npz",
    SUMS,
)


def bundle(
    study: Study,
    trial: Trial,
    folder: Path,
    inputs_example: Mapping[str, np.ndarray] | None = None,
) -> list[Path]:
    """Writes a deploy bundle.

    A model that `entropy_coding` marked is in it as "model.onnx.packed", beside the
    program that makes the very same model.onnx from it.

    Args:
        study: that the trial is of.
        trial: one that is ok.
        folder: is made; may be empty or an earlier bundle, which is replaced.
        inputs_example: real inputs by name, put in as example.npz.

    Returns:
        The files, the checksums last.

    Raises:
        UnsupportedError: the trial's file is no ONNX model.
        StoreError: the file is missing or changed, or the folder holds other things.
    """
    files = _files(study, trial, _model(study, trial), inputs_example)
    _make_room(folder, keep=files)
    return [_write(folder / name, content) for name, content in files.items()]


def _files(
    study: Study,
    trial: Trial,
    model: bytes,
    example: Mapping[str, np.ndarray] | None,
) -> dict[str, bytes]:
    """What each file holds, in the order in which they are written."""
    found = frontier(study)
    held: dict[str, bytes] = {MODEL: model}
    packed: Packed | None = None
    path = study.path(trial)
    if path is not None and _container.marked(path):
        held, packed = _packed(model)
    said = card(study, trial, found, example, packed)
    files = {
        FIGURES: _figures(study, trial, found, next(iter(held))),
        **held,
        "recipe.yaml": _recipe(trial),
        "README.md": said.encode("utf-8", "replace"),
        "predict.py": _program(study).encode(),
    }
    if example is not None:
        archive = io.BytesIO()
        np.savez(archive, allow_pickle=False, **example)
        files["example.npz"] = archive.getvalue()
    sums = (f"{hashlib.sha256(v).hexdigest()}  {k}\n" for k, v in files.items())
    return {**files, SUMS: "".join(sums).encode()}


def _packed(model: bytes) -> tuple[dict[str, bytes], Packed]:
    """The packed model and its program, and what is to be said of them."""
    packed = _container.pack(model)
    program = Path(_unpacking.__file__).read_bytes()
    begin = time.perf_counter()
    if _container.unpack(packed) != model:
        raise StoreError(
            "packed-corrupt",
            "the packed model doesn't unpack to what was measured; export it again.",
        )
    spent = time.perf_counter() - begin
    told = Packed(len(packed), len(model), len(program), deflated([program]), spent)
    return dict(zip(PACKED, (packed, program), strict=True)), told


def _model(study: Study, trial: Trial) -> bytes:
    path = study.path(trial)
    if path is None:
        raise StoreError(
            "bundle-artifact",
            f"trial {trial.number} has no artifact ({trial.state}); choose one that is "
            "ok.",
        )
    if trial.format != "onnx":
        raise UnsupportedError(
            "bundle-format",
            f"trial {trial.number} is a {trial.format!r} file; a bundle holds an ONNX "
            "model: search with a target whose runtime is onnxruntime.",
        )
    try:
        content = path.read_bytes()
    except OSError as error:
        raise StoreError(
            "artifact-missing",
            f"the artifact of trial {trial.number} can't be read from {path} "
            f"({error.strerror}); run the study again.",
        ) from None
    if hashlib.sha256(content).hexdigest() != trial.artifact:
        raise StoreError(
            "artifact-checksum",
            f"the artifact of trial {trial.number} at {path} is not what was measured "
            "(its checksum differs); delete it and run the study again.",
        )
    return content


def _make_room(folder: Path, keep: Container[str]) -> None:
    """Prepares the folder: an earlier bundle in it is no longer whole from now on."""
    if folder.exists() and not folder.is_dir():
        raise StoreError("bundle-folder", f"{folder} is a file; name a folder.")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        there = sorted(p.name for p in folder.iterdir())
    except OSError as error:
        raise _unwritable(folder, error) from None
    if there and not _ours(folder, there):
        raise StoreError(
            "bundle-folder",
            f"{folder} is not empty and no bundle of paretune (it holds {there[0]!r}); "
            "name a new folder.",
        )
    try:
        for name in there:
            ours = name in (*NAMES, *PACKED)
            if name == SUMS or _unfinished(name) or (ours and name not in keep):
                (folder / name).unlink()
    except OSError as error:
        raise _unwritable(folder, error) from None


def _ours(folder: Path, there: Sequence[str]) -> bool:
    try:
        head = json.loads((folder / FIGURES).read_bytes())
    except (OSError, ValueError):
        return False
    known = {*NAMES, *PACKED, "__pycache__"}
    known |= {f".{name}.partial" for name in known} | {*filter(_unfinished, there)}
    return isinstance(head, dict) and "bundle" in head and known.issuperset(there)


def _unfinished(name: str) -> bool:
    """Whether it is what `unpack.py` or `predict.py` left when it was stopped."""
    return re.fullmatch(rf"\.{re.escape(MODEL)}\.[0-9a-f]+\.partial", name) is not None


def _write(path: Path, content: bytes) -> Path:
    """The whole file or none of it: an interrupted bundle lacks its checksums."""
    partial = path.with_name(f".{path.name}.partial")
    try:
        with partial.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise _unwritable(path, error) from None
    return path


def _unwritable(path: Path, error: OSError) -> StoreError:
    return StoreError(
        "bundle-write",
        f"{path} can't be written ({error.strerror}); name another folder.",
    )


def _figures(study: Study, trial: Trial, found: Frontier, file: str) -> bytes:
    base = study.baseline
    whole = {
        "bundle": VERSION,
        "study": study.name,
        "task": study.task,
        "target": study.target.to_json(),
        "environment": study.environment,
        "noise": study.noise,
        "certifications": study.certifications,
        "trial": {**member(study, trial, found), "artifact": file},
        "baseline": {**member(study, base, found), "artifact": None} if base else None,
        "raw": {
            name: m.to_json()
            for name, m in f.shown(study, trial).items()
            if m.kind != "samples"
        },
    }
    return json.dumps(scrubbed(plain(whole)), indent=2, allow_nan=False).encode()


def _recipe(trial: Trial) -> bytes:
    import yaml

    steps = {"recipe": plain(trial.steps)}
    text: str = yaml.safe_dump(steps, sort_keys=False, allow_unicode=True)
    return text.encode("utf-8", "replace")


def _program(study: Study) -> str:
    threads = f"THREADS = {study.target.threads}"
    return asset("predict.py.txt").replace("THREADS = 1", threads, 1) + "\n"
