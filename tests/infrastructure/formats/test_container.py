"""What is packed comes back exactly, and what is damaged is refused in a sentence."""

from __future__ import annotations

import functools
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import numpy_helper

from paretune.core.errors import StoreError
from paretune.infrastructure.formats import _container, _unpacking
from tests.infrastructure.formats.test_encoding import holding, palette, sparse, weights


@settings(max_examples=30, deadline=None)
@given(st.binary(max_size=3000))
def test_any_bytes_come_back(content):
    assert _container.unpack(_container.pack(content)) == content


@settings(max_examples=30, deadline=None)
@given(weights())
def test_any_model_comes_back(weight):
    content = holding(weight).SerializeToString()
    packed = _container.pack(content)
    assert _container.unpack(packed) == content
    assert len(packed) < len(content) + 128


@functools.cache
def several() -> bytes:
    """A model with weights of several types and statistics."""
    model = holding(palette(15, 0.9))
    for number, array in enumerate((sparse(0.9), palette(16), sparse(0, np.int8))):
        model.graph.initializer.append(numpy_helper.from_array(array, f"w{number}"))
    return model.SerializeToString()


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_what_is_damaged_is_refused(data):
    packed = bytearray(_packed())
    at = data.draw(st.integers(0, len(packed) - 1))
    if data.draw(st.booleans()):
        packed[at] ^= data.draw(st.integers(1, 255))
    else:
        packed = packed[:at]
    try:  # a bit that nothing depends on may change
        assert _container.unpack(bytes(packed)) == several()
    except StoreError as error:
        assert error.code == "packed-corrupt"
        assert error.message.endswith(".")
        assert "\n" not in error.message


@functools.cache
def _packed() -> bytes:
    return _container.pack(several())


@pytest.mark.parametrize("content", [b"", b"PTPACK1\n", b"something else" * 9])
def test_what_is_no_packed_file_is_refused(content):
    with pytest.raises(StoreError, match="no packed file"):
        _container.unpack(content)


def entropy(symbols: np.ndarray) -> float:
    """Bytes that these symbols need if none tells of another."""
    _, counts = np.unique(symbols, return_counts=True)
    return float((counts * np.log2(counts.sum() / counts)).sum()) / 8


@pytest.mark.parametrize("zeros", [0.0, 0.5, 0.9])
def test_skewed_indices_take_their_entropy(zeros):
    rng = np.random.default_rng(0)
    symbols = np.clip(rng.normal(8, 2, 100_000), 1, 15).astype(np.uint8)
    symbols[rng.random(len(symbols)) < zeros] = 0
    halves = (symbols[::2] | symbols[1::2] << 4).astype(np.uint8)
    packed = _container.pack(holding(halves).SerializeToString())
    assert len(packed) < 1.01 * entropy(symbols) + 256
    deflated = len(zlib.compress(halves.tobytes(), 9))
    assert len(packed) < deflated


def test_it_beats_deflate_on_a_whole_model():
    content = several()
    assert len(_packed()) < 0.9 * len(zlib.compress(content, 9))


def test_the_mark_is_found_in_the_file(tmp_path):
    path = tmp_path / "model.onnx"
    model = holding(palette(4))
    path.write_bytes(model.SerializeToString())
    assert not _container.marked(path)
    model.metadata_props.add(key="another", value="thing")
    model.metadata_props.add(key=_container.MARK[0], value=_container.MARK[1])
    path.write_bytes(model.SerializeToString(deterministic=True))
    assert _container.marked(path)
    path.write_bytes(b"")
    assert not _container.marked(path)
    path.write_bytes(b"\xff" * 99)
    assert not _container.marked(path)
    assert not _container.marked(tmp_path / "none.onnx")
    assert onnx.load_from_string(_container.unpack(_packed())).graph.initializer


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-I", "-S", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_the_program_needs_the_standard_library_alone(tmp_path):
    program = tmp_path / "unpack.py"
    program.write_bytes(Path(_unpacking.__file__).read_bytes())
    (tmp_path / "model.onnx.packed").write_bytes(_packed())
    done = run(program)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"model.onnx: {len(several())} bytes" in done.stdout
    assert (tmp_path / "model.onnx").read_bytes() == several()
    (tmp_path / "bad").write_bytes(_packed()[:-9])
    done = run(program, tmp_path / "bad", tmp_path / "out")
    assert done.returncode == 1
    assert "damaged, cut short" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()
    assert run(program, tmp_path / "none").returncode == 1
