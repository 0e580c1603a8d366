"""Whatever is done to a store in whatever order, it holds what a plain list would."""

from contextlib import ExitStack
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    invariant,
    precondition,
    rule,
)

from paretune.core.errors import StoreError
from paretune.core.trial import Trial
from paretune.store.trials import RETRIES, Claim, Lease, Trials
from tests.store.faults import folder, trial

STEPS = [{"technique": "structured_pruning", "ratio": 0.5}]


class Store(RuleBasedStateMachine):
    """One study; searches that come, go and come back from the dead."""

    leases: Bundle[Lease] = Bundle("leases")
    claims: Bundle[Claim] = Bundle("claims")

    def __init__(self) -> None:
        super().__init__()
        self.stack = ExitStack()
        self.root = self.stack.enter_context(folder())
        self.store = Trials.open(self.root)
        self.store.create_study("a", {})
        self.token = 0
        self.held = False
        self.ended: dict[int, Trial] = {}
        self.running: dict[int, tuple[int, int, int]] = {}  # token, attempt, faults
        self.seed = 0

    def teardown(self) -> None:
        self.stack.close()

    def allowed(self, expected: bool, work: Any) -> Any:
        try:
            found = work()
        except StoreError as error:
            assert error.code in ("store-stale", "store-busy")
            assert not expected, error
            return None
        assert expected
        return found

    @rule(target=leases, who=st.sampled_from("xyz"))
    def acquire(self, who: str) -> Any:
        if self.held:
            self.allowed(False, lambda: self.store.acquire("a", who + who))
            self.store._database.check()
            self.takeover()
        lease = self.store.acquire("a", who)
        self.token += 1
        self.held = True
        assert lease.token == self.token
        return lease

    def takeover(self) -> None:
        """The holder's time runs out."""
        with self.store._database.write() as connection:
            connection.exec_driver_sql("UPDATE leases SET ends = 0, deadline = 0")

    @rule(lease=consumes(leases))
    def release(self, lease: Lease) -> None:
        self.store.release(lease)
        self.held = self.held and lease.token != self.token

    @rule(lease=leases)
    def renew(self, lease: Lease) -> None:
        mine = self.held and lease.token == self.token
        self.allowed(mine, lambda: self.store.renew(lease))

    @rule(target=claims, lease=leases)
    def claim(self, lease: Lease) -> Any:
        mine = self.held and lease.token == self.token
        claim = self.allowed(mine, lambda: self.store.claim("a", STEPS, lease))
        if claim is None:
            return Claim("a", 0, -1, (), 0, -1)
        assert claim.number == len(self.ended) + len(self.running)
        self.running[claim.number] = (lease.token, 1, 0)
        return claim

    @precondition(lambda self: self.ended or self.running)
    @rule(target=claims, lease=leases, data=st.data(), fault=st.booleans())
    def claim_again(self, lease: Lease, data: st.DataObject, fault: bool) -> Any:
        number = data.draw(st.integers(0, len(self.ended) + len(self.running) - 1))
        mine = self.held and lease.token == self.token and number in self.running
        claim = self.allowed(
            mine, lambda: self.store.claim_again("a", number, lease, fault=fault)
        )
        if not mine:
            return Claim("a", number, -1, (), 0, -1)
        _, attempt, faults = self.running[number]
        if faults + fault > RETRIES:
            assert claim is None
            del self.running[number]
            (self.ended[number],) = (
                t for t in self.store.trials("a") if t.number == number
            )
            assert self.ended[number].state == "failed:crash"
            return Claim("a", number, -1, (), 0, -1)
        self.running[number] = (lease.token, attempt + 1, faults + fault)
        return claim

    @rule(claim=claims)
    def finish(self, claim: Claim) -> None:
        self.seed += 1
        ended = trial(claim.number, self.seed)
        now = self.running.get(claim.number)
        mine = (
            now is not None
            and now[:2] == (claim.token, claim.attempt)
            and claim.token == self.token
        )
        if claim.number in self.ended or now is not None:
            self.allowed(mine, lambda: self.store.finish(claim, ended))
        if mine:
            del self.running[claim.number]
            self.ended[claim.number] = ended

    @precondition(lambda self: self.ended)
    @rule(data=st.data())
    def amend(self, data: st.DataObject) -> None:
        self.seed += 1
        number = data.draw(st.sampled_from(sorted(self.ended)))
        figures = trial(number, self.seed).measurements
        self.store.amend("a", number, figures)
        old = self.ended[number]
        record = {**old.to_json()}
        record["measurements"] |= {k: m.to_json() for k, m in figures.items()}
        self.ended[number] = Trial.from_json(record)

    @rule()
    def reopen(self) -> None:
        self.store = Trials.open(self.root)

    @invariant()
    def holds_the_same(self) -> None:
        expected = tuple(t for _, t in sorted(self.ended.items()))
        assert self.store.trials("a") == expected
        running = {c.number: c for c in self.store.running("a")}
        abandoned = {c.number: c for c in self.store.abandoned("a")}
        assert not running.keys() & abandoned.keys()
        assert (running | abandoned).keys() == self.running.keys()
        for number, (token, attempt, faults) in self.running.items():
            claim = (running | abandoned)[number]
            assert (claim.token, claim.attempt, claim.faults) == (
                token,
                attempt,
                faults,
            )
            assert (number in running) is (self.held and token == self.token)


TestStore = Store.TestCase
TestStore.settings = settings(max_examples=20, stateful_step_count=25, deadline=None)
