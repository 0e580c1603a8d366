"""Proposals ahead: each is run once, and none while another slot computes its start."""

from paretune.catalog import recipe
from paretune.core.recipe import Recipe
from paretune.core.technique import Run
from paretune.core.trial import HALTED, OK, Trial
from paretune.engine import path as paths
from paretune.engine.agenda import path_of
from paretune.engine.queue import HELD, Queue
from paretune.engine.realise import Prefixes
from paretune.store.cache import Cache
from tests.store.faults import folder
from tests.toys import ConvNet

PRUNE = {"technique": "structured_pruning", "ratio": 0.5}


def tuned(epochs):
    return recipe([PRUNE, {"technique": "fine_tuning", "epochs": epochs}])


def test_a_recipe_waits_while_its_beginning_is_computed():
    queue = Queue(waiting=[tuned(2), recipe([{**PRUNE, "ratio": 0.3}])])
    assert queue.take([tuned(1)]) == recipe([{**PRUNE, "ratio": 0.3}])
    assert queue.take([tuned(1)]) is None
    assert queue.take([]) == tuned(2)
    assert not queue.waiting


def test_it_goes_on_once_the_beginning_is_there_and_is_kept():
    with folder() as root:
        cache = Cache(root, limit_bytes=1, grace_s=0)
        queue = Queue(cache=cache, waiting=[tuned(2)])
        queue.protect([tuned(1)])
        cache.put(path_of(tuned(1))[0], lambda f: (f / "x").write_bytes(b"abc"), 1.0)
        assert queue.take([tuned(1)]) == tuned(2)
        queue.close()


def halted(number, share, state=HALTED):
    return Trial(number, (), state, rungs=({"share": share, "cpu_s": 1.0},))


def test_what_halted_trainings_go_on_from_is_kept_until_they_end():
    with folder() as root:
        cache = Cache(root, limit_bytes=1, grace_s=0)
        state, other = cache.key(n="state"), cache.key(n="other")
        queue = Queue(cache=cache, pause=lambda recipe, share: (state,))
        queue.hold(halted(3, 0.5), tuned(9))
        queue.protect([])
        cache.put(state, lambda f: (f / "x").write_bytes(b"abc"), 1.0)
        cache.put(other, lambda f: (f / "x").write_bytes(b"abc"), 1.0)
        assert cache.has(state) and not cache.has(other)
        queue.learn(halted(3, 0.5, OK), tuned(9))
        queue.protect([])
        cache.put(other, lambda f: (f / "x").write_bytes(b"abc"), 1.0)
        assert not cache.has(state)


def test_of_many_halted_trainings_those_that_went_farthest_are_kept():
    with folder() as root:
        cache = Cache(root, limit_bytes=1, grace_s=0)
        keys = {n: cache.key(n=n) for n in range(HELD + 2)}
        shares = {n: 0.5 if n == 0 else 0.25 for n in keys}
        queue = Queue(cache=cache, pause=lambda recipe, share: (keys[recipe],))
        for n, share in shares.items():
            queue.hold(halted(n, share), n)
        queue.protect([])
        for key in keys.values():
            cache.put(key, lambda f: (f / "x").write_bytes(b"abc"), 1.0)
        assert [n for n, key in keys.items() if not cache.has(key)] == [1, 2]
        queue.close()


def test_a_pause_is_looked_for_where_it_is_kept(tmp_path):
    work = Prefixes(Run(ConvNet(), seed=3), "task", Cache(tmp_path))
    paused = tuned(9)
    before, whole = (
        paths.path_of(Recipe(paused.steps[:n]), "torch")[-1] for n in (1, 2)
    )
    expected = work.key(before), work.key(whole, 0.25)
    assert paths.pause_of(paused, 0.25, "task", 3) == expected
    assert paths.pause_of(recipe([PRUNE]), 0.25, "task", 3) == ()
