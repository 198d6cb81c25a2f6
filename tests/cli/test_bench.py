"""`edgesynth bench`, on files like those of an export."""

import json

import pytest

from edgesynth.cli.main import run
from edgesynth.devices import Schedule, jobs
from tests.agent.models import save_conv
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
