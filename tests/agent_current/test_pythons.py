"""The Pythons that the agent's tests run under: each has its pins, and one that is missing is named."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PINS = ROOT / "tests" / "agent" / "requirements"


def test_each_has_its_pins():
    (versions,) = re.findall(r"^AGENT_PYTHONS := (.+)$", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
    assert {path.stem for path in PINS.iterdir()} == set(versions.split()) >= {"3.6", "3.8", "3.10"}
    for path in PINS.iterdir():
        lines = [line for line in path.read_text().splitlines() if not line.startswith("#")]
        assert all(re.fullmatch(r"[\w-]+==[\w.]+", line) for line in lines)
    assert {"numpy==1.19.5", "onnxruntime==1.10.0"} <= set((PINS / "3.6.txt").read_text().splitlines())


@pytest.mark.parametrize(("environment", "code", "word"), [({}, 0, "SKIPPED"), ({"CI": "true"}, 1, "FAILED")])
def test_one_that_is_missing_is_named_and_in_ci_a_failure(tmp_path, environment, code, word):
    done = subprocess.run(
        [ROOT / "scripts" / "test-agent-under", "3.0"],
        env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "EDGESYNTH_PYTHON": "/usr/bin/python3", **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == code
    assert word in done.stderr
    assert "Python 3.0, which the agent speaks: in pyenv, on the PATH, or named by EDGESYNTH_PYTHON" in done.stderr
