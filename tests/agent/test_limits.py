"""What the process of a job may use, and that nothing of it is left. Models that ask for more: test_hostile.py."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from edgesynth_agent.limits import JobLimits, default_memory_mib

from tests.agent.models import save_conv
from tests.agent.running import RunningAgent, children, gone, job_request, until

SPAWN = """
import subprocess
with open("/proc/self/cmdline", "rb") as file:
    if file.read().split(b"\\0")[-2] == b"worker":
        subprocess.Popen(["sleep", "1000"], stdin=subprocess.DEVNULL)
"""


def run_in_child(code, *arguments):
    command = [sys.executable, "-c", "import sys, os, json\nfrom edgesynth_agent.limits import *\n" + code, *arguments]
    return subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, universal_newlines=True, timeout=60, check=False
    )


def limited(limits, code):
    return run_in_child(f"apply_limits(JobLimits(**json.loads(sys.argv[1])), os.getppid())\n{code}", json.dumps(limits))


def test_memory_is_bounded_for_the_process_and_its_children():
    code = "import subprocess\nsys.exit(subprocess.call([sys.executable, '-c', 'x = bytearray(400 * 1024 * 1024)']))"
    unlimited = {"memory_mib": None, "cpu_s": None, "file_mib": None}
    assert limited(unlimited, code).returncode == 0
    done = limited({**unlimited, "memory_mib": 200}, code)
    assert done.returncode == 1
    assert "MemoryError" in done.stderr


def test_processor_time_and_files_are_bounded(tmp_path):
    unlimited = {"memory_mib": None, "cpu_s": None, "file_mib": None}
    assert limited({**unlimited, "cpu_s": 1}, "while True: pass").returncode in (-24, -9)  # SIGXCPU, SIGKILL
    write = f"open({str(tmp_path / 'x')!r}, 'wb').write(bytes(2 * 1024 * 1024))"
    assert "File too large" in limited({**unlimited, "file_mib": 1}, write).stderr
    assert (tmp_path / "x").stat().st_size <= 1024 * 1024


def test_a_job_is_the_first_to_go_when_memory_runs_out_and_leaves_no_core():
    unlimited = {"memory_mib": None, "cpu_s": None, "file_mib": None}
    code = "import resource\nprint(open('/proc/self/oom_score_adj').read().strip(), resource.getrlimit(4))"
    assert limited(unlimited, code).stdout == "1000 (0, 0)\n"


def test_a_process_whose_parent_is_gone_already_ends():
    done = run_in_child("apply_limits(JobLimits(None, None, None), os.getppid() + 1)\nprint('still here')")
    assert (done.returncode, done.stdout) == (1, "")


def test_the_usual_limit_leaves_memory_to_others():
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1024**2
    assert 0.7 * total < default_memory_mib() < 0.8 * total
    assert set(JobLimits(1, 2, 3).document()) == {"memory_mib", "cpu_s", "file_mib"}


@pytest.mark.parametrize("how", ["cancel", "done"])
def test_what_a_job_started_ends_with_it(tmp_path, monkeypatch, how):
    (tmp_path / "sitecustomize.py").write_text(SPAWN)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]))
    with RunningAgent(tmp_path) as agent:
        model = agent.upload(save_conv(tmp_path / "conv.onnx"))
        job_id = agent.submit(job_request(model, window_s=10 if how == "cancel" else 0.3))
        pid = agent.measuring(job_id)
        (sleeper,) = children(pid)
        assert b"sleep" in Path(f"/proc/{sleeper}/cmdline").read_bytes()
        if how == "cancel":
            agent.ask("DELETE", f"/v1/jobs/{job_id}")
        assert agent.ended(job_id)["status"] == {"cancel": "cancelled", "done": "done"}[how]
        until(lambda: gone(sleeper))
