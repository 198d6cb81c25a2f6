"""docs/agent.md: its examples are one shell session, which is run here against a real agent."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.agent import api
from tests.agent.models import save_conv
from tests.agent.references import save_reference
from tests.agent.running import RunningAgent
from tests.agent.schemas import SCHEMAS
from tests.needs import need

DOCS = Path(__file__).parents[2] / "docs" / "agent.md"
BLOCKS = re.findall(r"```sh\n(.*?)```", DOCS.read_text(), flags=re.DOTALL)
# As the document has them, and as the test can wait for them.
SHORTER = {
    '"warmup_min_s": 30, "warmup_max_s": 90': '"warmup_min_s": 0, "warmup_max_s": 0.05',
    '"window_s": 10': '"window_s": 0.02',
}


@pytest.fixture(scope="module")
def session(tmp_path_factory):
    """Each command and what it printed."""
    need(
        subprocess.run(["which", "curl"], check=False, stdout=subprocess.PIPE, stderr=subprocess.PIPE).returncode == 0,
        "curl",
    )
    home = tmp_path_factory.mktemp("home")
    save_reference(save_conv(home / "model.onnx"), home / "model.reference.npz")
    save_conv(home / "other.onnx", seed=1)
    script = "\n".join(BLOCKS[1:])
    for slow, fast in SHORTER.items():
        assert slow in script
        script = script.replace(slow, fast)
    marked = re.sub(r"^(?=\S)(?!ask\(\)|field\(\))", "echo '>>>'\n", script, flags=re.MULTILINE)
    with RunningAgent(home):
        done = subprocess.run(
            ["sh", "-eu", "-c", marked.replace("echo '>>>'\nrequest", "request")],
            cwd=home,
            env={"HOME": str(home), "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            universal_newlines=True,
            timeout=120,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    return done.stdout.split(">>>\n"), home


def test_no_example_is_refused(session):
    printed, home = session
    assert len(printed) > 20
    assert not [text for text in printed if '"error": {"what"' in text and '"status": "cancelled"' not in text]
    assert json.loads((home / "openapi.json").read_text()) == json.loads((SCHEMAS / "openapi.json").read_text())
    assert (home / "trace.jsonl.gz").read_bytes()[:2] == b"\x1f\x8b"


def test_they_show_what_the_text_says(session):
    text = "".join(session[0])
    for part in (
        '"status": "done"',
        '"argmax_agreement": 1.0',
        '"reason": "request"',
        "Upload-Offset: 100",
        "edgesynth_agent_busy 0",
    ):
        assert part in text


def test_every_endpoint_is_shown():
    shown = "\n".join(BLOCKS)
    for method, path, _ in api.operations():
        pattern = re.sub(r"\\{\w+\\}", r"\\$\\w+", re.escape(path))
        lines = [line for line in shown.splitlines() if re.search(rf"ask \"?{pattern}(?:[\s\"?]|$)", line)]
        option = {"PUT": r"-X PUT|--upload-file", "DELETE": "-X DELETE", "POST": "-d ", "HEAD": "--head", "GET": ""}
        assert any(re.search(option[method], line) for line in lines), f"{method} {path}"


def test_the_lines_of_the_installation_work(tmp_path):
    lines = BLOCKS[0].splitlines()
    assert len(lines) == 5
    build = Path(__file__).parents[2] / "jetson" / "build_pyz.py"
    subprocess.run(
        [sys.executable, build, "--out", tmp_path / "edgesynth-agent.pyz"],
        check=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    on_the_board = [*lines[2:4], "agent=$!", lines[4], "kill $agent; wait"]
    done = subprocess.run(
        ["sh", "-c", "\n".join(on_the_board)],
        env={"HOME": str(tmp_path), "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        universal_newlines=True,
        timeout=60,
        check=False,
    )
    assert '"status": "ok"' in done.stdout, done.stderr
