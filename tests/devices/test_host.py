"""The agent as a child of the workstation: it starts, and it never stays behind."""

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from edgesynth.devices import HostAgent
from edgesynth.errors import DeviceError
from tests.agent.models import save_conv
from tests.agent.running import children, gone, until

# A workstation process with an agent that measures: it says so, and then hangs.
HANGING = """
import signal, sys, time
from pathlib import Path
from edgesynth.devices import HostAgent, JobRequest, Schedule
signal.signal(signal.SIGINT, signal.default_int_handler)  # tests in the background inherit that it is ignored
with HostAgent() as client:
    schedule = Schedule(warmup_min_s=0, warmup_max_s=0, windows=5, window_s=60)
    model = client.upload(Path(sys.argv[1]))
    lease = client.lease("test")
    job = client.submit(JobRequest(model=model, target="host", batch=1, limit_s=600, schedule=schedule), lease)
    while client.job(job.id).stage != "measuring":
        time.sleep(0.02)
    print("measuring", flush=True)
    time.sleep(600)
"""


@pytest.fixture(autouse=True)
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary folders go, so that a test sees what is left of them."""
    folder = tmp_path / "t"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr(tempfile, "tempdir", None)
    return folder


def test_it_answers_inside_and_is_gone_afterwards(scratch: Path) -> None:
    with HostAgent() as client:
        assert client.health().status == "ok"
        assert client.device()["python"].startswith(f"{sys.version_info.major}.{sys.version_info.minor}")
        (pid,) = children(os.getpid())
    assert gone(pid)
    assert not list(scratch.iterdir())


def test_an_error_inside_ends_it_too(scratch: Path) -> None:
    with pytest.raises(KeyboardInterrupt), HostAgent():
        (pid,) = children(os.getpid())
        raise KeyboardInterrupt
    assert gone(pid)
    assert not list(scratch.iterdir())


def test_an_agent_that_does_not_start_is_reported_with_what_it_said(
    scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = scratch / ("a" * 100)
    long.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    with pytest.raises(DeviceError, match="longer than the 107 bytes"), HostAgent():
        pass
    assert not children(os.getpid())
    assert not list(long.iterdir())


def test_a_missing_agent_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(DeviceError, match="not installed"), HostAgent():
        pass


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_the_death_of_the_workstation_ends_agent_and_worker(tmp_path: Path, number: signal.Signals) -> None:
    model = save_conv(tmp_path / "conv.onnx")
    command = [sys.executable, "-c", HANGING, str(model)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"measuring\n"
        (agent,) = children(process.pid)
        (worker,) = children(agent)
        process.send_signal(number)
        try:
            process.wait(20)
        finally:
            process.kill()  # or leaving the block would wait for ever
    until(lambda: gone(agent) and gone(worker))
