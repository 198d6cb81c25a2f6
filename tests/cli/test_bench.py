"""`edgesynth bench`, on files like those of an export."""

import json

import pytest

from edgesynth.cli.main import run
from edgesynth.devices import Schedule, jobs
from tests.agent.models import save_conv
from tests.devices.played import played_tx2
from tests.devices.references import IMAGES, save_reference


@pytest.fixture(autouse=True)
def short(monkeypatch):
    schedule = Schedule(warmup_min_s=0, warmup_max_s=0.05, windows=3, window_s=0.02)
    for name in ("QUICK_HOST", "QUICK_METERED"):
        monkeypatch.setattr(jobs, name, schedule)


@pytest.fixture
def model(tmp_path):
    return save_conv(tmp_path / "net.onnx")


def bench(capsys, model, *options):
    code = run(["bench", str(model), *options])
    return code, *capsys.readouterr()


def test_outputs_are_compared_with_the_reference_that_lies_beside(model, capsys):
    save_reference(model, model.with_suffix(".reference.npz"))
    code, out, err = bench(capsys, model, "--json", "--engine", "onnxruntime", "--precision", "fp32", "--batch", "2")
    record = json.loads(out)
    assert (code, err) == (0, "")
    assert (record["engine"]["backend"], record["engine"]["batch"]) == ("onnxruntime", 2)
    assert (record["reference"]["images"], record["reference"]["passed"]) == (IMAGES, True)
    code, out, _ = bench(capsys, model)
    assert code == 0
    assert f"same answer on 100.00% of {IMAGES} images" in out


def test_another_reference_may_be_named_and_one_that_does_not_fit_is_told(model, capsys, tmp_path):
    save_reference(model, model.with_suffix(".reference.npz"), digest="b" * 64)
    code, out, err = bench(capsys, model, "--json")
    assert (code, json.loads(out)["reference"]) == (0, None)
    assert err == "not compared with net.reference.npz: it is of another file\n"
    wrong = save_reference(model, tmp_path / "wrong.npz", error=0.5)
    code, out, err = bench(capsys, model, "--reference", str(wrong))
    assert (code, out) == (3, "")
    assert "differs from the reference by up to 0.5" in err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--precision", "int8", "--engine", "onnxruntime"], "runs the file as it is, in fp32"),
        (["--engine", "tensorrt"], "tensorrt"),
        (["--reference", "missing.npz"], "missing.npz"),
    ],
)
def test_what_cannot_be_had_is_one_line(model, capsys, options, said):
    code, out, err = bench(capsys, model, *options)
    assert code in (2, 3)
    assert out == ""
    assert said in err
    assert err.count("\n") == 1


def test_a_word_that_is_no_precision_is_bad_usage(model, capsys):
    assert bench(capsys, model, "--precision", "int4")[0] == 2


def test_two_networks_in_turns(model, capsys, tmp_path):
    other = save_conv(tmp_path / "large.onnx", size=64)
    code, out, err = bench(capsys, model, "--compare", str(other), "--rounds", "2", "--json")
    document = json.loads(out)
    assert (code, document["schema"], len(document["rounds"])) == (0, "edgesynth.comparison/1", 2)
    assert document["ratios"]["latency_ms"]["ratio"] > 1
    assert document["ratios"]["energy_mj"] is None
    assert err.splitlines() == ["round 1 of 2", "round 2 of 2"]
    code, out, _ = bench(capsys, model, "--compare", str(other), "--rounds", "2")
    assert code == 0
    assert "2 rounds, measured" in out
    assert "energy_mj cannot be compared" in out


def test_a_board_by_its_address(model, capsys, tmp_path):
    with played_tx2(tmp_path / "board"):
        code, out, _ = bench(capsys, model, "--target", f"tx2@unix://{tmp_path}/board/agent.sock", "--json")
    record = json.loads(out)
    assert (code, record["target"], record["source"]) == (0, "tx2", "simulated")


@pytest.mark.parametrize(
    ("target", "code", "said"),
    [
        ("tx2", 2, "say where it is"),
        ("tx2-sim", 2, "ask edgesynth estimate"),
        ("tx2@unix:///nowhere/agent.sock", 3, "tx2@unix:///nowhere/agent.sock"),
    ],
)
def test_who_cannot_be_asked(model, capsys, target, code, said):
    assert bench(capsys, model, "--target", target)[0] == code
    _, _, err = bench(capsys, model, "--target", target)
    assert said in err
    assert err.count("\n") == 1
