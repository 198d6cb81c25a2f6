"""`edgesynth synth` and `generate`: bad input costs one line and no data; good input ends in a table and a page."""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from edgesynth.cli.main import run
from edgesynth.prototypes import resnet8
from edgesynth.synthesis.journal import Journal
from tests.needs import need

GOOD = ["--data", "digits", "--prototype", "resnet8", "--require", "macs<=prototype/4"]

BRANCHING = """
import torch
from torch import nn

class Picky(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(8, 8, 3, padding=1)

    def forward(self, x):
        return self.conv(x) if x.mean() > 0 else x

class Net(nn.Module):
    def __init__(self, num_classes):
        super().__init__()
        self.stem = nn.Conv2d(1, 8, 3, padding=1)
        self.body = nn.Conv2d(8, 16, 3, padding=1)
        self.back = nn.Conv2d(16, 8, 3, padding=1)
        self.picky = Picky()
        self.head = nn.Linear(8, num_classes)

    def forward(self, x):
        x = self.picky(self.back(torch.relu(self.body(self.stem(x)))))
        return self.head(x.mean(dim=(2, 3)))

def net(num_classes):
    return Net(num_classes)

def wrong_head():
    return Net(3)

def forked(num_classes):
    class Forked(Net):
        def forward(self, x):
            return super().forward(x if x.mean() > 0 else -x)

    return Forked(num_classes)
"""


@pytest.fixture
def workplace(tmp_path, monkeypatch):
    """An empty current directory, with a module of the user's own."""
    (tmp_path / "own_networks.py").write_text(BRANCHING)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def says(capsys):
    out, err = capsys.readouterr()
    assert out == ""
    assert "Traceback" not in err
    (line,) = err.strip().splitlines()
    return line


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (["--data", "digitz"], ["digitz", "fashion-mnist", "digits"]),
        (["--require", "accuracy>0,93"], ["accuracy>0,93", "does not parse"]),
        (["--require", "accuracy>=0,93"], ["0,93", "decimal point"]),
        (["--require", "accuracy>=93"], ["share in 0..1", "93%"]),
        (["--require", "speed>=1"], ["unknown quantity 'speed'"]),
        (["--require", "latency_ms<=2"], ["needs a target"]),
        (["--require", "latency_ms@tx9<=2"], ["unknown target 'tx9'", "tx2-sim"]),
        (["--target", "tx9"], ["unknown target 'tx9'"]),
        (["--require", "macs>=prototype/2"], ["contradict", "macs<=prototype/4", "macs>=prototype/2"]),
        (["--require", "accuracy>=0.9", "--require", "accuracy<=0.8"], ["contradict"]),
        (["--require", "macs<=10"], ["smallest network"]),
        (["--require", "params>=10M"], ["prototype itself has"]),
        (["--prototype", "resnet9"], ["resnet9", "resnet20"]),
        (["--prototype", "own_networks:absent"], ["absent"]),
        (["--prototype", "own_networks:forked"], ["cannot trace", "in Forked.forward itself", "sub-module"]),
        (["--prototype", "own_networks:wrong_head", "--freeze", "picky"], ["(1, 3)", "10 classes"]),
        (["--freeze", "nowhere"], ["nowhere"]),
        (["--weights", "absent.safetensors"], ["absent.safetensors"]),
        (["--train-images", "20"], ["too few"]),
        (["--workers", "2", "--ray", "auto"], ["--workers", "--ray", "one of them"]),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(change, words, workplace, capsys):
    given = [*GOOD]
    for option, value in zip(change[::2], change[1::2], strict=True):
        if option in given and option != "--require":
            given[given.index(option) + 1] = value
        else:
            given += [option, value]
    assert run(["synth", *given, "--target", "tx2-sim"]) == 2
    line = says(capsys)
    assert all(word in line for word in words), line


def test_energy_on_a_machine_without_a_sensor_cannot_be_promised(workplace, capsys):
    arguments = ["synth", *GOOD, "--require", "inferences_per_joule@host>=2*prototype", "--epochs", "1", "--out", "r"]
    assert run(arguments) == 2
    assert "host cannot tell inferences_per_joule" in capsys.readouterr().err


def test_weights_of_the_wrong_shape_are_named(workplace, capsys):
    weights = resnet8(1, 10).state_dict()
    name = next(iter(weights))
    weights[name] = torch.zeros(7, 7)
    save_file(weights, "wrong.safetensors")
    assert run(["synth", *GOOD, "--weights", "wrong.safetensors"]) == 2
    line = says(capsys)
    assert name in line
    assert "7" in line


def test_a_run_directory_that_is_taken(finished_run, capsys):
    assert run(["synth", *GOOD, "--out", str(finished_run[0])]) == 2
    assert "--resume" in says(capsys)


def test_resuming_with_another_question(finished_run, capsys):
    assert run(["synth", "--resume", "--out", str(finished_run[0]), "--seed", "5"]) == 2
    assert "seed = 0, not 5" in says(capsys)


def test_resuming_with_the_same_requirements_written_with_spaces(finished_run, tmp_path, capsys):
    folder = tmp_path / "run"
    shutil.copytree(finished_run[0], folder)
    spaced = ["--require", " macs <= prototype / 4", "--require", "accuracy>= prototype-0.05"]
    assert run(["synth", "--resume", "--out", str(folder), *spaced]) in (0, 1)
    assert "macs<=prototype/4, accuracy>=prototype-0.05" in capsys.readouterr().out
    assert run(["synth", "--resume", "--out", str(folder), "--require", "macs<=prototype/5"]) == 2
    assert "not macs<=prototype/5" in says(capsys)


def test_resuming_what_is_not_there(workplace, capsys):
    assert run(["synth", "--resume", "--out", "nothing"]) == 2
    assert "no run directory" in says(capsys)


def test_a_run_of_another_version(workplace, capsys):
    import sqlite3

    Journal.create(Path("old")).close()
    connection = sqlite3.connect("old/journal.sqlite")
    connection.execute("PRAGMA user_version=999")
    connection.close()
    assert run(["synth", "--resume", "--out", "old"]) == 2
    assert "another version" in says(capsys)


def test_generate_needs_a_finished_run(workplace, capsys):
    Journal.create(Path("young"), {"data": "digits", "prototype": "resnet8", "requirements": ["macs<=1M"]}).close()
    assert run(["generate", "young"]) == 2
    assert "young is not finished" in says(capsys)


@pytest.mark.parametrize("freeze", [["--freeze", "picky"], []], ids=["frozen", "cannot be traced"])
def test_the_users_own_prototype_with_a_module_that_stays_as_it_is(freeze, workplace, capsys):
    arguments = [
        "--data",
        "digits",
        "--prototype",
        "own_networks:net",
        *freeze,
        "--target",
        "tx2-sim",
        "--count",
        "1",
    ]
    arguments += [
        "--epochs",
        "1",
        "--cycles",
        "1",
        "--require",
        "params<=prototype",
        "--require",
        "accuracy>=0.01",
        "--out",
        "own",
        "--json",
    ]
    assert run(["synth", *arguments]) == 0
    results = json.loads(capsys.readouterr().out)
    # What feeds the frozen module is left alone with it.
    assert [group["name"] for group in results["prototype"]["groups"]] == ["stem", "body"]
    whole = results["prototype"]["whole"]
    assert whole["picky"].startswith("frozen by --freeze" if freeze else "cannot be traced: ")
    assert whole["back"] == "feeds the frozen module 'picky'"
    assert (workplace / "own" / "report.html").is_file()


def test_a_full_disk_is_exit_code_3_and_loses_nothing(tmp_path):
    """On a file system of 1 MB: the prototype's checkpoint does not fit."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = os.geteuid() == 0 and (
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", disk], check=False).returncode == 0
    )
    need(mounted, "root, and a kernel that lets it mount a tmpfs")
    try:
        command = [sys.executable, "-m", "edgesynth", "synth", *GOOD, "--target", "tx2-sim", "--epochs", "2"]
        done = subprocess.run([*command, "--out", disk / "run"], capture_output=True, text=True, check=False)
        assert done.returncode == 3
        assert "No space left on device" in done.stderr.splitlines()[-1]
        assert "Traceback" not in done.stderr
        with Journal.open(disk / "run") as journal:
            assert journal.get("run", "question")["prototype"] == "resnet8"
    finally:
        subprocess.run(["umount", disk], check=True)


def test_a_question_without_an_answer_does_not_stand_in_the_way(workplace, capsys):
    assert run(["synth", *GOOD, "--require", "macs<=10", "--target", "tx2-sim", "--out", "r"]) == 2
    assert "smallest network" in says(capsys)
    with Journal.create(Path("r")) as journal:
        assert journal.all("run") == []


@pytest.mark.parametrize("command", [["synth", *GOOD, "--out", "r"], ["generate", "r"]])
def test_a_ray_cluster_out_of_reach_is_exit_code_3_and_leaves_nothing_behind(command, workplace, capsys):
    need(importlib.util.find_spec("ray"), "ray")
    assert run([*command, "--ray", "127.0.0.1:9"]) == 3
    assert "127.0.0.1:9" in says(capsys)
    assert not Path("r").exists()
