"""A halted trial is finished, until it is taken up again; a kill loses neither."""

import json

import pytest

from paretune.core.errors import StoreError
from paretune.core.trial import HALTED, OK, Trial
from paretune.store.trials import Trials
from tests.store.faults import folder

RUNGS = ({"share": 0.25, "epochs": 1.5, "quality": {"accuracy": 0.7}, "seconds": 2.0},)


@pytest.fixture
def store():
    with folder() as root:
        store = Trials.open(root)
        store.create_study("a", {"task": "fashion"})
        yield store


def halt(store, lease):
    claim = store.claim("a", [], lease)
    trial = Trial(claim.number, (), HALTED, rungs=RUNGS)
    store.finish(claim, trial)
    return claim, trial


def test_it_is_read_with_its_rungs_and_not_while_it_is_reopened(store):
    lease = store.acquire("a", "search")
    old, trial = halt(store, lease)
    assert store.trials("a") == (trial,)
    claim = store.reopen("a", 0, lease)
    assert claim.halted == trial
    assert claim.attempt == old.attempt + 1
    assert store.trials("a") == ()
    assert [c.number for c in store.running("a")] == [0]
    further = Trial(0, (), HALTED, rungs=(*RUNGS, {**RUNGS[0], "share": 0.5}))
    store.finish(claim, further)
    assert store.trials("a") == (further,)


def test_an_earlier_claim_cannot_finish_it(store):
    lease = store.acquire("a", "search")
    old, _ = halt(store, lease)
    store.reopen("a", 0, lease)
    with pytest.raises(StoreError, match="store-stale"):
        store.finish(old, Trial(0, (), OK))


def test_a_search_that_dies_leaves_it_to_the_next_with_its_rungs(store):
    lease = store.acquire("a", "search")
    _, trial = halt(store, lease)
    store.reopen("a", 0, lease)
    store.release(lease)
    (left,) = store.abandoned("a")
    assert left.halted == trial
    other = store.acquire("a", "another")
    again = store.claim_again("a", 0, other, fault=False)
    assert again.halted == trial
    store.finish(again, trial)
    assert store.trials("a") == (trial,)


def test_only_a_halted_trial_is_reopened(store):
    lease = store.acquire("a", "search")
    halt(store, lease)
    store.reopen("a", 0, lease)
    with pytest.raises(StoreError, match="is not halted"):
        store.reopen("a", 0, lease)
    with pytest.raises(StoreError, match="trial-not-found"):
        store.reopen("a", 7, lease)


def test_a_trial_of_an_older_store_has_no_rungs():
    record = Trial(3, (), OK).to_json()
    assert "rungs" not in record
    assert Trial.from_json(json.loads(json.dumps(record))).rungs == ()
    halted = Trial(3, (), HALTED, rungs=RUNGS)
    assert Trial.from_json(json.loads(json.dumps(halted.to_json()))) == halted


def test_one_that_is_given_up_keeps_what_it_had_come_to(store):
    lease = store.acquire("a", "search")
    _, trial = halt(store, lease)
    store.reopen("a", 0, lease)
    while store.claim_again("a", 0, lease, error="it fell.") is not None:
        pass
    (ended,) = store.trials("a")
    assert (ended.state, ended.error) == ("failed:crash", "it fell.")
    assert ended.rungs == trial.rungs
