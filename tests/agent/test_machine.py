"""Agents of one machine measure one at a time, each with a store of its own."""

import subprocess
import sys

import pytest
from edgesynth_agent.errors import StorageError
from edgesynth_agent.machine import Machine

from tests.agent.models import save_conv
from tests.agent.running import RunningAgent, children, job_request, until

WAITING = "waiting for another agent of this machine"


class TestMachine:
    def test_one_has_it_at_a_time(self, tmp_path):
        first, second = Machine(str(tmp_path)), Machine(str(tmp_path))
        assert first.take()
        assert not second.take()
        first.release()
        assert second.take()
        assert not first.take()
        assert not list(tmp_path.iterdir())

    def test_other_folders_are_other_machines(self, tmp_path):
        (tmp_path / "other").mkdir()
        assert Machine(str(tmp_path)).take()
        assert Machine(str(tmp_path / "other")).take()

    def test_one_that_may_only_be_read_will_do(self, tmp_path):
        folder = tmp_path / "run"
        folder.mkdir(mode=0o555)
        assert Machine(str(folder)).take()

    def test_one_that_is_not_there_is_told(self, tmp_path):
        with pytest.raises(StorageError, match="give another --runtime"):
            Machine(str(tmp_path / "none"))


@pytest.fixture
def agents(tmp_path):
    """Two that run on one machine."""
    (tmp_path / "run").mkdir()
    for name in "ab":
        (tmp_path / name).mkdir()
    options = ("--runtime", str(tmp_path / "run"))
    with RunningAgent(tmp_path / "a", *options) as a, RunningAgent(tmp_path / "b", *options) as b:
        yield a, b


@pytest.fixture
def first(agents, tmp_path):
    """The job that the first of them runs."""
    job_id = agents[0].submit(job_request(agents[0].upload(save_conv(tmp_path / "conv.onnx")), window_s=10))
    agents[0].measuring(job_id)
    return job_id


@pytest.fixture
def second(agents, first, tmp_path):
    """The job that the second of them was given meanwhile."""
    job_id = agents[1].submit(job_request(agents[1].upload(tmp_path / "conv.onnx")))
    until(lambda: agents[1].job(job_id)["stage"] == WAITING)
    assert children(agents[1].process.pid) == []
    return job_id


@pytest.mark.parametrize("end", ["cancel", "kill"])
def test_the_second_waits_for_the_end_of_the_first(agents, first, second, end):
    if end == "cancel":
        assert agents[0].ask("DELETE", f"/v1/jobs/{first}")[0] == 200
    else:
        agents[0].process.kill()
    job = agents[1].ended(second)
    assert job["status"] == "done", job["error"]


def test_one_that_waits_can_be_cancelled(agents, first, second):
    job = agents[1].ask("DELETE", f"/v1/jobs/{second}")[1]
    assert (job["status"], job["reason"]) == ("cancelled", "request")
    assert agents[0].job(first)["status"] == "running"


def test_a_runtime_folder_that_is_none_is_one_sentence(tmp_path):
    command = [sys.executable, "-m", "edgesynth_agent", "serve", "--socket", str(tmp_path / "s"), "--store"]
    done = subprocess.run(
        [*command, str(tmp_path / "store"), "--runtime", str(tmp_path / "none")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        universal_newlines=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 3
    assert done.stderr.count("\n") == 1
    assert "give another --runtime" in done.stderr
