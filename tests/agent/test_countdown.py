"""Two limits of time, one of which runs down at a time, and the jobs that are held to them."""

import threading
import time

import pytest
from edgesynth_agent.countdown import BUILDING, Countdown
from edgesynth_agent.request import parse_job_request
from edgesynth_agent.running import RunningJob

from tests.agent.running import job_request

LONG_S = 1000.0


class Alarm:
    def __init__(self, work_s, build_s):
        self.rang = threading.Event()
        self.times = 0
        self.countdown = Countdown(work_s, build_s, self.ring)

    def ring(self):
        self.times += 1
        self.rang.set()


def test_work_that_takes_too_long_is_told():
    alarm = Alarm(0.05, LONG_S)
    alarm.countdown.begin()
    assert alarm.rang.wait(20)
    assert not alarm.countdown.building


def test_so_is_a_build():
    alarm = Alarm(LONG_S, 0.05)
    alarm.countdown.begin()
    alarm.countdown.turn(building=True)
    assert alarm.rang.wait(20)
    assert alarm.countdown.building


def test_one_does_not_count_for_the_other():
    alarm = Alarm(0.2, LONG_S)
    alarm.countdown.begin()
    alarm.countdown.turn(building=True)
    time.sleep(0.4)
    assert not alarm.rang.is_set()
    alarm.countdown.turn(building=False)
    assert alarm.rang.wait(20)


def test_turns_add_up():
    """Whoever says again and again that it builds gets no more time for that."""
    alarm = Alarm(LONG_S, 0.2)
    alarm.countdown.begin()
    deadline_s = time.monotonic() + 20
    while not alarm.rang.is_set() and time.monotonic() < deadline_s:
        alarm.countdown.turn(building=True)
        time.sleep(0.02)
        alarm.countdown.turn(building=False)
    assert alarm.rang.is_set()


def test_it_rings_once_and_not_after_the_end():
    alarm = Alarm(0.05, 0.05)
    alarm.countdown.begin()
    assert alarm.rang.wait(20)
    alarm.countdown.turn(building=True)
    stopped = Alarm(0.2, 0.2)
    stopped.countdown.begin()
    stopped.countdown.stop()
    stopped.countdown.stop()
    time.sleep(0.4)
    assert (alarm.times, stopped.times) == (1, 0)


class Worker:
    """Says these stages, each for so long, and then its result; it ends at once when it is killed."""

    def __init__(self, *stages):
        self._stages = stages
        self._killed = threading.Event()

    def events(self):
        for stage, seconds in self._stages:
            yield {"stage": stage, "progress": 0.0}
            if self._killed.wait(seconds):
                return
        yield {"result": {"figures": 1}}

    def kill(self):
        self._killed.set()

    def finish(self):
        return "was killed by SIGKILL" if self._killed.is_set() else None

    def last_words(self):
        return ""


def ending(*stages, **limits):
    request = parse_job_request(job_request("a" * 64, **limits))
    return RunningJob(request, None).hear_out(Worker(*stages), 1000, lambda job, stage, share: None)


def test_a_build_does_not_count_for_the_limit_of_the_job():
    found = ending(("loading", 0.1), (BUILDING, 1.2), ("loading", 0.1), ("measuring", 0.1), limit_s=1)
    assert (found.status, found.result) == ("done", {"figures": 1})


@pytest.mark.parametrize(
    ("stages", "what", "next_step"),
    [
        ([("loading", 0.1), (BUILDING, 20)], "the engine was not built within 1 s", "build_limit_s"),
        ([(BUILDING, 0.5), ("loading", 0.1), (BUILDING, 20)], "the engine was not built within 1 s", "build_limit_s"),
        ([("measuring", 20)], "it was not done within 2 s", "limit_s or fewer windows"),
    ],
)
def test_what_takes_too_long_is_ended_and_named(stages, what, next_step):
    found = ending(*stages, limit_s=2, build_limit_s=1)
    assert (found.status, found.reason, found.error["what"]) == ("failed", "time_limit", what)
    assert next_step in found.error["next"]
