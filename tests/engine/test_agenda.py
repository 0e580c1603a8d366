"""The order in which pending recipes run: nothing twice, the most unlocked first."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paretune.catalog import recipe
from paretune.core.trial import OK, Trial
from paretune.engine.agenda import Costs, choose, path_of, upcoming
from paretune.engine.plan import plan, summary

NODES = st.lists(st.sampled_from("abc"), min_size=1, max_size=4)
PATHS = st.lists(
    NODES.map(lambda w: tuple("".join(w[: n + 1]) for n in range(len(w)))), max_size=8
)


def prune(ratio):
    return {"technique": "structured_pruning", "ratio": ratio}


def tune(epochs):
    return {"technique": "fine_tuning", "epochs": epochs}


@given(PATHS, st.sets(st.sampled_from(["a", "b", "c", "ab", "abc", "ca"])), st.data())
def test_none_whose_next_node_is_under_way_is_taken_while_another_is_free(
    paths, cached, data
):
    ahead = [upcoming(p, cached.__contains__) for p in paths]
    known = sorted({n for n in ahead if n})
    busy = data.draw(st.sets(st.sampled_from(known))) if known else set()
    chosen = choose(paths, {}, cached.__contains__, busy)
    free = [i for i, n in enumerate(ahead) if n not in busy]
    assert chosen in free if free else chosen is None


@given(PATHS, st.integers(1, 3))
def test_every_pending_recipe_is_returned_once(paths, slots):
    left, seen, cached = list(enumerate(paths)), [], set()
    while left:
        at = choose([p for _, p in left], {}, cached.__contains__)
        index, path = left.pop(at)
        seen.append(index)
        cached |= set(path)
    assert sorted(seen) == list(range(len(paths)))


@given(PATHS)
def test_ties_go_by_the_order_of_proposals(paths):
    same = [p for p in paths for _ in range(2)]
    chosen = choose(same, {}, set().__contains__)
    assert chosen is None if not same else chosen % 2 == 0


def test_the_node_that_unlocks_the_most_per_second_goes_first():
    paths = [("a",), ("b", "c"), ("b", "d")]
    nothing = set().__contains__
    assert choose(paths, {"a": 1.0, "b": 1.0}, nothing) == 1
    assert choose(paths, {"a": 1.0, "b": 3.0}, nothing) == 0
    assert choose(paths, {"a": 1.0, "b": 3.0}, {"b", "d"}.__contains__) == 2


def test_estimates_scale_with_epochs_and_macs():
    costs = Costs(epoch_s=2.0)
    one = recipe([prune(0.5), tune(4)])
    assert [g.how for g in costs.of(one)] == ["unknown", "epoch"]
    assert costs.of(one)[1].seconds == 8.0
    trace = (
        {"step": "baseline", "macs": 100.0, "seconds": 1.0, "cached": True},
        {"step": "structured_pruning", "macs": 50.0, "seconds": 3.0, "cached": False},
        {"step": "fine_tuning", "macs": 50.0, "seconds": 10.0, "cached": False},
        {"step": "export", "macs": 50.0, "seconds": 1.0, "cached": False},
    )
    costs.learn(Trial(1, tuple(one.to_json()), OK, trace=trace), one)
    seconds, how = costs.of(recipe([tune(8)]))[0]
    assert how == "trials"
    assert seconds == pytest.approx(10 / 4 / 50 * 8 * 100)
    assert costs.of(one)[1].seconds == pytest.approx(10.0)


def test_a_result_that_was_there_teaches_once_and_only_if_it_tells_its_time():
    costs, one = Costs(), recipe([tune(1)])
    for told, known in ({}, 0), ({"seconds": 9.0}, 1), ({"seconds": 9.0}, 1):
        trace = ({"step": "fine_tuning", "cached": True, **told},)
        costs.learn(Trial(1, (), OK, trace=trace), one)
        assert costs.known == known
    assert costs.of(one)[0] == (9.0, "trials")


def test_a_plan_pays_for_shared_steps_once():
    costs = Costs(epoch_s=1.0)
    some = [recipe([tune(4), prune(r)]) for r in (0.3, 0.5)]
    told = plan(some, costs, set().__contains__, slots=2)
    assert [s.shared for s in told.steps] == [2, 1, 1]
    assert (told.alone_s, told.shared_s) == (10.0, 6.0)
    assert told.wall_s == pytest.approx(5.0)  # the second waits, then prunes beside
    assert sorted(told.order) == [0, 1]
    there = {path_of(some[0])[0]}
    assert plan(some, costs, there.__contains__).shared_s == 2.0
    assert summary(told, some)["nodes"][0]["known"] == "epoch"


@given(
    st.lists(
        st.tuples(st.sampled_from([1, 2, 3]), st.sampled_from([0.3, 0.5])), max_size=6
    ),
    st.integers(1, 3),
)
def test_a_plan_is_bounded_by_its_work(pairs, slots):
    some = [recipe([tune(e), prune(r)]) for e, r in pairs]
    told = plan(some, Costs(epoch_s=1.0), set().__contains__, slots)
    assert sorted(told.order) == list(range(len(some)))
    assert told.shared_s / slots <= told.wall_s + 1e-9 <= told.shared_s + 2e-9
    assert told.shared_s <= told.alone_s
