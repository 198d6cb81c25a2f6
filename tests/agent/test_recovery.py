"""What an agent finds in its store when it starts: left by one that was killed, by a power cut, or by somebody else."""

import os
import shutil
import subprocess
import sys

import pytest

from tests.agent.models import save_conv
from tests.agent.running import RunningAgent, job_request


@pytest.fixture(scope="module")
def left(tmp_path_factory):
    """(folder, id of the job that was done there): an agent's, which has ended."""
    folder = tmp_path_factory.mktemp("left")
    with RunningAgent(folder) as agent:
        job = agent.ended(agent.submit(job_request(agent.upload(save_conv(folder / "conv.onnx")))))
    assert job["trace_bytes"]
    return folder, job["id"]


@pytest.fixture
def folder(left, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(str(left[0]), str(copy))
    return copy


@pytest.fixture
def job_id(left):
    return left[1]


def refused(folder):
    """What is said by an agent that does not start."""
    command = [sys.executable, "-m", "edgesynth_agent", "serve"]
    done = subprocess.run(
        [*command, "--socket", str(folder / "agent.sock"), "--store", str(folder / "models")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        check=False,
        timeout=60,
    )
    assert done.returncode not in (0, 1)
    assert done.stderr.count(b"\n") == 1
    return done.stderr.decode()


def test_a_trace_that_is_gone_is_told_and_the_job_is_kept(folder, job_id):
    (folder / "models" / "traces" / (job_id + ".jsonl.gz")).unlink()
    with RunningAgent(folder) as agent:
        job = agent.job(job_id)
        assert (job["status"], job["trace_bytes"]) == ("done", None)
        assert job["result"]["latency_ms"]
        assert agent.ask("GET", f"/v1/jobs/{job_id}/trace")[0] == 404


def test_a_trace_that_vanishes_while_it_is_asked_for_is_an_answer_too(folder, job_id):
    with RunningAgent(folder) as agent:
        (folder / "models" / "traces" / (job_id + ".jsonl.gz")).unlink()
        status, document = agent.ask("GET", f"/v1/jobs/{job_id}/trace")
        assert (status, document["error"]["what"]) == (404, "it cannot be read: No such file or directory")


def test_what_is_of_no_job_goes_and_a_folder_of_somebody_stays(folder, job_id):
    traces = folder / "models" / "traces"
    (traces / "lost+found").mkdir()
    (traces / "000000000000.jsonl.gz").write_bytes(b"")
    (traces / (job_id + ".jsonl.gz.partial")).write_bytes(b"half")
    (traces / "111111111111.jsonl.gz").symlink_to("/etc/passwd")
    with RunningAgent(folder) as agent:
        assert {path.name for path in traces.iterdir()} == {"lost+found", job_id + ".jsonl.gz"}
        assert agent.exchange("GET", f"/v1/jobs/{job_id}/trace")[0] == 200


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"x" * len(data),
        lambda data: data[:6000],
        lambda data: data[:4096] + os.urandom(len(data) - 4096),
    ],
    ids=["no database", "cut off", "random pages"],
)
def test_a_damaged_job_store_is_moved_aside_and_the_device_comes_up(folder, job_id, damage):
    path, aside = folder / "models" / "jobs.sqlite", folder / "models" / "jobs.sqlite.damaged-1"
    path.write_bytes(damage(path.read_bytes()))
    before = path.read_bytes()
    with RunningAgent(folder) as agent:
        assert agent.ask("GET", f"/v1/jobs/{job_id}")[0] == 404
        assert (folder / "models" / "traces" / (job_id + ".jsonl.gz")).exists()
        model = agent.upload(folder / "conv.onnx")
        again = agent.ended(agent.submit(job_request(model)))["id"]
        (warning,) = agent.ask("GET", "/v1/health")[1]["warnings"]
        assert str(aside) in warning
        assert b"\nedgesynth_agent_damaged_job_stores 1\n" in agent.exchange("GET", "/metrics")[2]
        agent.process.terminate()
        assert f"the job store was damaged: it is {aside} now" in agent.process.stderr.read().decode()
    assert aside.read_bytes() == before
    with RunningAgent(folder) as agent:
        assert agent.job(again)["status"] == "done"
        assert len(agent.ask("GET", "/v1/health")[1]["warnings"]) == 1
    aside.unlink()
    with RunningAgent(folder) as agent:
        assert agent.ask("GET", "/v1/health")[1]["warnings"] == []


def test_a_log_of_changes_that_is_damaged_is_no_harm(folder, job_id):
    """A power cut in the middle of a write to it."""
    (folder / "models" / "jobs.sqlite-wal").write_bytes(os.urandom(5000))
    with RunningAgent(folder) as agent:
        assert agent.job(job_id)["status"] == "done"


def test_a_store_that_anybody_may_write_to_is_refused(folder):
    (folder / "models").chmod(0o777)
    assert "anybody may write to it" in refused(folder)
    (folder / "models").chmod(0o775)
    with RunningAgent(folder) as agent:
        assert agent.ask("GET", "/v1/health")[0] == 200
