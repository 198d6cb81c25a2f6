"""What holds for every executor. A test class inherits it and says how to open one."""

import os
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from edgesynth.errors import DataError, EdgesynthError
from tests.synthesis.toys import same

ITEMS = 6


def square(item):
    time.sleep(0.02 * (ITEMS - item))  # the last ones are ready first
    return item * item


def picky(item):
    if item == 3:
        raise DataError("three is too many")
    return item


class OddError(EdgesynthError):
    """Cannot be pickled: its constructor takes something else than its message."""

    def __init__(self, one, two):
        super().__init__(f"{one} and {two}")


def odd(item):
    raise OddError("this", "that")


def threads(item):
    return torch.get_num_threads()


def train(seed):
    """Something small that is really trained: its weights."""
    from edgesynth.synthesis.training import Recipe, train
    from tests.networks import Residual, make
    from tests.synthesis.toys import TASK, data

    torch.manual_seed(seed)
    network = make(Residual)
    train(network, TASK, data().train, Recipe(epochs=1), seed=seed, mirror=False)
    return network.state_dict()


@dataclass
class Deadly:
    """Kills the process that it runs in, the first `times` times that it is given the item 2."""

    folder: Path
    times: int

    def __call__(self, item):
        if item == 2 and len(list(self.folder.iterdir())) < self.times:
            (self.folder / str(time.monotonic_ns())).touch()
            os.kill(os.getpid(), 9)
        return item


class ExecutorContract:
    """Subclasses have a fixture `executor`, entered and with one thread."""

    def test_outcomes_come_in_the_order_of_the_items(self, executor):
        assert list(executor.map(square, range(ITEMS))) == [n * n for n in range(ITEMS)]

    def test_nothing_is_no_work(self, executor):
        assert list(executor.map(square, [])) == []

    def test_nothing_is_taken_before_an_outcome_is_asked_for(self, executor):
        taken = []
        outcomes = executor.map(square, (taken.append(n) or n for n in range(ITEMS)))
        assert taken == []
        assert next(iter(outcomes)) == 0
        assert 0 in taken

    def test_an_exception_reaches_the_caller_in_its_place(self, executor):
        outcomes = executor.map(picky, range(ITEMS))
        assert [next(outcomes) for _ in range(3)] == [0, 1, 2]
        with pytest.raises(DataError, match="three is too many"):
            next(outcomes)
        assert list(executor.map(square, range(3))) == [0, 1, 4]

    def test_an_exception_that_does_not_travel_is_told_all_the_same(self, executor):
        with pytest.raises((OddError, RuntimeError), match="this and that"):
            list(executor.map(odd, [0]))

    def test_a_map_that_was_dropped_does_not_get_in_the_way_of_the_next(self, executor):
        outcomes = executor.map(square, range(ITEMS))
        next(outcomes)
        outcomes.close()
        assert list(executor.map(square, range(3))) == [0, 1, 4]

    def test_each_item_has_the_threads_that_the_executor_says(self, executor):
        before = torch.get_num_threads()
        executor.threads = 2
        assert list(executor.map(threads, range(3))) == [2, 2, 2]
        executor.threads = 1
        assert list(executor.map(threads, range(3))) == [1, 1, 1]
        assert torch.get_num_threads() == before

    def test_results_are_those_of_this_process(self, executor):
        from edgesynth.synthesis.executors import InProcess

        expected = list(InProcess(threads=1).map(train, range(2)))
        assert all(map(same, executor.map(train, range(2)), expected))


class DyingContract(ExecutorContract):
    """For executors whose items run in processes of their own."""

    def test_an_item_whose_process_dies_is_done_again(self, executor, tmp_path):
        assert list(executor.map(Deadly(tmp_path, times=2), range(ITEMS))) == list(range(ITEMS))
        assert len(list(tmp_path.iterdir())) == 2

    def test_an_item_that_kills_every_process_is_named(self, executor, tmp_path):
        outcomes = executor.map(Deadly(tmp_path, times=99), range(ITEMS))
        assert [next(outcomes) for _ in range(2)] == [0, 1]
        with pytest.raises(EdgesynthError, match=r"^2: "):
            list(outcomes)
        assert len(list(tmp_path.iterdir())) == 4

    def test_an_error_has_the_other_sides_traceback(self, executor):
        with pytest.raises(DataError) as caught:
            list(executor.map(picky, range(ITEMS)))
        assert "in picky" in "".join(caught.value.__notes__)


def is_alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def gone(pids, patience_s=30):
    """Whether all these processes end soon."""
    deadline = time.monotonic() + patience_s
    while any(map(is_alive, pids)) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not any(map(is_alive, pids))


__all__ = ["Deadly", "DyingContract", "ExecutorContract", "gone"]
