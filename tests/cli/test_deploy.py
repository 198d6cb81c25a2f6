"""`edgesynth deploy` as a user types it, on a folder that plays a device."""

import json

import pytest

from edgesynth.cli import deploy as command
from edgesynth.cli.main import run
from edgesynth.deploy.record import DeployRecord
from tests.deploy.conftest import Board, _own_folders, save_network

__all__ = ["_own_folders"]


@pytest.fixture
def board(tmp_path, monkeypatch):
    made = Board(tmp_path)
    monkeypatch.setattr(command, "open_transport", lambda host, config: made.transport())
    return made


@pytest.fixture
def model(tmp_path):
    return str(save_network(tmp_path / "net.onnx"))


def deploy(model, *options):
    return run(["deploy", model, "--target", "tx2", "--host", "board", "--measure", "none", *options])


def test_deploy_again_roll_back_take_away(board, model, tmp_path, capsys):
    assert deploy(model, "--allow-simulated", "--json") == 0
    out, err = capsys.readouterr()
    record = DeployRecord.model_validate_json(out)
    assert (record.outcome, record.name) == ("deployed", "net")
    assert "activate: " in err

    assert deploy(model, "--allow-simulated") == 0
    assert capsys.readouterr().out.startswith(f"no change: net on board is release {record.release} already")

    save_network(tmp_path / "net.onnx", 0.75)
    assert deploy(model, "--allow-simulated", "--dry-run") == 0
    assert f"is {record.release}" in capsys.readouterr().out
    assert deploy(model, "--allow-simulated") == 0
    assert run(["deploy", "--status", "--host", "board"]) == 0
    assert f"; earlier: {record.release}" in capsys.readouterr().out
    assert run(["deploy", "--rollback", "--host", "board", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["release"] == record.release
    assert run(["deploy", "--rollback", "--host", "board"]) == 1
    assert "no earlier release" in capsys.readouterr().err

    (board.root / "var/lib/edgesynth/models/net/current/model.onnx").write_bytes(b"no")
    assert run(["deploy", "--status", "--host", "board"]) == 1
    assert "damaged: model.onnx: the SHA-256 differs" in capsys.readouterr().out
    assert run(["deploy", "--status", "--host", "board", "--name", "door"]) == 1
    assert "door is not deployed" in capsys.readouterr().out
    assert run(["deploy", "--uninstall", "--host", "board"]) == 0
    assert "removed net, and the agent" in capsys.readouterr().out
    assert run(["deploy", "--status", "--host", "board", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["networks"] == []


def test_what_a_device_says_does_not_steer_the_terminal(board, model, capsys):
    assert deploy(model, "--allow-simulated") == 0
    manifest = board.root / "var/lib/edgesynth/models/net/current/manifest.json"
    document = json.loads(manifest.read_text())
    document["engine"]["version"] = "1\x1b]0;owned\x07"
    manifest.write_text(json.dumps(document))
    capsys.readouterr()
    assert run(["deploy", "--status", "--host", "board"]) == 0
    out = capsys.readouterr().out
    assert "1?]0;owned?" in out
    assert "\x1b" not in out


def test_a_failure_is_one_line_and_a_document(board, model, capsys):
    assert deploy(model, "--json") == 1
    out, err = capsys.readouterr()
    record = DeployRecord.model_validate_json(out)
    assert (record.outcome, record.states[-1].name) == ("failed", "preflight")
    assert record.error in err
    assert err.splitlines()[-1].startswith("edgesynth: board: ")
    assert "Traceback" not in err


def test_a_network_that_the_target_does_not_take_is_refused_first(board, tmp_path, capsys):
    assert deploy(str(save_network(tmp_path / "new.onnx", opset=18)), "--allow-simulated") == 1
    assert "tx2 does not take" in capsys.readouterr().err
    assert not (board.root / "var/lib/edgesynth").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "give --host"),
        (["--host", "-oProxyCommand=sh"], "is no host"),
        (["--host", "board"], "give RUN/NAME or MODEL.onnx, and --target"),
        (["net.onnx", "--host", "board"], "and --target"),
        (["net.onnx", "--host", "board", "--status"], "give --name, not a network"),
        (["--host", "board", "--status", "--uninstall"], "are three things"),
        (["--host", "board", "--uninstall", "--dry-run"], "--dry-run is for deploying a network"),
        (["--host", "board", "--rollback", "--name", ""], "--name is empty"),
        (["--host", "board", "--rollback", "--dry-run"], "--dry-run is for deploying a network"),
        (["net.onnx", "--host", "board", "--target", "tx3"], "unknown target 'tx3'"),
        (["nothing.onnx", "--host", "board", "--target", "tx2"], "there is no such file"),
    ],
)
def test_bad_usage(arguments, words, capsys):
    assert run(["deploy", *arguments]) == 2
    assert words in capsys.readouterr().err


def test_a_name_that_is_none(board, model, capsys):
    assert deploy(model, "--allow-simulated", "--name", "../x") == 2
    assert "is no name of a deployed network" in capsys.readouterr().err
    assert not (board.root / "var/lib/edgesynth/models").exists()
