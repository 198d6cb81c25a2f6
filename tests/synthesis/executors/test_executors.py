"""In this process, and in processes of this machine."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from edgesynth.errors import EdgesynthError
from edgesynth.synthesis.executors import InProcess, open_executor
from edgesynth.synthesis.executors.workers import Workers
from tests.synthesis.executors.contract import DyingContract, ExecutorContract, gone

FAMILY = """
import os, sys, time
from tests.synthesis.executors.test_executors import slow
from edgesynth.synthesis.executors.workers import Workers

with Workers(2, threads=1) as executor:
    try:
        list(executor.map(slow, ["{folder}"] * 2))
    except KeyboardInterrupt:
        sys.exit(130)
"""


def slow(folder):
    """Leave word of this process, then take very long."""
    (Path(folder) / str(os.getpid())).touch()
    time.sleep(600)


def where(item):
    return os.getpid()


def policy(item):
    return os.environ["OMP_WAIT_POLICY"]


class Sizes:
    """How large it is when it is sent, and how often it was taken apart."""

    def __init__(self, tensor):
        self.tensor = tensor
        self.sent = 0

    def __getstate__(self):
        self.sent += 1
        return {"tensor": self.tensor}

    def __call__(self, item):
        return float(self.tensor[item])


class TestInProcess(ExecutorContract):
    @pytest.fixture
    def executor(self):
        with InProcess(threads=1) as executor:
            yield executor

    def test_does_nothing_while_the_caller_has_the_word(self, executor):
        taken = []
        outcomes = executor.map(float, (taken.append(n) or n for n in range(3)))
        next(outcomes)
        assert taken == [0]


@pytest.fixture(scope="module")
def workers():
    with Workers(2, threads=1) as workers:
        yield workers


class TestWorkers(DyingContract):
    @pytest.fixture
    def executor(self, workers):
        yield workers
        workers.threads = 1

    def test_works_in_as_many_processes_as_asked_for_and_keeps_them(self, executor):
        first = set(executor.map(where, range(20)))
        assert len(first) <= 2
        assert os.getpid() not in first
        assert first & set(executor.map(where, range(20)))
        assert set(executor.map(policy, range(2))) == {os.environ["OMP_WAIT_POLICY"]}

    def test_a_function_is_sent_once(self, executor):
        function = Sizes(torch.arange(9.0))
        assert list(executor.map(function, range(9))) == list(range(9))
        assert list(executor.map(function, range(9))) == list(range(9))
        assert function.sent == 1

    def test_a_process_that_died_between_two_maps_is_replaced(self, executor):
        for pid in set(executor.map(where, range(4))):
            os.kill(pid, signal.SIGKILL)
        assert list(executor.map(float, range(4))) == [0, 1, 2, 3]


def test_leaving_the_block_ends_all_processes(tmp_path):
    with Workers(2, threads=1) as executor:
        pids = set(executor.map(where, range(4)))
        folder = Path(executor._folder.name)
    assert gone(pids)
    assert not folder.exists()


@pytest.mark.parametrize(("stop", "code"), [(signal.SIGINT, 130), (signal.SIGKILL, -signal.SIGKILL)])
def test_no_process_outlives_the_main_one(tmp_path, stop, code):
    """A signal to the whole process group, as a terminal sends it; and one that leaves no time to clean up."""
    process = subprocess.Popen(
        [sys.executable, "-c", FAMILY.format(folder=tmp_path)],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    deadline = time.monotonic() + 60
    while len(list(tmp_path.iterdir())) < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    pids = [int(path.name) for path in tmp_path.iterdir()]
    assert len(pids) == 2
    if stop == signal.SIGINT:
        os.killpg(process.pid, stop)
    else:
        process.kill()
    _, errors = process.communicate(timeout=60)
    assert process.returncode == code
    assert errors == ""
    assert gone(pids)


def test_workers_share_the_threads_of_this_process():
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(4)
        assert (InProcess().threads, Workers(2).threads, Workers(3).threads, Workers(9).threads) == (4, 2, 1, 1)
    finally:
        torch.set_num_threads(before)


def test_which_executor_the_command_line_asks_for():
    assert isinstance(open_executor(), InProcess)
    assert isinstance(open_executor(workers=2), Workers)
    with pytest.raises(EdgesynthError, match="--workers and --ray"):
        open_executor(workers=2, ray="auto")
