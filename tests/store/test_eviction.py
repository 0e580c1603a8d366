"""What goes when the cache is full, and what stays."""

import os
import threading
import time
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from paretune.store._needs import Needs, needed
from paretune.store.cache import Cache
from tests.store.faults import folder, fork, kill, until
from tests.store.test_cache import KEY, OTHER, fill, sized


def test_evicting_and_locking_at_once() -> None:
    with folder() as root:
        holder, clashes = threading.Lock(), []

        def work() -> None:
            cache = Cache(root, limit_bytes=1, grace_s=0)
            for n in range(40):
                with cache.lock(KEY):
                    if not holder.acquire(blocking=False):
                        clashes.append(n)
                        continue
                    cache.get(KEY)
                    holder.release()
                cache.put(OTHER if n % 2 else KEY, sized(10))

        threads = [threading.Thread(target=work) for _ in range(4)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        assert not clashes


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_eviction_is_greedy_dual_size(data: st.DataObject) -> None:
    """Against an oracle that keeps the worth of each entry in a dictionary."""
    with folder() as root:
        cache, level = Cache(root, grace_s=0), 0.0
        worth: dict[str, tuple[float, float]] = {}
        sizes: dict[str, tuple[int, float]] = {}
        for turn in range(data.draw(st.integers(3, 10))):
            key = Cache.key(n=data.draw(st.integers(0, 5)))
            if key not in sizes:
                size = data.draw(st.integers(100, 900))
                seconds = data.draw(st.sampled_from([0.5, 4.0, 60.0, 900.0]))
                cache.limit_bytes = float("inf")
                cache.put(key, sized(size), seconds)
                found = {k: (s, c) for _, s, c, k in cache._usage()}
                sizes[key] = found[key]
                assert sizes[key][1] == seconds
            else:
                assert cache.get(key)
            size, seconds = sizes[key]
            now = time.time()
            os.utime(root / "cache" / "entries" / key / "manifest", (now, now))
            worth[key] = (level + seconds / size, now)
            cache.limit_bytes = data.draw(st.sampled_from([1500, 2500]))
            cache._evict()
            while sum(s for s, _ in sizes.values()) > cache.limit_bytes:
                out = min(worth, key=lambda k: (*worth[k], k))
                level = max(level, worth.pop(out)[0])
                del sizes[out]
            there = {p.name for p in (root / "cache" / "entries").iterdir()}
            assert there == set(sizes), turn


def test_what_took_long_outlives_what_did_not_but_not_for_ever() -> None:
    with folder() as root:
        cache = Cache(root, limit_bytes=3500, grace_s=0)
        dear = Cache.key(n="dear")
        cache.put(dear, sized(900), 30.0)
        lives = []
        for n in range(40):
            cache.put(Cache.key(n=n), sized(900), 2.0)
            lives.append(cache.has(dear))
        assert lives[5] and not lives[-1]


def test_an_entry_without_seconds_is_still_read() -> None:
    with folder() as root:
        cache = Cache(root)
        cache.put(KEY, fill)
        cache.put(OTHER, fill, 2.5)
        manifest = root / "cache" / "entries" / KEY / "manifest"
        assert b"seconds" not in manifest.read_bytes()
        assert cache.get(KEY) and cache.get(OTHER)
        other = root / "cache" / "entries" / OTHER / "manifest"
        other.write_bytes(other.read_bytes().replace(b"2.5", b"9.5"))
        assert cache.get(OTHER) is None and cache.quarantined == 1


def test_what_a_live_process_needs_stays_until_it_dies() -> None:
    with folder() as root:
        cache = Cache(root, limit_bytes=10, grace_s=0)
        cache.put(KEY, lambda f: None)
        cache.limit_bytes = 1e9
        cache.put(KEY, sized(900))
        ready = root / "ready"

        def work() -> None:
            Cache(root).needs().tell([KEY])
            ready.touch()
            time.sleep(60)

        pid = fork(work)
        until(ready.exists)
        cache.limit_bytes = 10
        cache.put(OTHER, sized(900))
        assert cache.has(KEY) and not cache.has(OTHER)
        kill(pid)
        cache.put(OTHER, sized(900))
        assert not cache.has(KEY)


def test_needs_are_replaced_and_closed() -> None:
    with folder() as root:
        cache = Cache(root, limit_bytes=10, grace_s=0)
        needs = cache.needs()
        needs.tell([KEY])
        cache.put(KEY, sized(9))
        cache.put(OTHER, sized(9))
        assert cache.has(KEY) and not cache.has(OTHER)
        needs.tell([OTHER])
        cache.put(OTHER, sized(9))
        assert cache.has(OTHER) and not cache.has(KEY)
        needs.close()
        cache.put(KEY, sized(9))
        assert not cache.has(OTHER)


def test_a_torn_record_of_ages_does_no_harm() -> None:
    with folder() as root:
        cache = Cache(root, limit_bytes=10, grace_s=0)
        (root / "cache" / "ages").write_bytes(b"nonsense\n1 \n\xff\xfe 2\nnan nan\n")
        cache.put(KEY, sized(900))
        assert not cache.has(KEY)


def test_needs_that_were_never_finished_keep_nothing() -> None:
    with folder() as root:
        place = Path(root) / "needs"
        Needs(place)
        (place / "dead.new").write_text(KEY)
        assert needed(place) == frozenset()
