"""tegrastats as a child: what it says is stamped here, and it is ended by its process id."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from edgesynth_agent.clock import MonotonicClock
from edgesynth_agent.power.tegrastats import TegrastatsPower

from tests.agent.fake_tegrastats import write_tegrastats
from tests.agent.running import children, gone, until

TX2 = "RAM 2344/7852MB CPU [1%@345,off] VDD_SYS_GPU 152/152 VDD_IN {}/9999 VDD_SYS_CPU 152/152"


@pytest.fixture
def script(tmp_path):
    return lambda line=TX2, **how: str(write_tegrastats(tmp_path / "tegrastats", line, **how))


def trace(path, seconds=0.3):
    source = TegrastatsPower(MonotonicClock(), path)
    source.start()
    time.sleep(seconds)
    return source.stop(), source


def test_the_first_number_of_the_input_rail_counts(script):
    seen, source = trace(script())
    assert seen.invalid is None
    assert len(seen.samples) >= 3
    assert {power_w for _, power_w in seen.samples} <= {3.056 + 0.001 * index for index in range(7)}
    assert source.facts()["total_rule"] == "VDD_IN"


def test_its_interval_is_given_and_nothing_is_stopped_by_name(script):
    path = script()
    trace(path)
    assert Path(path + ".calls").read_text() == "--interval 53\n"


def test_the_child_is_gone_after_stop(script):
    source = TegrastatsPower(MonotonicClock(), script())
    source.start()
    (pid,) = until(lambda: [pid for pid in children(os.getpid()) if b"tegrastats" in _command(pid)])
    source.stop()
    assert gone(pid)


def test_a_child_that_ignores_sigterm_is_killed(tmp_path, monkeypatch):
    monkeypatch.setattr("edgesynth_agent.power.tegrastats._END_LIMIT_S", 0.2)
    path = tmp_path / "tegrastats"
    path.write_text("#!/bin/sh\ntrap '' TERM\necho 'VDD_IN 5000/5000'\nexec sleep 60\n")
    path.chmod(0o755)
    seen, _ = trace(str(path), 0.2)
    assert not [pid for pid in children(os.getpid()) if b"sleep" in _command(pid)]
    assert len(seen.samples) == 1


def test_lines_without_rails_are_a_reason_not_zero(script):
    seen, _ = trace(script("RAM 1/2MB CPU [0%@729] GR3D_FREQ 0%"))
    assert seen.samples == []
    assert "there are no power rails" in seen.invalid


def test_an_end_of_its_own_is_a_reason(script):
    seen, _ = trace(script(lines=3, interval_s=0.001, code=7))
    assert "ended by itself, with exit code 7" in seen.invalid


def test_a_program_that_does_not_start_is_a_reason(tmp_path):
    seen, _ = trace(str(tmp_path / "nowhere"), 0.0)
    assert "does not start: No such file" in seen.invalid


def test_rails_that_never_move_are_stuck(script, monkeypatch):
    monkeypatch.setattr("edgesynth_agent.power.readings._STUCK_S", 0.2)
    monkeypatch.setattr("edgesynth_agent.power.readings._STUCK_READINGS", 10)
    seen, _ = trace(script("VDD_IN 3056/3056"), 0.8)
    assert "stuck" in seen.invalid


def test_a_source_that_is_started_again_begins_anew(script):
    source = TegrastatsPower(MonotonicClock(), script())
    for _ in range(2):
        begin_s = time.monotonic()
        source.start()
        time.sleep(0.2)
        seen = source.stop()
        assert seen.samples
        assert all(begin_s <= time_s <= time.monotonic() for time_s, _ in seen.samples)


def test_it_dies_with_whoever_reads_it(script):
    """A worker of the agent may be killed: its child then finds the pipe broken at its next line."""
    code = (
        "import sys, time; from edgesynth_agent.clock import MonotonicClock;"
        "from edgesynth_agent.power.tegrastats import TegrastatsPower;"
        "TegrastatsPower(MonotonicClock(), sys.argv[1]).start(); time.sleep(60)"
    )
    worker = subprocess.Popen([sys.executable, "-c", code, script()])
    (pid,) = until(lambda: [pid for pid in children(worker.pid) if b"tegrastats" in _command(pid)])
    worker.kill()
    worker.wait()
    assert until(lambda: gone(pid))


def _command(pid):
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""
