"""Whole exports of small networks: what they leave, and what they leave when something goes wrong."""

import json
import re
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from edgesynth_exporters import steps
from edgesynth_exporters.errors import EdgesynthError, ExportError, IncompatibleError, ParityError
from edgesynth_exporters.export_record import ExportRecord
from edgesynth_exporters.parity import run_onnx_outputs
from edgesynth_exporters.pipeline import export_network
from edgesynth_exporters.reference import read_reference
from edgesynth_exporters.targets import find_target
from torch import nn

from tests.exporters.exports import IMAGES, Folding, Sampling, accuracy, doubtful, left, order, sha256, subject
from tests.needs import need
from tests.networks import Residual, example, make
from tests.user_networks import NamedHeads, Normalised


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
    """The user's cache folder."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))


def test_an_export_leaves_the_file_its_reference_and_its_record(tmp_path):
    told = []
    record = export_network(subject(), order(tmp_path), told.append)
    assert {path.name for path in tmp_path.iterdir()} == {"m.onnx", "m.reference.npz", "m.export.json"}
    written = json.loads((tmp_path / "m.export.json").read_text())
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
    export_network(subject(), order(tmp_path, "orin-nano"))
    older = left(tmp_path)
    if changes.get("module") == "nan":
        module = make(Residual)
        module.stem[0].weight.data[0, 0, 0, 0] = float("nan")
        changes = {"module": module}
    with pytest.raises(EdgesynthError, match=what) as error:
        export_network(subject(**changes), order(tmp_path, "orin-nano", precision))
    assert error.value.exit_code == 2
    assert len(str(error.value).splitlines()) == 1
    assert left(tmp_path) == older


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


def test_what_an_export_left_is_gone_when_the_next_one_succeeds(tmp_path):
    given = subject(calibration=IMAGES[:8])
    export_network(given, order(tmp_path, "xavier-nx", "int8"))
    with pytest.raises(IncompatibleError):
        export_network(subject(module=Folding()), order(tmp_path))
    assert {"m.calibration", "m.onnx.failed"} <= {path.name for path in tmp_path.iterdir()}
    export_network(given, order(tmp_path, "xavier-nx", "fp32"))
    assert {path.name for path in tmp_path.iterdir()} == {"m.onnx", "m.reference.npz", "m.export.json"}


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
        "m.onnx", "m.reference.npz", "m.export.json", "m.plan", "m.plan.json",
    }  # fmt: skip
    assert record.engine.module == "tensorrt_rtx"
    assert record.engine.onnx.sha256 == sha256(tmp_path / "m.onnx")
    assert record.engine.plan.sha256 == sha256(tmp_path / "m.plan") == record.files["engine"].sha256
    assert Path(record.engine.plan.path) == tmp_path / "m.plan"
    assert record.files["engine_record"].sha256 == sha256(tmp_path / "m.plan.json")
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


def test_bad_input_that_a_step_finds_stays_bad_input(tmp_path, monkeypatch):
    """Nothing is left of it: there is no step to repeat."""

    def refuse(*_):
        raise EdgesynthError("bad input")

    monkeypatch.setattr(steps, "check_model", refuse)
    with pytest.raises(EdgesynthError) as error:
        export_network(subject(), order(tmp_path))
    assert (str(error.value), error.value.exit_code) == ("bad input", 2)
    assert left(tmp_path) == {}


class Overwriting(nn.Module):
    """Works on its input in place."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3)

    def forward(self, x):
        return self.conv(x.sub_(0.5)).mean(dim=(2, 3))


def test_a_network_that_works_in_place_leaves_the_images_alone(tmp_path):
    images = IMAGES.copy()
    record = export_network(subject(module=Overwriting(), images=images), order(tmp_path))
    assert np.array_equal(images, IMAGES)
    assert np.array_equal(read_reference(tmp_path / "m.reference.npz").inputs["input"], IMAGES[:16])
    assert record.parity["fp32"]["output"].max_abs_error <= 1e-4


class Deciding(nn.Module):
    """Computes one thing or another, by what the image holds."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3)

    def forward(self, x):
        found = self.conv(x).mean(dim=(2, 3))
        return found if x.mean() > 0 else -found


def test_what_the_tracer_fixed_is_told_once_with_its_place(tmp_path):
    """Asked several images at once PyTorch would decide for all of them by their mean."""
    bright = np.abs(IMAGES)
    record = export_network(subject(module=Deciding(), images=bright), order(tmp_path))
    (told,) = [warning for warning in record.warnings if "test_pipeline.py, line " in warning]
    assert "the file keeps what was so for one image (Converting a tensor to a Python boolean might" in told
    mixed = bright.copy()
    mixed[5] *= -1
    assert mixed[:64].mean() > 0 > mixed[5].mean()
    with pytest.raises(ParityError):
        export_network(subject(module=Deciding(), images=mixed), order(tmp_path))
    assert not any("line " in warning for warning in export_network(subject(), order(tmp_path)).warnings)


def test_a_bound_that_is_not_the_usual_one_is_told(tmp_path):
    class Large(nn.Module):
        def forward(self, x):
            return x.flatten(1)[:, :4] * 1e3

    record = export_network(subject(module=Large()), order(tmp_path))
    found = record.parity["fp32"]["output"]
    assert found.tolerance > 1e-4
    assert record.warnings == [
        f"output 'output' reaches {found.greatest:.4g}, so in fp32 an error of {found.tolerance:.2g} was allowed and "
        "not 0.0001"
    ]


@pytest.mark.parametrize(
    ("kind", "operator", "remedy"),
    [(Folding, "fft_fft", "sines and cosines"), (Sampling, "grid_sampler", "warp outside of the network")],
)
def test_an_operator_that_torch_cannot_write_for_the_target_is_a_no(tmp_path, kind, operator, remedy):
    with pytest.raises(IncompatibleError) as error:
        export_network(subject(module=kind()), order(tmp_path))
    said = str(error.value)
    assert said.startswith(f"tx2 does not take net: torch cannot write its operator '{operator}' at opset 13, ")
    assert remedy in said
    assert "try" not in said
    assert "16" not in said.partition("; repeat it")[0]


def test_an_engine_for_a_board_is_not_built_elsewhere(tmp_path):
    with pytest.raises(IncompatibleError, match=r"an engine for tx2 is built on one, Jetson TX2 .* no Jetson") as error:
        export_network(subject(), order(tmp_path, format_="tensorrt", name="m.plan"))
    assert error.value.exit_code == 1
    assert left(tmp_path) == {}
