"""The README's commands are executed, on a copy of a small finished run in the place of `runs/demo`."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.torch import save_file

from edgesynth.prototypes import resnet8

README = (Path(__file__).parent.parent / "README.md").read_text()
CODE = "\n".join(re.findall(r"```sh\n(.*?)```", README, flags=re.DOTALL)).replace("\\\n", " ")
LINES = [line.split(" #")[0].strip() for line in CODE.splitlines()]
COMMANDS = [line for line in LINES if line.startswith("edgesynth ")]


@pytest.fixture(scope="module")
def workplace(finished_run, tmp_path_factory):
    """A folder with what the README speaks of: a demo run, a network of the user's, its weights, images by class."""
    folder = tmp_path_factory.mktemp("readme")
    run = folder / "runs" / "demo"
    shutil.copytree(finished_run[0], run)
    _write_images(folder / "path" / "to" / "images")
    (folder / "package").mkdir()
    (folder / "package" / "module.py").write_text("from edgesynth.prototypes import resnet8 as function\n")
    save_file(resnet8(1, 2).state_dict(), folder / "trained.safetensors")
    return folder


def _write_images(folder):
    """Two classes, bright left and bright right, 8x8 grey."""
    random = np.random.default_rng(0)
    for label, half in (("left", slice(0, 4)), ("right", slice(4, 8))):
        (folder / label).mkdir(parents=True)
        for number in range(40):
            pixels = random.integers(0, 99, (8, 8), dtype=np.uint8)
            pixels[:, half] += 150
            Image.fromarray(pixels).save(folder / label / f"{number}.png")


def test_there_are_commands_to_run():
    assert len(COMMANDS) >= 4
    assert [line for line in LINES if line.startswith("make ")] == ["make demo", "make test"]


@pytest.mark.parametrize("command", COMMANDS)
def test_command(command, workplace, finished_run):
    # The same command, on less: training is not what is being tested here.
    if command.startswith("edgesynth synth"):
        command += " --epochs 1 --cycles 1 --target tx2-sim --out runs/readme"
    if command.startswith("edgesynth generate") and "--genomes" not in command:
        command += " --epochs 0"
    # The README's network is one of its demo's, this run has others.
    command = re.sub(r"fermi-[0-9a-f]{12}", finished_run[1].networks[0].name, command)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "XDG_DATA_HOME": str(workplace / "data")}
    done = subprocess.run(
        shlex.split(command), cwd=workplace, env=environment, capture_output=True, text=True, check=False
    )
    # 1 is an answer too: so little training need not meet any requirement.
    assert done.returncode in (0, 1), done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout
