"""OUT.failed: a script that repeats the step that failed, and what it may take the place of."""

import os
import re
from dataclasses import replace

import numpy as np
import onnx
import onnxslim
import pytest
import torch
from edgesynth_exporters import failed as failed_module
from edgesynth_exporters import steps
from edgesynth_exporters.errors import ExportError, IncompatibleError, ParityError
from edgesynth_exporters.pipeline import export_network
from edgesynth_exporters.subject import Order
from edgesynth_exporters.targets import find_target
from safetensors.torch import load_file

from tests.exporters.exports import (
    HERE,
    IMAGES,
    Folding,
    Pretending,
    Sampling,
    doubtful,
    left,
    order,
    reproduced,
    subject,
)

ALWAYS = {".edgesynth-export", "reproduce.py", "export.log"}


@pytest.mark.parametrize(
    ("kind", "error", "step", "what", "files"),
    [
        (Folding, IncompatibleError, "export", "torch cannot write its operator 'fft_fft'",
         {"images.npy", "weights.safetensors"}),
        (Pretending, ParityError, "parity", "output 'output' differs from PyTorch's by up to 1, and 0.0001 is allowed",
         {"images.npy", "answers.npz", "simplified.onnx"}),
    ],
)  # fmt: skip
def test_a_step_that_fails_leaves_a_script_that_repeats_it(tmp_path, kind, error, step, what, files):
    torch.manual_seed(1)
    export_network(subject(), order(tmp_path))
    older = left(tmp_path)
    failed = tmp_path / "m.onnx.failed"
    with pytest.raises(error, match=f"{what}.*; repeat it: python {failed}/reproduce.py") as caught:
        export_network(subject(module=kind(), code=HERE.format(kind=kind.__name__)), order(tmp_path, command="asked"))
    assert len(str(caught.value).splitlines()) == 1
    found = left(tmp_path)
    assert older.items() <= found.items()
    assert found.keys() - older.keys() == {f"m.onnx.failed/{name}" for name in ALWAYS | files}
    log = found["m.onnx.failed/export.log"].decode()
    assert log.startswith(f"asked\nfailed in the step: {step}\n")
    assert "Traceback" in log
    assert f"torch {torch.__version__.split('+')[0]}" in log
    code, lines = reproduced(failed)
    assert code == 1
    assert re.search(what, lines[-1])


def repeats(folder, error):
    """Whether the script ends in that error."""
    code, lines = reproduced(folder)
    said = str(error.value).partition("; repeat it")[0]
    return code == 1 and lines[-1].endswith(f"{type(error.value).__name__}: {said}")


def test_the_cost_of_a_precision_is_repeated(tmp_path):
    with pytest.raises(IncompatibleError, match="fp16 costs net") as error:
        export_network(doubtful(), order(tmp_path, precision="fp16"))
    assert repeats(tmp_path / "m.onnx.failed", error)


def test_a_file_with_casts_that_computes_otherwise_is_repeated(tmp_path, monkeypatch):
    real = steps.cast_to_fp16

    def wrong(model):
        other = onnx.ModelProto()
        other.CopyFrom(model)
        for tensor in other.graph.initializer:
            if tensor.data_type == onnx.TensorProto.FLOAT:
                tensor.CopyFrom(onnx.numpy_helper.from_array(3 * onnx.numpy_helper.to_array(tensor), tensor.name))
        return real(other)

    monkeypatch.setattr(steps, "cast_to_fp16", wrong)
    with pytest.raises(ParityError, match="of the file with casts differs") as error:
        target = replace(find_target("thor"), tensorrt="11.1")
        export_network(subject(), Order(target, "fp16", "onnx", tmp_path / "m.onnx"))
    assert repeats(tmp_path / "m.onnx.failed", error)


def test_so_much_is_kept_and_no_more(tmp_path, monkeypatch):
    monkeypatch.setattr(failed_module, "KEPT_BYTES", 20 * IMAGES[0].nbytes)
    with pytest.raises(ParityError):
        export_network(subject(module=Pretending()), order(tmp_path))
    kept = np.load(tmp_path / "m.onnx.failed" / "images.npy")
    assert 1 < len(kept) < 20
    with np.load(tmp_path / "m.onnx.failed" / "answers.npz") as answers:
        assert len(answers["output"]) == len(kept)
    assert "the first of 256" in (tmp_path / "m.onnx.failed" / "reproduce.py").read_text()
    assert reproduced(tmp_path / "m.onnx.failed")[0] == 1


def refused(folder):
    """What is said of a network that torch cannot write."""
    with pytest.raises(IncompatibleError) as error:
        export_network(subject(module=Folding()), order(folder))
    assert str(error.value).startswith("tx2 does not take net: torch cannot write its operator")
    return str(error.value)


def test_weights_are_those_of_the_network_that_failed(tmp_path):
    torch.manual_seed(2)
    module = Folding()
    with pytest.raises(IncompatibleError):
        export_network(subject(module=module), order(tmp_path))
    found = load_file(tmp_path / "m.onnx.failed" / "weights.safetensors")
    assert all(torch.equal(found[name], tensor) for name, tensor in module.state_dict().items())


def fail(*_, **__):
    raise IndexError("out of range")


@pytest.mark.parametrize(
    ("step", "precision", "broken"),
    [
        ("simplify", "fp32", (onnxslim, "slim")),
        ("fp16", "fp16", (steps, "cast_to_fp16")),
        ("int8", "int8", (steps, "calibrate")),
    ],
)
def test_scripts_of_the_steps_in_between_run(tmp_path, monkeypatch, step, precision, broken):
    """What breaks a step here is not there when the script runs: it then ends well, with the next file."""

    def refuse(*_, **__):
        raise ExportError("a tool failed")

    monkeypatch.setattr(*broken, fail if step == "simplify" else refuse)
    with pytest.raises(ExportError, match=r"repeat it: python .*reproduce\.py"):
        export_network(subject(calibration=IMAGES[:8]), order(tmp_path, "orin-nano", precision))
    failed = tmp_path / "m.onnx.failed"
    before = set(failed.iterdir())
    assert reproduced(failed) == (0, [])
    (made,) = set(failed.iterdir()) - before
    assert made.name == {"simplify": "simplified.onnx"}.get(step, f"{step}.onnx")
    onnx.checker.check_model(onnx.load(made), full_check=True)


def test_what_the_target_does_not_take_is_a_no_that_names_the_node(tmp_path):
    given = subject(module=Sampling(), code=HERE.format(kind="Sampling"))
    old = find_target("tx2")
    # Opset 13 has no GridSample, so the exporter refuses it first; a later opset brings it as far as the check.

    asked = Order(replace(old, opset=16), "fp32", "onnx", tmp_path / "m.onnx")
    with pytest.raises(IncompatibleError, match="tx2 does not take net: ") as error:
        export_network(given, asked)
    assert error.value.exit_code == 1
    assert "; repeat it: python " in str(error.value)
    code, lines = reproduced(tmp_path / "m.onnx.failed")
    assert code == 1
    assert any("GridSample" in line for line in lines)


@pytest.mark.parametrize("kind", ["file", "folder", "script", "link", "marked link", "dangling link", "pipe"])
def test_what_is_no_exports_stays_and_hides_nothing(tmp_path, kind):
    taken, elsewhere = tmp_path / "m.onnx.failed", tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "notes.txt").write_text("mine")
    if kind == "file":
        taken.write_text("mine")
    elif kind in ("folder", "script"):
        taken.mkdir()
        (taken / ("reproduce.py" if kind == "script" else "notes.txt")).write_text("mine")
    elif kind == "pipe":
        os.mkfifo(taken)
    else:
        taken.symlink_to(tmp_path / "nowhere" if kind == "dangling link" else elsewhere)
        if kind == "marked link":
            (elsewhere / ".edgesynth-export").write_text("")
    before, mode = left(tmp_path), taken.lstat().st_mode
    said = refused(tmp_path)
    assert said.endswith(f"; no script that repeats it could be left: {taken} is there and is not of an export")
    assert (left(tmp_path), taken.lstat().st_mode) == (before, mode)
    assert not (tmp_path / "nowhere").exists()
    export_network(subject(), order(tmp_path))
    assert before.items() <= left(tmp_path).items()
    assert taken.lstat().st_mode == mode


def test_what_an_earlier_export_left_makes_room(tmp_path):
    refused(tmp_path)
    older = tmp_path / "m.onnx.failed" / "older"
    older.write_text("")
    assert refused(tmp_path).endswith("reproduce.py")
    assert not older.exists()
    assert [path.name for path in tmp_path.iterdir()] == ["m.onnx.failed"]


def test_a_full_disk_does_not_hide_why_the_export_failed(tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "save", full)
    assert refused(tmp_path).endswith("; no script that repeats it could be left: No space left on device")
    assert left(tmp_path) == {}
