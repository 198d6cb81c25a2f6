"""`edgesynth check` as a user types it: answers on stdout, exit codes, one line for bad input."""

import json

import pytest

from edgesynth.cli.main import run
from tests.exporters.models import FLOAT, node, save, value, weight


@pytest.fixture
def good(tmp_path):
    return save(tmp_path / "good.onnx", [node("Conv", ["x", "w"], ["y"])], weights=[weight("w", [8, 8, 3, 3])])


@pytest.fixture
def bad(tmp_path):
    nodes = [node("NonZero", ["x"], ["i"], name="where"), node("Cast", ["i"], ["y"], to=FLOAT)]
    return save(tmp_path / "bad.onnx", nodes)


def test_yes_is_0_and_no_is_1(good, bad, capsys):
    assert run(["check", str(good), "--target", "tx2-sim"]) == 0
    assert capsys.readouterr().out.startswith("good.onnx on tx2-sim (TensorRT 8.2.1, opset 13, fp32): acceptable\n")
    assert run(["check", str(bad), "--target", "tx2-sim"]) == 1
    out, err = capsys.readouterr()
    assert "NonZero: is not supported by TensorRT 8.2" in out
    assert "node   where" in out
    assert err == ""


def test_json_is_one_document(bad, capsys):
    assert run(["check", str(bad), "--target", "tx2-sim", "--precision", "fp16", "--json"]) == 1
    out, err = capsys.readouterr()
    document = json.loads(out)
    assert (document["schema"], document["verdict"], document["precision"]) == (
        "edgesynth.check/1",
        "refused",
        "fp16",
    )
    assert [(f["node"], f["rule"]) for f in document["findings"] if f["severity"] == "error"] == [("where", "operator")]
    assert err == ""


def test_int8_of_a_tx2_is_refused_with_the_reason(good, capsys):
    assert run(["check", str(good), "--target", "tx2", "--precision", "int8"]) == 1
    assert "compute capability 6.2 has no INT8 arithmetic" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["absent.onnx", "--target", "tx2-sim"], "absent.onnx: no such file"),
        (["README.md", "--target", "tx2-sim"], "not an ONNX file"),
        (["GOOD", "--target", "tx9"], "unknown target 'tx9'"),
        (["GOOD", "--target", "tx2-sim", "--precision", "fp4"], "unknown precision 'fp4': use fp32, fp16, int8"),
    ],
)
def test_bad_input_is_one_line_and_2(arguments, says, good, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "README.md").write_text("# a text\n" * 50)
    before = sorted(tmp_path.iterdir())
    assert run(["check", *(str(good) if argument == "GOOD" else argument for argument in arguments)]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert says in err
    assert err.count("\n") == 1
    assert sorted(tmp_path.iterdir()) == before


def test_a_target_is_needed(good, capsys):
    assert run(["check", str(good)]) == 2
    assert "--target" in capsys.readouterr().err


def test_a_free_batch_is_refused_as_the_builder_does_with_what_to_do(tmp_path, capsys):
    path = save(tmp_path / "m.onnx", [node("Relu", ["x"], ["y"])], [value("x", FLOAT, ["batch", 8])])
    assert run(["check", str(path), "--target", "tx2"]) == 1
    out = capsys.readouterr().out
    assert "the batch of input 'x' is free" in out
    assert "do     export with fixed sizes" in out
    assert run(["check", str(path), "--target", "host"]) == 0
