"""The cache gives back exactly what was put there, or nothing."""

import os
import shutil
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from paretune.core.errors import StoreError
from paretune.store.cache import Cache
from tests.store.faults import KILLED, failing, folder, fork, kill, result, until

KEY = Cache.key(recipe=["prune"], seed=0)
OTHER = Cache.key(recipe=["prune"], seed=1)
FILES = {"weights.safetensors": bytes(range(256)) * 4, "edits.json": b"[1, 2]"}


def fill(folder: Path) -> None:
    for name, content in FILES.items():
        (folder / name).write_bytes(content)
    (folder / "more").mkdir()
    (folder / "more" / "candidate.json").write_bytes(b'{"format": "torch"}')


def read(found: Path) -> dict[str, bytes]:
    return {
        p.relative_to(found).as_posix(): p.read_bytes()
        for p in found.rglob("*")
        if p.is_file()
    }


WHOLE = {**FILES, "more/candidate.json": b'{"format": "torch"}'}


def sized(number: int) -> Callable[[Path], object]:
    return lambda folder: (folder / "f").write_bytes(bytes(number))


def age(root: Path, key: str, seconds: float) -> None:
    then = time.time() - seconds
    os.utime(root / "cache" / "entries" / key / "manifest", (then, then))


def test_gives_back_what_was_put() -> None:
    with folder() as root:
        cache = Cache(root)
        assert cache.get(KEY) is None
        assert read(cache.put(KEY, fill)) == WHOLE
        found = Cache(root).get(KEY)
        assert found is not None
        assert read(found) == WHOLE
        assert cache.get(OTHER) is None
        stats = cache.stats()
        assert stats["entries"] == 1
        assert stats["bytes"] > sum(map(len, WHOLE.values()))
        assert (stats["hits"], stats["misses"], stats["quarantined"]) == (0, 2, 0)


def test_a_key_depends_on_every_part_and_not_on_their_order() -> None:
    parts = {"input": "ab", "technique": "pruning", "version": 1, "seed": 0}
    key = Cache.key(**parts)
    assert key == Cache.key(**dict(reversed(parts.items())))
    assert len({key} | {Cache.key(**{**parts, p: 7}) for p in parts}) == 5
    with folder() as root, pytest.raises(StoreError, match="64 lower-case hex"):
        Cache(root).get("../x")


def test_an_entry_that_is_there_and_sound_is_kept() -> None:
    with folder() as root:
        cache = Cache(root)
        cache.put(KEY, fill)
        assert read(cache.put(KEY, sized(3))) == WHOLE
        (cache.put(KEY, fill) / "edits.json").write_bytes(b"[1, 3]")
        assert list(read(cache.put(KEY, sized(3)))) == ["f"]
        assert cache.quarantined == 1


# Ways in which an entry goes wrong. Each gets the entry's folder, the folder of
# another entry, and something to draw choices with.


def _any_file(entry: Path, data: st.DataObject) -> Path:
    files = sorted(p for p in entry.rglob("*") if p.is_file())
    return data.draw(st.sampled_from(files))


def flip(entry: Path, other: Path, data: st.DataObject) -> None:
    path = _any_file(entry, data)
    content = bytearray(path.read_bytes())
    bit = data.draw(st.integers(0, 8 * len(content) - 1))
    content[bit // 8] ^= 1 << bit % 8
    path.write_bytes(content)


def truncate(entry: Path, other: Path, data: st.DataObject) -> None:
    path = _any_file(entry, data)
    os.truncate(path, data.draw(st.integers(0, path.stat().st_size - 1)))


def empty(entry: Path, other: Path, data: st.DataObject) -> None:
    _any_file(entry, data).write_bytes(b"")


def append(entry: Path, other: Path, data: st.DataObject) -> None:
    path = _any_file(entry, data)
    more = data.draw(st.binary(min_size=1, max_size=9))
    path.write_bytes(path.read_bytes() + more)


def swap_files(entry: Path, other: Path, data: st.DataObject) -> None:
    one, two = _any_file(entry, data), _any_file(entry, data)
    a, b = one.read_bytes(), two.read_bytes()
    if one == two:
        two, b = entry / "content" / "new", b""
    one.write_bytes(b)
    two.write_bytes(a)


def other_entrys_file(entry: Path, other: Path, data: st.DataObject) -> None:
    shutil.copy(other / "content" / "f", _any_file(entry, data))


def wrong_key(entry: Path, other: Path, data: st.DataObject) -> None:
    shutil.rmtree(entry)
    shutil.copytree(other, entry)


def other_manifest(entry: Path, other: Path, data: st.DataObject) -> None:
    shutil.copy(other / "manifest", entry / "manifest")


def link(entry: Path, other: Path, data: st.DataObject) -> None:
    """A link to a faithful copy: the same bytes, but somebody else's to change."""
    places = [entry, entry / "content", *sorted(entry.rglob("*"))]
    path = data.draw(st.sampled_from(places))
    away = entry.parent.parent.parent / "away"
    path.rename(away)
    path.symlink_to(away)


def extra(entry: Path, other: Path, data: st.DataObject) -> None:
    places = [p for p in [entry, *entry.rglob("*")] if p.is_dir()]
    place = data.draw(st.sampled_from(places))
    name = data.draw(st.sampled_from(["x", ".hidden", "weights", "ü"]))
    if data.draw(st.booleans()):
        (place / name).mkdir()
    else:
        (place / name).write_bytes(b"")


def missing(entry: Path, other: Path, data: st.DataObject) -> None:
    path = data.draw(st.sampled_from(sorted(entry.rglob("*"))))
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()


def rename(entry: Path, other: Path, data: st.DataObject) -> None:
    path = data.draw(st.sampled_from(sorted(entry.rglob("*"))))
    path.rename(path.with_name("renamed"))


def pipe(entry: Path, other: Path, data: st.DataObject) -> None:
    path = _any_file(entry, data)
    path.unlink()
    os.mkfifo(path)


def a_file_for_all(entry: Path, other: Path, data: st.DataObject) -> None:
    shutil.rmtree(entry)
    entry.write_bytes(data.draw(st.binary(max_size=9)))


FAULTS = [
    flip,
    truncate,
    empty,
    append,
    swap_files,
    other_entrys_file,
    wrong_key,
    other_manifest,
    link,
    extra,
    missing,
    rename,
    pipe,
    a_file_for_all,
]


@settings(max_examples=500, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_every_corruption_is_noticed(data: st.DataObject) -> None:
    with folder() as root:
        cache = Cache(root)
        cache.put(KEY, fill)
        cache.put(OTHER, sized(9))
        entries = root / "cache" / "entries"
        fault = data.draw(st.sampled_from(FAULTS))
        fault(entries / KEY, entries / OTHER, data)
        assert cache.get(KEY) is None
        assert cache.quarantined == 1
        assert cache.get(KEY) is None
        assert cache.quarantined == 1
        assert read(cache.put(KEY, fill)) == WHOLE
        assert cache.get(OTHER) is not None


def test_a_link_is_not_stored() -> None:
    with folder() as root:
        cache = Cache(root)
        with pytest.raises(StoreError) as caught:
            cache.put(KEY, lambda f: (f / "x").symlink_to("/etc/passwd"))
        assert caught.value.code == "cache-entry"
        assert cache.get(KEY) is None


def test_what_fill_raises_passes_and_leaves_nothing() -> None:
    def half(folder: Path) -> None:
        (folder / "x").write_bytes(b"half")
        raise ZeroDivisionError

    with folder() as root:
        cache = Cache(root)
        with pytest.raises(ZeroDivisionError):
            cache.put(KEY, half)
        assert cache.get(KEY) is None
        assert not list((root / "cache" / "making").iterdir())


def test_those_used_longest_ago_go_first() -> None:
    with folder() as root:
        cache = Cache(root, limit_bytes=3500, grace_s=0)
        keys = [Cache.key(n=n) for n in range(4)]
        for n, key in enumerate(keys[:3]):
            cache.put(key, sized(900))
            age(root, key, 100 - n)
        assert cache.get(keys[0])  # used now, so the next is the oldest
        cache.put(keys[3], sized(900))
        assert [bool(cache.get(k)) for k in keys] == [True, False, True, True]
        assert cache.stats()["evicted"] == 1
        assert cache.stats()["bytes"] <= 3500
        assert not list((root / "cache" / "making").iterdir())


def test_what_is_in_use_does_not_go() -> None:
    with folder() as root:
        cache = Cache(root, limit_bytes=10, grace_s=5)
        keys = [Cache.key(n=n) for n in range(4)]
        for key in keys[:2]:
            cache.put(key, sized(900))  # just written
        for key in keys[:2]:
            age(root, key, 100)
        with cache.lock(keys[0]):  # locked
            cache.put(keys[2], sized(900))
        assert [bool(cache.get(k)) for k in keys[:3]] == [True, False, True]


def test_a_clock_set_back_does_not_keep_entries_for_ever() -> None:
    with folder() as root:
        cache = Cache(root, limit_bytes=10)
        cache.put(KEY, sized(900))
        age(root, KEY, -86400)
        cache.put(OTHER, sized(900))
        assert cache.get(KEY) is None
        assert cache.quarantined == 0


@pytest.mark.parametrize(
    ("how", "code"), [("ENOSPC", "store-full"), ("EIO", "store-io")]
)
def test_a_disk_that_fails_at_any_step(how: str, code: str) -> None:
    with folder() as base:
        for at in range(100):
            root = base / f"{at}"
            cache = Cache(root)
            with failing(at, how) as made:
                try:
                    cache.put(KEY, fill)
                except StoreError as error:
                    assert error.code == code
                    assert str(root) in error.message
            assert not list((root / "cache" / "making").iterdir())
            if len(made) <= at:
                assert at > 9
                break
            found = cache.get(KEY)
            assert found is None or read(found) == WHOLE
            assert cache.quarantined == 0
            assert read(cache.put(KEY, fill)) == WHOLE


@pytest.mark.parametrize("how", ["exit", "late"])
def test_a_process_that_dies_at_any_step(how: str) -> None:
    with folder() as base:
        for at in range(100):
            root = base / f"{at}"
            Cache(root)

            def work(root: Path = root, at: int = at) -> None:
                cache = Cache(root)
                with failing(at, how), cache.lock(KEY):
                    cache.put(KEY, fill)

            code = result(fork(work))
            cache = Cache(root)
            assert not list((root / "cache" / "making").iterdir())
            with cache.lock(KEY):
                found = cache.get(KEY)
                assert found is None or read(found) == WHOLE
                assert cache.quarantined == 0
                assert read(cache.put(KEY, fill)) == WHOLE
            if code != KILLED:
                assert code == 0
                assert at > 9
                break


def test_processes_compute_an_entry_once() -> None:
    with folder() as root:
        counted = root / "counted"
        counted.mkdir()

        def slowly(folder: Path) -> None:
            (counted / f"{os.getpid()}").touch()
            time.sleep(0.1)
            fill(folder)

        def work() -> None:
            cache = Cache(root)
            with cache.lock(KEY):
                found = cache.get(KEY) or cache.put(KEY, slowly)
            assert read(found) == WHOLE

        children = [fork(work) for _ in range(4)]
        assert [result(c) for c in children] == [0] * 4
        assert len(list(counted.iterdir())) == 1


def test_threads_compute_an_entry_once() -> None:
    with folder() as root:
        cache, made = Cache(root), []

        def work() -> None:
            with cache.lock(KEY):
                if cache.get(KEY) is None:
                    cache.put(KEY, lambda f: made.append(fill(f)))

        threads = [threading.Thread(target=work) for _ in range(4)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        assert len(made) == 1


def test_a_lock_ends_with_its_holder() -> None:
    with folder() as root:

        def work() -> None:
            with Cache(root).lock(KEY):
                (root / "held").touch()
                time.sleep(60)

        pid = fork(work)
        until((root / "held").exists)
        taken = threading.Event()

        def take() -> None:
            with Cache(root).lock(KEY):
                taken.set()

        thread = threading.Thread(target=take)
        thread.start()
        assert not taken.wait(0.2)
        kill(pid)
        assert taken.wait(20)
        thread.join()


def test_who_waits_for_a_lock_may_give_way_meanwhile() -> None:
    with folder() as root:
        cache, asked = Cache(root), threading.Event()
        with ExitStack() as held:
            held.enter_context(cache.lock(KEY))

            def wait() -> None:
                asked.set()
                held.close()

            with cache.lock(KEY, wait):
                assert asked.is_set()
        with cache.lock(KEY, lambda: pytest.fail("there is nothing to wait for")):
            pass


def test_a_lock_outlives_its_entry() -> None:
    """Eviction removes the lock's file too: who waited for it must begin anew."""
    with folder() as root:
        cache = Cache(root)
        waits, inside = threading.Event(), threading.Event()

        def wait() -> None:
            waits.set()
            with cache.lock(KEY):
                inside.set()

        thread = threading.Thread(target=wait)
        with ExitStack() as first, ExitStack() as second:
            first.enter_context(cache.lock(KEY))
            thread.start()
            assert waits.wait(20)
            time.sleep(0.1)
            (root / "cache" / "locks" / KEY).unlink()
            second.enter_context(cache.lock(KEY))
            first.close()
            assert not inside.wait(0.2)
        assert inside.wait(20)
        thread.join()
