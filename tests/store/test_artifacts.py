"""Artifacts are whole and unchanged, or are not there."""

import os
from hashlib import sha256
from pathlib import Path

import pytest

from paretune.core.errors import StoreError
from paretune.store.artifacts import Artifacts
from tests.store.faults import KILLED, failing, folder, fork, kill, result, until


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "made.onnx"
    path.write_bytes(os.urandom(3 << 20))
    return path


def leftovers(root: Path) -> list[Path]:
    return list((root / "making").iterdir())


def test_is_stored_under_its_own_digest(tmp_path: Path, source: Path) -> None:
    store = Artifacts(tmp_path)
    digest, size = store.put(source, "onnx")
    content = source.read_bytes()
    assert (digest, size) == (sha256(content).hexdigest(), len(content))
    path = store.path(digest, "onnx")
    assert path == tmp_path / "artifacts" / digest / "model.onnx"
    assert path.read_bytes() == content
    assert source.exists()
    assert not leftovers(tmp_path)


def test_an_identical_one_is_kept_as_it_is(tmp_path: Path, source: Path) -> None:
    store = Artifacts(tmp_path)
    digest, _ = store.put(source, "onnx")
    before = store.path(digest, "onnx").stat()
    assert store.put(source, "onnx")[0] == digest
    after = store.path(digest, "onnx").stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)


@pytest.mark.parametrize("how", ["flipped", "cut", "empty", "link"])
def test_a_changed_one_is_refused_and_moved_away(
    tmp_path: Path, source: Path, how: str
) -> None:
    store = Artifacts(tmp_path)
    digest, _ = store.put(source, "onnx")
    path = store.path(digest, "onnx")
    content = bytearray(path.read_bytes())
    match how:
        case "flipped":
            content[len(content) // 2] ^= 1
            path.write_bytes(content)
        case "cut":
            path.write_bytes(content[:-1])
        case "empty":
            path.write_bytes(b"")
        case "link":
            path.unlink()
            path.symlink_to(source)
    with pytest.raises(StoreError, match=digest) as caught:
        store.path(digest, "onnx")
    assert caught.value.code == "artifact-tampered"
    with pytest.raises(StoreError) as caught:
        store.path(digest, "onnx")
    assert caught.value.code == "artifact-missing"
    assert len(list((tmp_path / "quarantine").iterdir())) == 1
    assert store.put(source, "onnx")[0] == digest
    assert store.path(digest, "onnx").read_bytes() == source.read_bytes()


def test_storing_again_mends_a_changed_one(tmp_path: Path, source: Path) -> None:
    store = Artifacts(tmp_path)
    digest, _ = store.put(source, "onnx")
    store.path(digest, "onnx").write_bytes(b"other")
    store.put(source, "onnx")
    assert store.path(digest, "onnx").read_bytes() == source.read_bytes()


@pytest.mark.parametrize(
    ("digest", "suffix"),
    [("../" * 21 + "x", "onnx"), ("ab" * 32, "../x"), ("AB" * 32, "onnx"), ("", "")],
)
def test_no_path_can_be_asked_for(tmp_path: Path, digest: str, suffix: str) -> None:
    with pytest.raises(StoreError) as caught:
        Artifacts(tmp_path).path(digest, suffix)
    assert caught.value.code == "artifact-missing"


def test_what_is_not_there_is_said(tmp_path: Path) -> None:
    store = Artifacts(tmp_path)
    with pytest.raises(StoreError, match="run the study again"):
        store.path("ab" * 32, "onnx", verify=False)
    with pytest.raises(StoreError, match=r"no file .*gone\.onnx"):
        store.put(tmp_path / "gone.onnx", "onnx")


def test_a_file_where_the_store_should_be(tmp_path: Path, source: Path) -> None:
    with pytest.raises(StoreError) as caught:
        Artifacts(source)
    assert caught.value.code == "store-foreign"


@pytest.mark.parametrize(
    ("how", "code"),
    [("ENOSPC", "store-full"), ("EIO", "store-io"), ("EROFS", "store-readonly")],
)
def test_a_disk_that_fails_at_any_step(tmp_path: Path, how: str, code: str) -> None:
    source = tmp_path / "made.onnx"
    source.write_bytes(b"model" * 1000)
    digest = sha256(source.read_bytes()).hexdigest()
    for at in range(100):
        root = tmp_path / f"{at}"
        store = Artifacts(root)
        with failing(at, how) as made:
            try:
                store.put(source, "onnx")
            except StoreError as error:
                assert error.code == code
                assert str(root) in error.message
                assert how != "ENOSPC" or "bytes are free" in error.message
        assert not leftovers(root)
        if len(made) <= at:
            assert at > 5
            break
        # Whether or not it got there, it is whole, and can be stored now.
        assert store.put(source, "onnx")[0] == digest
        assert store.path(digest, "onnx").read_bytes() == source.read_bytes()


@pytest.mark.parametrize("how", ["exit", "late"])
def test_a_process_that_dies_at_any_step(how: str) -> None:
    with folder() as base:
        source = base / "made.onnx"
        source.write_bytes(b"model" * 1000)
        for at in range(100):
            root = base / f"{at}"
            Artifacts(root)

            def work(root: Path = root, at: int = at) -> None:
                store = Artifacts(root)
                with failing(at, how):
                    store.put(source, "onnx")

            code = result(fork(work))
            for found in root.glob("artifacts/*/*"):
                assert sha256(found.read_bytes()).hexdigest() == found.parent.name
            store = Artifacts(root)
            assert not leftovers(root)
            digest, _ = store.put(source, "onnx")
            store.path(digest, "onnx")
            if code != KILLED:
                assert code == 0
                assert at > 5
                break


def test_the_work_of_the_living_is_left_alone(tmp_path: Path, source: Path) -> None:
    fifo = tmp_path / "slow"
    store = Artifacts(tmp_path / "store")

    def work() -> None:
        from paretune.store._files import workspace

        with workspace(tmp_path / "store" / "making") as making:
            (making / "model").write_bytes(b"half")
            fifo.touch()
            until(lambda: False, 60)

    pid = fork(work)
    try:
        until(fifo.exists)
        Artifacts(tmp_path / "store")
        assert len(leftovers(tmp_path / "store")) == 1
    finally:
        kill(pid)
    Artifacts(tmp_path / "store")
    assert not leftovers(tmp_path / "store")
    store.put(source, "onnx")
