"""What has been acknowledged stays; nobody writes who shouldn't."""

import json
import os
import random
import signal
import sqlite3
import threading
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from paretune.core.errors import StoreError
from paretune.core.measurement import Measurement
from paretune.core.trial import FAILURES, Trial
from paretune.store.trials import Claim, Lease, Trials
from tests.store.faults import folder, fork, kill, result, trial, until

SPEC = {"task": "fashion", "data": {"samples": 5000}, "seed": 0}
STEPS = [{"technique": "structured_pruning", "ratio": 0.5}]


@pytest.fixture
def store() -> Any:
    with folder() as root:
        store = Trials.open(root)
        store.create_study("a", SPEC)
        yield store


def where(store: Trials) -> Path:
    return store._database.path


def change(store: Trials, sql: str, *values: object) -> None:
    with closing(sqlite3.connect(where(store))) as raw, raw:
        raw.execute(sql, values)


def done(store: Trials, lease: Lease, seed: int = 0) -> Trial:
    claim = store.claim("a", STEPS, lease)
    ended = trial(claim.number, seed)
    store.finish(claim, ended)
    return ended


def refused(code: str) -> Any:
    class Refused:
        def __enter__(self) -> "Refused":
            return self

        def __exit__(self, _: object, error: Any, __: object) -> bool:
            assert isinstance(error, StoreError), error
            assert error.code == code, error
            self.message = error.message
            return True

    return Refused()


# Studies


def test_a_study_is_what_it_was_begun_with(store: Trials) -> None:
    assert store.study("a") == SPEC
    assert store.study("b") is None
    store.create_study("b", {})
    assert store.names() == ("a", "b")
    again = dict(reversed(SPEC.items()))
    store.create_study("a", again)
    assert store.study("a") == SPEC


def test_a_study_can_not_go_on_as_another(store: Trials) -> None:
    with refused("resume-mismatch") as found:
        store.create_study("a", {**SPEC, "data": {"samples": 4800}, "more": [1]})
    assert "data.samples (was 5000, now 4800)" in found.message
    assert "more (was not there, now [1])" in found.message
    assert "seed" not in found.message
    assert store.study("a") == SPEC


def test_a_missing_study_names_the_nearest(store: Trials, tmp_path: Path) -> None:
    store.create_study("demo", {})
    with refused("study-not-found") as found:
        store.trials("dmo")
    assert "did you mean 'demo'?" in found.message
    with refused("study-not-found") as found:
        Trials.open(tmp_path).snapshot("demo")
    assert "holds none" in found.message


def test_facts_change_while_a_study_runs(store: Trials) -> None:
    store.update_study("a", "noise", 0.01)
    store.update_study("a", "cost", {"train_s": 1.5})
    store.update_study("a", "noise", 0.02)
    assert store.facts("a") == {"noise": 0.02, "cost": {"train_s": 1.5}}


# Trials


def test_numbers_count_up_from_the_baseline(store: Trials) -> None:
    lease = store.acquire("a", "me")
    claims = [store.claim("a", STEPS, lease) for _ in range(3)]
    assert [c.number for c in claims] == [0, 1, 2]
    assert store.running("a") == tuple(claims)
    assert claims[0].steps == tuple(STEPS)
    store.create_study("b", {})
    assert store.claim("b", [], store.acquire("b", "me")).number == 0


def test_a_trial_comes_back_as_it_was(store: Trials) -> None:
    lease = store.acquire("a", "me")
    ended = [done(store, lease) for _ in range(3)]
    assert store.trials("a") == tuple(ended)
    assert Trials.open(where(store).parent, create=False).trials("a") == tuple(ended)
    assert store.running("a") == ()


def test_a_failed_trial_keeps_figures_that_are_not_finite(store: Trials) -> None:
    claim = store.claim("a", STEPS, store.acquire("a", "me"))
    inf = float("inf")
    store.finish(claim, Trial(0, (), "failed:parity", parity={"max_abs": inf}))
    assert store.trials("a")[0].parity == {"max_abs": inf}


@pytest.mark.parametrize(
    "state",
    ["ok", "infeasible", "stopped", "failed:crash(SIGSEGV)"]
    + [f"failed:{word}" for word in FAILURES],
)
def test_a_trial_ends_in_one_of_the_words(store: Trials, state: str) -> None:
    claim = store.claim("a", STEPS, store.acquire("a", "me"))
    store.finish(claim, Trial(0, (), state))
    assert store.trials("a")[0].state == state


@pytest.mark.parametrize("state", ["RUNNING", "", "failed:", "failed:odd", "okay"])
def test_a_trial_ends_in_no_other_word(store: Trials, state: str) -> None:
    claim = store.claim("a", STEPS, store.acquire("a", "me"))
    with refused("store-claim"):
        store.finish(claim, Trial(0, (), state))
    with refused("store-claim"):
        store.finish(claim, Trial(1, (), "ok"))
    assert store.running("a") == (claim,)


def test_a_trial_ends_once(store: Trials) -> None:
    claim = store.claim("a", STEPS, store.acquire("a", "me"))
    store.finish(claim, trial(0))
    store.finish(claim, trial(0))
    with refused("store-stale"):
        store.finish(claim, trial(0, seed=1))
    assert store.trials("a") == (trial(0),)


def test_an_older_attempt_can_not_finish(store: Trials) -> None:
    """A worker that was stopped past its claim, and goes on."""
    lease = store.acquire("a", "me")
    stale = store.claim("a", STEPS, lease)
    fresh = store.claim_again("a", 0, lease)
    assert fresh is not None
    with refused("store-stale"):
        store.finish(stale, trial(0))
    assert store.trials("a") == ()
    store.finish(fresh, trial(0, seed=1))
    with refused("store-stale"):
        store.finish(stale, trial(0))
    assert store.trials("a") == (trial(0, seed=1),)


def test_a_poisonous_trial_is_not_run_for_ever(store: Trials) -> None:
    lease = store.acquire("a", "me")
    store.claim("a", STEPS, lease)
    again = [store.claim_again("a", 0, lease, error="SIGSEGV.") for _ in range(2)]
    assert [c and (c.attempt, c.faults) for c in again] == [(2, 1), (3, 2)]
    last = store.claim_again(
        "a", 0, lease, state="failed:crash(SIGSEGV)", error="It died."
    )
    assert last is None
    (ended,) = store.trials("a")
    assert (ended.state, ended.error) == ("failed:crash(SIGSEGV)", "It died.")
    assert ended.steps == tuple(STEPS)
    with refused("store-stale"):
        store.claim_again("a", 0, lease)
    with refused("trial-not-found"):
        store.claim_again("a", 7, lease)


def test_a_trial_is_not_blamed_for_a_search_that_was_killed(store: Trials) -> None:
    lease = store.acquire("a", "me")
    store.claim("a", STEPS, lease)
    for attempt in range(2, 21):
        claim = store.claim_again("a", 0, lease, fault=False)
        assert claim is not None
        assert (claim.attempt, claim.faults) == (attempt, 0)
    assert store.claim_again("a", 0, lease, fault=False) is None
    assert "cut short 20 times" in store.trials("a")[0].error


def test_better_figures_take_the_place_of_others(store: Trials) -> None:
    lease = store.acquire("a", "me")
    before, other = done(store, lease), done(store, lease)
    assert store.trials("a") == (before, other)
    full = Measurement("latency_p50", "s", "lower", (0.1, 0.2), "launches")
    size = Measurement("size", "byte", "lower", (9.0,), "exact")
    store.amend("a", 0, {"latency_p50": full, "size": size})
    amended = {**before.measurements, "latency_p50": full, "size": size}
    assert store.trials("a") == (replace(before, measurements=amended), other)
    store.amend("a", 0, {"size": size})
    old = before.measurements["latency_p50"]
    assert store.replaced("a", 0) == (old, size)
    assert store.replaced("a", 1) == ()
    store.claim("a", STEPS, lease)
    with refused("store-stale"):
        store.amend("a", 2, {"size": size})
    with refused("trial-not-found"):
        store.amend("a", 3, {"size": size})


def test_every_reading_of_the_test_split_counts(store: Trials) -> None:
    lease = store.acquire("a", "me")
    for _ in range(2):
        done(store, lease)
    assert store.certifications("a") == 0
    one, two = (
        Measurement("accuracy", "1", "higher", (v,), "exact", split="test")
        for v in (0.8, 0.9)
    )
    store.certify("a", {0: {"accuracy": one}, 1: {"accuracy": one}})
    store.certify("a", {1: {"accuracy": two}})
    assert store.certifications("a") == 2
    assert store.certified("a") == {0: {"accuracy": one}, 1: {"accuracy": two}}
    assert all(at.endswith("+00:00") for at in store.certified_at("a"))
    with refused("trial-not-found"):
        store.certify("a", {9: {"accuracy": one}})
    assert store.certifications("a") == 3  # it has been read, whatever came of it
    reading = store.read_test("a")
    store.certify("a", {0: {"accuracy": two}}, reading)
    assert store.certifications("a") == reading == 4


def test_a_snapshot_holds_all_of_a_study(store: Trials) -> None:
    lease = store.acquire("a", "me")
    ended = done(store, lease)
    claim = store.claim("a", STEPS, lease)
    store.update_study("a", "noise", 0.02)
    figures = {"accuracy": ended.measurements["accuracy"]}
    store.certify("a", {0: figures})
    assert store.snapshot("a") == {
        "name": "a",
        "spec": SPEC,
        "facts": {"noise": 0.02},
        "trials": (ended,),
        "running": (claim,),
        "abandoned": (),
        "certified": {0: figures},
        "certifications": 1,
        "certified_at": store.certified_at("a"),
    }


# Leases


def test_one_live_search_a_study(store: Trials) -> None:
    lease = store.acquire("a", "me", host="h")
    with refused("store-busy") as found:
        store.acquire("a", "you")
    assert found.message.startswith(
        f"study 'a' is run by pid {os.getpid()} on host h (beat 0 s ago)"
    )
    store.create_study("b", {})
    store.acquire("b", "you")  # another study of the same store is free
    store.renew(lease)
    store.release(lease)
    taken = store.acquire("a", "you")
    assert taken.token == 2
    store.release(lease)  # not its own any more
    with refused("store-busy"):
        store.acquire("a", "me")


def test_a_holder_may_acquire_again(store: Trials) -> None:
    first = store.acquire("a", "me")
    second = store.acquire("a", "me")
    with refused("store-stale"):
        store.renew(first)
    store.renew(second)


def test_a_search_that_lost_its_lease_writes_no_more(store: Trials) -> None:
    """It was stopped for longer than the lease lasts, then went on."""
    lost = store.acquire("a", "me", seconds=0.05)
    claim = store.claim("a", STEPS, lost)
    until(lambda: store.abandoned("a"))
    lease = store.acquire("a", "you")
    with refused("store-stale") as found:
        store.claim("a", STEPS, lost)
    assert "taken over by pid" in found.message
    with refused("store-stale"):
        store.renew(lost)
    with refused("store-stale"):
        store.claim_again("a", 0, lost)
    with refused("store-stale"):  # even before the trial is claimed again
        store.finish(claim, trial(0))
    assert store.abandoned("a") == (claim,)
    assert store.running("a") == ()
    again = store.claim_again("a", 0, lease, fault=False)
    assert again is not None
    assert store.running("a") == (again,)
    store.finish(again, trial(0, seed=1))
    assert store.trials("a") == (trial(0, seed=1),)


def test_a_late_search_goes_on_if_nobody_took_over(store: Trials) -> None:
    lease = store.acquire("a", "me", seconds=0.01)
    claim = store.claim("a", STEPS, lease)
    until(lambda: store.abandoned("a"))
    store.finish(claim, trial(0))
    store.renew(lease)


def test_a_stopped_process_can_not_write_when_it_goes_on() -> None:
    with folder() as root:
        store = Trials.open(root)
        store.create_study("a", SPEC)

        def work() -> None:
            mine = Trials.open(root)
            lease = mine.acquire("a", "child", seconds=0.2)
            claim = mine.claim("a", STEPS, lease)
            os.kill(os.getpid(), signal.SIGSTOP)
            with refused("store-stale"):
                mine.finish(claim, trial(0))

        pid = fork(work)
        os.waitpid(pid, os.WUNTRACED)
        with refused("store-busy"):
            store.acquire("a", "me")
        until(lambda: store.abandoned("a"))
        lease = store.acquire("a", "me")
        again = store.claim_again("a", 0, lease, fault=False)
        os.kill(pid, signal.SIGCONT)
        assert result(pid) == 0
        assert again is not None
        store.finish(again, trial(0, seed=1))
        assert store.trials("a") == (trial(0, seed=1),)


@pytest.mark.parametrize("shift", [86400, -86400, 3600])
def test_a_clock_that_is_set_steals_no_lease(store: Trials, shift: int) -> None:
    lease = store.acquire("a", "me")
    change(store, "UPDATE leases SET beat = beat - ?1, deadline = deadline - ?1", shift)
    with refused("store-busy") as found:
        store.acquire("a", "you")
    assert "beat 0 s ago" in found.message
    store.claim("a", STEPS, lease)
    store.renew(lease)
    assert len(store.running("a")) == 1


def test_a_clock_that_was_set_keeps_no_lease(store: Trials) -> None:
    store.acquire("a", "me", seconds=0.01)
    change(store, "UPDATE leases SET deadline = deadline + 86400")
    time.sleep(0.02)
    store.acquire("a", "you")


def test_a_dead_holder_is_replaced_at_once(store: Trials) -> None:
    root = where(store).parent
    pid = fork(lambda: Trials.open(root).acquire("a", "child", seconds=3600))
    until(lambda: Path(f"/proc/{pid}/stat").read_text().split()[2] == "Z")
    store.acquire("a", "me")  # even before its parent has noticed
    assert result(pid) == 0


def test_a_number_given_to_another_process_is_no_holder(store: Trials) -> None:
    store.acquire("a", "me", seconds=3600)
    started = "json_set(process, '$.started', '1')"
    change(store, f"UPDATE leases SET process = {started}")
    store.acquire("a", "you")


def test_after_a_restart_of_the_machine_nobody_holds(store: Trials) -> None:
    store.acquire("a", "me", seconds=3600)
    change(store, "UPDATE leases SET process = json_set(process, '$.boot', 'before')")
    store.acquire("a", "you")


def test_another_machine_is_judged_by_the_databases_clock(store: Trials) -> None:
    store.acquire("a", "me", seconds=3600)
    away = "json_set(process, '$.boot', 'x', '$.host', 'far', '$.pid', 411)"
    change(store, f"UPDATE leases SET process = {away}, ends = 0")
    with refused("store-busy") as found:
        store.acquire("a", "you")
    assert "pid 411 on host far" in found.message
    change(store, "UPDATE leases SET deadline = deadline - 3601")
    store.acquire("a", "you")


def test_a_process_of_another_container_is_judged_by_time(store: Trials) -> None:
    store.acquire("a", "me", seconds=0.05)
    away = "json_set(process, '$.namespace', 'other', '$.pid', 999999)"
    change(store, f"UPDATE leases SET process = {away}")
    with refused("store-busy"):
        store.acquire("a", "you")
    time.sleep(0.06)
    store.acquire("a", "you")


def test_a_released_study_is_written_to_by_nobody(store: Trials) -> None:
    lease = store.acquire("a", "me")
    claim = store.claim("a", STEPS, lease)
    store.release(lease)
    assert store.abandoned("a") == (claim,)
    for forbidden in (
        lambda: store.claim("a", STEPS, lease),
        lambda: store.renew(lease),
        lambda: store.claim_again("a", 0, lease),
    ):
        with refused("store-stale"):
            forbidden()


# Faults


def check(store: Trials) -> None:
    with closing(sqlite3.connect(where(store))) as raw:
        assert raw.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert raw.execute("PRAGMA foreign_key_check").fetchall() == []


def test_a_killed_search_loses_nothing(tmp_path: Path) -> None:
    """SIGKILL while it writes, ten times; each time another goes on at once."""
    Trials.open(tmp_path).create_study("a", SPEC)
    rng = random.Random(0)
    acknowledged: dict[int, Trial] = {}
    for seed in range(10):
        reader, writer = os.pipe()

        def work(seed: int = seed, writer: int = writer) -> None:
            store = Trials.open(tmp_path)
            lease = store.acquire("a", f"{seed}")
            for claim in store.abandoned("a"):
                store.claim_again("a", claim.number, lease, fault=False)
            waiting: list[Claim] = list(store.running("a"))
            while True:
                claim = waiting.pop() if waiting else store.claim("a", STEPS, lease)
                store.finish(claim, trial(claim.number, seed, samples=500))
                os.write(writer, f"{claim.number}\n".encode())

        pid = fork(work)
        os.close(writer)
        with os.fdopen(reader) as lines:
            first = next(lines)  # it has begun
            time.sleep(rng.uniform(0, 0.2))
            kill(pid)
            numbers = [int(line) for line in [first, *lines]]
        for number in numbers:
            assert number not in acknowledged
            acknowledged[number] = trial(number, seed, samples=500)
        store = Trials.open(tmp_path)
        check(store)
        found = {t.number: t for t in store.trials("a")}
        assert found.items() >= acknowledged.items()
        # At most the one whose acknowledgement was cut off is there besides.
        assert len(found) - len(acknowledged) <= 1
        acknowledged = found
        assert len(store.abandoned("a")) <= 1
    store = Trials.open(tmp_path)
    lease = store.acquire("a", "last")
    for claim in store.abandoned("a"):
        again = store.claim_again("a", claim.number, lease, fault=False)
        assert again is not None
        store.finish(again, trial(again.number))
    ended = store.trials("a")
    assert [t.number for t in ended] == list(range(len(ended)))
    assert not store.running("a") + store.abandoned("a")


def test_processes_never_claim_one_trial_twice(store: Trials) -> None:
    """Two studies, each with two workers that share its search's lease."""
    store.create_study("b", SPEC)
    leases = {name: store.acquire(name, "search") for name in "ab"}

    def work(name: str) -> None:
        mine = Trials.open(where(store).parent)
        for _ in range(25):
            claim = mine.claim(name, STEPS, leases[name])
            mine.finish(claim, trial(claim.number, os.getpid()))

    children = [fork(lambda n=n: work(n)) for n in "abab"]
    assert [result(c) for c in children] == [0] * 4
    for name in "ab":
        ended = store.trials(name)
        assert [t.number for t in ended] == list(range(50))
        writers = [t for t in ended for c in children if t == trial(t.number, c)]
        assert writers == list(ended)
    check(store)


def test_threads_share_a_store(store: Trials) -> None:
    lease = store.acquire("a", "me")
    failed = []

    def work() -> None:
        try:
            for _ in range(10):
                done(store, lease)
                store.trials("a")
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not failed
    assert [t.number for t in store.trials("a")] == list(range(40))


def test_a_store_is_created_once(tmp_path: Path) -> None:
    def work() -> None:
        Trials.open(tmp_path / "new").create_study("a", SPEC)

    children = [fork(work) for _ in range(4)]
    assert [result(c) for c in children] == [0] * 4
    assert Trials.open(tmp_path / "new").names() == ("a",)


def test_a_thousand_trials_are_read_in_a_second(store: Trials) -> None:
    body = json.dumps(trial(0, samples=4000).to_json())
    assert len(body) > 20_000
    with closing(sqlite3.connect(where(store))) as raw, raw:
        row = "VALUES (1, ?, 1, 1, 0, 'ok', '[]', 0, ?)"
        rows = [(n, body.replace('"number": 0', f'"number": {n}')) for n in range(1000)]
        raw.executemany(f"INSERT INTO trials {row}", rows)
    start = time.process_time()
    again = Trials.open(where(store).parent)
    assert len(again.trials("a")) == 1000
    assert time.process_time() - start < 1
    start = time.process_time()
    assert again.trials("a")[999].number == 999
    assert time.process_time() - start < 0.1


def test_the_latest_trials_of_studies_of_one_kind():
    with folder() as root:
        store = Trials.open(root)
        for name, kind in (("a", 1), ("b", 2), ("c", 1)):
            store.create_study(name, {"kind": kind})
            lease = store.acquire(name, "search")
            for number in range(3):
                claim = store.claim(name, [], lease)
                store.finish(claim, Trial(number, (), "ok", error=f"{name}{number}"))
            store.claim(name, [], lease)
        assert [t.error for t in store.latest(4, kind=1)] == ["c2", "c1", "c0", "a2"]
        assert len(store.latest(99)) == 9
        assert store.latest(5, kind=3) == ()
