"""Leases on a fake clock: one at a time, over when nobody shows that the holder lives."""

import threading

import pytest
from edgesynth_agent.clock import FakeClock, MonotonicClock
from edgesynth_agent.errors import BusyError, LeaseError, NotFoundError
from edgesynth_agent.leases import Leases
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from tests.agent.running import until


@pytest.fixture
def clock():
    return FakeClock(1000.0)


@pytest.fixture
def ended():
    return []


@pytest.fixture
def leases(clock, ended):
    return Leases(clock, lambda lease, how: ended.append((lease.holder, how)))


def test_one_at_a_time(leases):
    first = leases.grant("ann", 30)
    assert first["expires_in_s"] == 30
    with pytest.raises(BusyError, match=r"ann has the lease, for 30\.0 s more"):
        leases.grant("bob", 30)
    shown = leases.current()
    assert shown == {"holder": "ann", "ttl_s": 30, "expires_in_s": 30}
    assert leases.require(first["id"]).holder == "ann"


def test_it_ends_without_a_heartbeat(leases, clock, ended):
    lease = leases.grant("ann", 30)
    clock.advance(29.9)
    leases.heartbeat(lease["id"])
    clock.advance(29.9)
    assert leases.current()["expires_in_s"] == pytest.approx(0.1, abs=1e-3)
    clock.advance(0.1)
    assert leases.current() is None
    assert ended == [("ann", "had no heartbeat for 30 s")]
    with pytest.raises(NotFoundError):
        leases.heartbeat(lease["id"])
    assert leases.grant("bob", 5)["holder"] == "bob"


def test_no_job_may_start_on_a_lease_whose_time_is_over_though_nobody_ended_it_yet(leases, clock):
    lease = leases.grant("ann", 30)
    clock.advance(30)
    with pytest.raises(LeaseError, match="holds no longer"):
        leases.require(lease["id"])
    with pytest.raises(LeaseError, match="a job needs the lease"):
        leases.require(None)


def test_released_it_ends_once(leases, clock, ended):
    lease = leases.grant("ann", 30)
    assert leases.release(lease["id"])["holder"] == "ann"
    with pytest.raises(NotFoundError):
        leases.release(lease["id"])
    clock.advance(100)
    assert leases.current() is None
    assert ended == [("ann", "was released")]


def test_watching_ends_it_in_time_by_itself():
    ended = threading.Event()
    leases = Leases(MonotonicClock(), lambda lease, how: ended.set())
    watcher = threading.Thread(target=leases.watch)
    watcher.start()
    leases.grant("ann", 0.05)
    assert ended.wait(20)
    until(lambda: leases.current() is None)
    leases.stop()
    watcher.join(20)
    assert not watcher.is_alive()


class LeaseMachine(RuleBasedStateMachine):
    """Against the plainest model: (id, when it is over), or None."""

    def __init__(self):
        super().__init__()
        self.clock = FakeClock()
        self.ended = []
        self.leases = Leases(self.clock, lambda lease, how: self.ended.append(lease.id))
        self.granted, self.held = [], None

    @rule(ttl_s=st.integers(1, 20))
    def grant(self, ttl_s):
        if self.held:
            with pytest.raises(BusyError):
                self.leases.grant("x", ttl_s)
        else:
            lease_id = self.leases.grant("x", ttl_s)["id"]
            self.granted.append(lease_id)
            self.held = (lease_id, self.clock.now_s() + ttl_s, ttl_s)

    @rule(seconds=st.integers(0, 15))
    def wait(self, seconds):
        self.clock.advance(seconds)
        if self.held and self.clock.now_s() >= self.held[1]:
            self.held = None

    @rule(data=st.data(), release=st.booleans())
    def ask(self, data, release):
        lease_id = data.draw(st.sampled_from([*self.granted, "0" * 32]))
        question = self.leases.release if release else self.leases.heartbeat
        if self.held and self.held[0] == lease_id:
            question(lease_id)
            ttl_s = self.held[2]
            self.held = None if release else (lease_id, self.clock.now_s() + ttl_s, ttl_s)
        else:
            with pytest.raises(NotFoundError):
                question(lease_id)

    def holds(self, lease_id):
        try:
            self.leases.require(lease_id)
        except LeaseError:
            return False
        return True

    @invariant()
    def it_is_as_the_model_says(self):
        current = self.leases.current()
        assert (current is None) == (self.held is None)
        for lease_id in self.granted:
            assert self.holds(lease_id) == bool(self.held and self.held[0] == lease_id)
        over = [lease_id for lease_id in self.granted if not (self.held and self.held[0] == lease_id)]
        assert self.ended == over


TestLeaseMachine = LeaseMachine.TestCase
