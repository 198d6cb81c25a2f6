"""Whole exports of small networks: what they leave, and what they leave when something goes wrong."""

import hashlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxslim
import pytest
import torch
from edgesynth_exporters import steps
from edgesynth_exporters.errors import EdgesynthError, ExportError, IncompatibleError, ParityError
from edgesynth_exporters.export_record import ExportRecord
from edgesynth_exporters.parity import run_onnx_outputs
from edgesynth_exporters.pipeline import export_network
from edgesynth_exporters.reference import read_reference
from edgesynth_exporters.subject import Metric, Order, Subject
from edgesynth_exporters.targets import find_target
from torch import nn

from tests.needs import need
from tests.networks import Residual, example, make
from tests.user_networks import NamedHeads, Normalised

IMAGES = example(256).numpy()
CODE = """\
from tests.networks import {kind}, make

module = make({kind})"""
LABELS = np.arange(256) % 4


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
    """The user's cache folder."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))


def subject(kind=Residual, module=None, **changes):
    given = {
        "name": "net",
        "module": make(kind) if module is None else module,
        "images": IMAGES,
        "inputs": "real",
        "origin": "toys, validation split",
        "source": {"kind": "toy"},
        "code": CODE.format(kind=kind.__name__),
        "mean": (0.5,),
        "std": (0.25,),
        "classes": ("a", "b", "c", "d"),
    }
    return Subject(**given | changes)


def order(folder, target="tx2", precision="fp32", format_="onnx", name="m.onnx", **changes):
    return Order(find_target(target), precision, format_, folder / name, **changes)


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def accuracy(images=256):
    return Metric("accuracy", images, lambda answers: float((answers.argmax(axis=1) == LABELS[: len(answers)]).mean()))


def test_an_export_leaves_the_file_its_reference_and_its_record(tmp_path):
    told = []
    record = export_network(subject(), order(tmp_path), told.append)
    assert {path.name for path in tmp_path.iterdir()} == {"m.onnx", "m.reference.npz", "m.json"}
    written = json.loads((tmp_path / "m.json").read_text())
    assert written == record.model_dump(mode="json")
    assert ExportRecord.model_validate(written) == record
    assert written["schema"] == "edgesynth.export/1"
    for entry in record.files.values():
        assert sha256(tmp_path / entry.path) == entry.sha256
        assert (tmp_path / entry.path).stat().st_size == entry.bytes
    assert [step.name for step in record.steps] == ["export", "simplify", "check", "parity"]
    assert [text.split(":")[0] for text in told] == ["export", "simplify", "check", "parity"]
    assert (record.target.name, record.target.tensorrt, record.opset, record.precision) == ("tx2", "8.2.1", 13, "fp32")
    assert record.check.ok
    (model_input,), (output,) = record.inputs, record.outputs
    assert (model_input.name, model_input.shape, model_input.dtype) == ("input", (1, 1, 8, 8), "float32")
    assert (model_input.mean, model_input.std) == ((0.5,), (0.25,))
    assert (output.shape, output.classes) == ((1, 4), ("a", "b", "c", "d"))
    assert (record.images.inputs, record.images.count) == ("real", 256)
    assert record.source == {"kind": "toy"}
    assert record.tools.keys() >= {"torch", "onnx", "onnxruntime", "onnxslim", "polygraphy"}


def test_the_file_is_at_the_opset_of_the_target_and_computes_what_pytorch_does(tmp_path):
    record = export_network(subject(), order(tmp_path, "orin-nano"))
    model = onnx.load(tmp_path / "m.onnx")
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", record.opset)]
    assert 13 < record.opset == min(20, find_target("orin-nano").opset)
    assert not any(node.op_type == "BatchNormalization" for node in model.graph.node)
    parity = record.parity["fp32"]["output"]
    assert (parity.images, parity.argmax_agreement, parity.tolerance) == (256, 1.0, 1e-4)
    assert 0 < parity.max_abs_error <= 1e-4
    with torch.no_grad():
        expected = make(Residual)(torch.from_numpy(IMAGES)).numpy()
    found = run_onnx_outputs(tmp_path / "m.onnx", IMAGES)["output"]
    assert np.abs(found - expected).max() == pytest.approx(parity.max_abs_error, rel=0.5)


def test_a_board_can_repeat_the_comparison(tmp_path):
    record = export_network(subject(NamedHeads), order(tmp_path, precision="fp16"))
    reference = read_reference(tmp_path / "m.reference.npz")
    assert reference.about["onnx_sha256"] == sha256(tmp_path / "m.onnx") == record.files["onnx"].sha256
    assert np.array_equal(reference.inputs["input"], IMAGES[:16])
    answers = run_onnx_outputs(tmp_path / "m.onnx", reference.inputs["input"])
    assert list(answers) == list(reference.outputs) == [tensor.name for tensor in record.outputs]
    for name, values in answers.items():
        assert np.abs(values - reference.outputs[name]).max() <= reference.tolerance[name]
        assert reference.tolerance[name] >= record.parity["fp16"][name].max_abs_error


def test_every_output_of_several_is_compared(tmp_path):
    record = export_network(subject(NamedHeads, metric=None), order(tmp_path))
    assert list(record.parity["fp32"]) == ["output_classes", "output_mask", "output_features"]
    assert [tensor.classes for tensor in record.outputs] == [None, None, None]
    assert record.parity["fp32"]["output_features"].answers == 256 * 16


@pytest.mark.parametrize(
    ("target", "precision", "format_", "kind", "types"),
    [
        ("tx2", "fp16", "onnx", "fp16-flag", {"float32"}),
        ("orin-nano", "fp16", "onnx", "fp16-flag", {"float32"}),
        ("xavier-nx", "int8", "onnx", "int8-cache", {"float32"}),
        ("orin-nano", "int8", "onnx", "int8-qdq", {"float32", "int8"}),
    ],
)
def test_each_precision_is_handed_over_as_the_target_takes_it(tmp_path, target, precision, format_, kind, types):
    given = subject(metric=accuracy(), calibration=example(64).numpy(), calibration_origin="toys, training split")
    record = export_network(given, order(tmp_path, target, precision, format_, max_drop=1.0))
    assert (record.scheme.kind, record.precision) == (kind, precision)
    weights = {
        str(onnx.helper.tensor_dtype_to_np_dtype(t.data_type)) for t in onnx.load(tmp_path / "m.onnx").graph.initializer
    }
    assert weights - {"int64"} == types
    # Both are compared with PyTorch, and only fp32 has bounds.
    assert list(record.parity) == ["fp32", precision]
    exact, rough = record.parity["fp32"]["output"], record.parity[precision]["output"]
    assert exact.max_abs_error <= exact.tolerance < rough.max_abs_error
    assert rough.tolerance is None
    assert record.metric.pytorch == accuracy().evaluate(answers_of(Residual))
    assert record.metric.drop == pytest.approx(record.metric.pytorch - record.metric.exported)
    assert (record.calibration is not None) == (precision == "int8")
    assert ("calibration" in record.files) == (kind == "int8-cache")
    if kind == "int8-cache":
        lines = (tmp_path / "m.calibration").read_text().splitlines()
        assert lines[0] == "TRT-8502-EntropyCalibration2"
        assert lines[1].startswith("input: 3")
        assert any("quantizers in ONNX Runtime" in warning for warning in record.warnings)


def answers_of(kind):
    with torch.no_grad():
        return make(kind)(torch.from_numpy(IMAGES)).numpy()


def test_a_wrong_precision_is_refused_before_anything_is_made(tmp_path):
    with pytest.raises(IncompatibleError, match="tx2 has no int8 in hardware"):
        export_network(subject(calibration=IMAGES), order(tmp_path, precision="int8"))
    assert list(tmp_path.iterdir()) == []


class Doubtful(nn.Module):
    """Its answers hang on small differences of large numbers: fp16 loses them."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 8)

    def forward(self, x):
        return (self.conv(x).flatten(1) + 5000.0) - 5000.0


def doubtful(**changes):
    torch.manual_seed(0)
    module = Doubtful().eval()
    with torch.no_grad():
        answers = module(torch.from_numpy(IMAGES)).argmax(dim=1).numpy()
    metric = Metric("accuracy", 256, lambda found: float((found.argmax(axis=1) == answers[: len(found)]).mean()))
    return subject(module=module, metric=metric, **changes)


def test_what_a_precision_costs_is_judged(tmp_path):
    with pytest.raises(IncompatibleError) as error:
        export_network(doubtful(), order(tmp_path, precision="fp16"))
    said = str(error.value)
    assert re.match(
        r"fp16 costs net \d+\.\d+% of accuracy \(100\.00% in fp32, \d+\.\d+% on 256 images\), and --max-drop", said
    )
    assert "--max-drop allows 2.00%; repeat it: python " in said
    record = export_network(doubtful(), order(tmp_path, precision="fp16", max_drop=1.0))
    assert record.metric.drop > 0.02


def test_answers_that_overflow_in_fp16_are_refused(tmp_path):
    class Large(nn.Module):
        def forward(self, x):
            return x.flatten(1)[:, :4] * 1e5

    with pytest.raises(ParityError, match="output 'output' holds values that are no finite numbers"):
        export_network(subject(module=Large()), order(tmp_path, precision="fp16"))
    export_network(subject(module=Large()), order(tmp_path))


def left(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("changes", "precision", "what"),
    [
        ({"module": "nan"}, "fp32", "net: weight 'stem.0.weight' holds NaN"),
        ({"images": IMAGES * np.float32(np.nan)}, "fp32", "net: PyTorch itself answers with NaN or infinity"),
        ({"images": np.zeros((256, 3, 8, 8), np.float32)}, "fp32", r"net fails on an input of shape \(1, 3, 8, 8\)"),
        ({}, "int8", "int8 is calibrated on real images: give them with --data"),
    ],
)
def test_bad_input_is_one_line_exit_code_2_and_leaves_nothing(tmp_path, changes, precision, what):
    (tmp_path / "m.onnx").write_bytes(b"an older one")
    if changes.get("module") == "nan":
        module = make(Residual)
        module.stem[0].weight.data[0, 0, 0, 0] = float("nan")
        changes = {"module": module}
    with pytest.raises(EdgesynthError, match=what) as error:
        export_network(subject(**changes), order(tmp_path, "orin-nano", precision))
    assert error.value.exit_code == 2
    assert len(str(error.value).splitlines()) == 1
    assert left(tmp_path) == {"m.onnx": b"an older one"}


def test_a_nan_in_a_later_image_is_bad_input_too(tmp_path):
    images = IMAGES.copy()
    images[200] = np.nan
    with pytest.raises(EdgesynthError, match="PyTorch itself answers with NaN") as error:
        export_network(subject(images=images), order(tmp_path))
    assert error.value.exit_code == 2
    assert left(tmp_path) == {}


@pytest.mark.parametrize(
    ("name", "format_", "what"),
    [
        ("m.pt", "onnx", r"must end in \.onnx"),
        ("m.onnx", "tensorrt-rtx", r"must end in \.plan or \.engine"),
        ("missing/m.onnx", "onnx", "there is no folder .*missing; make it first"),
        ("folder.onnx", "onnx", "that is a folder"),
    ],
)
def test_a_place_that_cannot_be_is_said_at_once(tmp_path, name, format_, what):
    (tmp_path / "folder.onnx").mkdir()
    with pytest.raises(EdgesynthError, match=what) as error:
        order(tmp_path, format_=format_, name=name)
    assert error.value.exit_code == 2


class Folding(nn.Module):
    """Calls something that no ONNX operator stands for."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3)

    def forward(self, x):
        return torch.fft.fft(self.conv(x)).real.mean(dim=(2, 3))


class Pretending(nn.Module):
    """Computes something else while it is exported."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3)

    def forward(self, x):
        return self.conv(x).mean(dim=(2, 3)) + (1.0 if torch.onnx.is_in_onnx_export() else 0.0)


def reproduced(folder):
    """Exit code and last line of the script in a folder."""
    done = subprocess.run(
        [sys.executable, str(folder / "reproduce.py")],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, (done.stdout + done.stderr).strip().splitlines()


HERE = "from tests.exporters.test_pipeline import {kind}\n\nmodule = {kind}()"


@pytest.mark.parametrize(
    ("kind", "error", "step", "what"),
    [
        (Folding, ExportError, "export", "cannot export Folding at opset 13: .*fft"),
        (Pretending, ParityError, "parity", "output 'output' differs from PyTorch's by up to 1, and 0.0001 is allowed"),
    ],
)
def test_a_step_that_fails_leaves_a_script_that_repeats_it(tmp_path, kind, error, step, what):
    torch.manual_seed(1)
    older = {"m.onnx": b"an older one", "m.json": b"{}"}
    for name, content in older.items():
        (tmp_path / name).write_bytes(content)
    failed = tmp_path / "m.onnx.failed"
    with pytest.raises(error, match=f"{what}.*; repeat it: python {failed}/reproduce.py") as caught:
        export_network(subject(module=kind(), code=HERE.format(kind=kind.__name__)), order(tmp_path, command="asked"))
    assert len(str(caught.value).splitlines()) == 1
    found = left(tmp_path)
    assert older.items() <= found.items()
    assert {name for name in found if "/" not in name} == set(older)
    assert {"m.onnx.failed/reproduce.py", "m.onnx.failed/export.log", "m.onnx.failed/weights.safetensors"} <= set(found)
    log = found["m.onnx.failed/export.log"].decode()
    assert log.startswith(f"asked\nfailed in the step: {step}\n")
    assert "Traceback" in log
    assert f"torch {torch.__version__.split('+')[0]}" in log
    code, lines = reproduced(failed)
    assert code == 1
    assert re.search(what, lines[-1])
    # Nothing there runs code when it is read.
    assert not [
        path
        for path in failed.rglob("*")
        if path.suffix not in (".py", ".log", ".npy", ".npz", ".onnx", ".safetensors")
    ]


def test_weights_are_those_of_the_network_that_failed(tmp_path):
    torch.manual_seed(2)
    module = Folding()
    with pytest.raises(ExportError):
        export_network(subject(module=module), order(tmp_path))
    from safetensors.torch import load_file

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


class Sampling(nn.Module):
    """Reads its image through a grid: an operator that TensorRT 8.2 lacks, under a name that any opset has."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3)

    def forward(self, x):
        grid = x.new_zeros(1, 8, 8, 2).expand(x.shape[0], 8, 8, 2)
        return self.conv(torch.nn.functional.grid_sample(x, grid, align_corners=False)).mean(dim=(2, 3))


def test_what_the_target_does_not_take_is_a_no_that_names_the_node(tmp_path):
    given = subject(module=Sampling(), code=HERE.format(kind="Sampling"))
    old = find_target("tx2")
    # Opset 13 has no GridSample, so the exporter refuses it first; a later opset brings it as far as the check.
    from dataclasses import replace

    asked = Order(replace(old, opset=16), "fp32", "onnx", tmp_path / "m.onnx")
    with pytest.raises(IncompatibleError, match="tx2 does not take net: ") as error:
        export_network(given, asked)
    assert error.value.exit_code == 1
    assert "; repeat it: python " in str(error.value)
    code, lines = reproduced(tmp_path / "m.onnx.failed")
    assert code == 1
    assert any("GridSample" in line for line in lines)


def test_what_an_export_left_is_gone_when_the_next_one_succeeds(tmp_path):
    given = subject(calibration=IMAGES[:8])
    export_network(given, order(tmp_path, "xavier-nx", "int8"))
    with pytest.raises(ExportError):
        export_network(subject(module=Folding()), order(tmp_path))
    assert {"m.calibration", "m.onnx.failed"} <= {path.name for path in tmp_path.iterdir()}
    export_network(given, order(tmp_path, "xavier-nx", "fp32"))
    assert {path.name for path in tmp_path.iterdir()} == {"m.onnx", "m.reference.npz", "m.json"}


def test_a_folder_of_the_users_stays_whatever_its_name(tmp_path):
    failed = tmp_path / "m.onnx.failed"
    failed.mkdir()
    (failed / "notes.txt").write_text("mine")
    export_network(subject(), order(tmp_path))
    with pytest.raises(ExportError):
        export_network(subject(module=Folding()), order(tmp_path))
    assert (failed / "notes.txt").read_text() == "mine"
    assert (failed / "reproduce.py").is_file()


def test_a_full_disk_is_one_line_and_leaves_what_was_there(tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(onnx, "save", full)
    with pytest.raises(ExportError, match=r"cannot write .*m\.onnx: No space left on device"):
        export_network(subject(), order(tmp_path))
    assert left(tmp_path) == {}


def test_an_interruption_leaves_nothing(tmp_path, monkeypatch):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(steps, "check_model", interrupt)
    with pytest.raises(KeyboardInterrupt):
        export_network(subject(), order(tmp_path))
    assert left(tmp_path) == {}


def test_the_same_network_gives_the_same_bytes(tmp_path):
    for name in ("one.onnx", "two.onnx"):
        export_network(subject(Normalised), order(tmp_path, "orin-nano", name=name))
    assert sha256(tmp_path / "one.onnx") == sha256(tmp_path / "two.onnx")
    assert sha256(tmp_path / "one.reference.npz") == sha256(tmp_path / "two.reference.npz")


def rtx():
    import importlib.util

    return importlib.util.find_spec("tensorrt_rtx") is not None


@pytest.mark.parametrize(
    ("target", "precision", "kind"), [("tx2", "fp16", "fp16-casts"), ("orin-nano", "int8", "int8-qdq")]
)
def test_an_engine_is_built_from_the_file_beside_it(tmp_path, target, precision, kind):
    need(rtx(), "tensorrt-rtx (pip install 'edgesynth[tensorrt-rtx]')")
    given = subject(calibration=IMAGES[:16])
    record = export_network(given, order(tmp_path, target, precision, "tensorrt-rtx", "m.plan", max_drop=1.0))
    assert record.scheme.kind == kind
    assert {path.name for path in tmp_path.iterdir()} == {
        "m.onnx", "m.reference.npz", "m.json", "m.plan", "m.plan.json",
    }  # fmt: skip
    assert record.engine.module == "tensorrt_rtx"
    assert record.engine.onnx.sha256 == sha256(tmp_path / "m.onnx")
    assert record.engine.plan.sha256 == sha256(tmp_path / "m.plan") == record.files["engine"].sha256
    assert Path(record.engine.plan.path) == tmp_path / "m.plan"
    assert json.loads((tmp_path / "m.plan.json").read_text()) == record.engine.model_dump(mode="json")
    assert record.steps[-1].name == "engine"
    assert any(f"a {target} under TensorRT" in warning and "builds its own" in warning for warning in record.warnings)


def test_an_engine_without_its_package_ends_in_the_command_that_installs_it(tmp_path, monkeypatch):
    import importlib.util

    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if "rtx" in name else found(name, *rest))
    with pytest.raises(EdgesynthError, match=r"pip install 'edgesynth\[tensorrt-rtx\]'") as error:
        export_network(subject(), order(tmp_path, format_="tensorrt-rtx", name="m.plan"))
    assert error.value.exit_code == 2
    assert left(tmp_path) == {}
