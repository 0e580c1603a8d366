"""`paretune doctor`: what is missing here and how to get it."""

from __future__ import annotations

import os
import sqlite3
from importlib.metadata import PackageNotFoundError, version


def command() -> None:
    """Say what works here, what is missing, and how to get it."""
    from paretune import catalog, studies
    from paretune.measurement import _energy

    cores = os.cpu_count() or 1
    print(f"cores         {cores} (searching uses all; measuring leaves one free)")
    print(f"sqlite        {sqlite3.sqlite_version}")
    for name in ("torch", "onnx", "onnxruntime", "optuna", "torch-pruning"):
        try:
            print(f"{name:<13} {version(name)}")
        except PackageNotFoundError:
            print(f"{name:<13} missing: pip install {name}")
    for name in sorted(catalog.RUNTIMES):
        reason = catalog.RUNTIMES[name]().missing()
        print(f"{'runtime':<13} {name}: {reason or 'ready'}")
    print(f"{'energy':<13} {_energy.doctored()}")
    root = studies.default_store()
    state = "ready" if _writable(root) else "can't be written to; use --store DIR"
    print(f"{'store':<13} {root}: {state}")


def _writable(root: os.PathLike[str]) -> bool:
    from pathlib import Path

    folder = Path(root)
    while not folder.exists():
        folder = folder.parent
    return os.access(folder, os.W_OK)
