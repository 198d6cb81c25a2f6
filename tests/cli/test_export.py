"""`edgesynth export`: networks of a run and of the user become files for a target, or one line says why not."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from edgesynth_exporters.export_record import ExportRecord
from edgesynth_exporters.parity import run_onnx
from safetensors.torch import load_file, save_file

from edgesynth.cli.main import run
from edgesynth.data import find_source
from edgesynth.errors import RunError
from edgesynth.prototypes import resnet8
from edgesynth.synthesis.exporting import open_subject

OWN = """
import os

import torch
from torch import nn

def net(in_channels, num_classes):
    return nn.Sequential(
        nn.Conv2d(in_channels, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, num_classes),
    )

class Two(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Conv2d(3, 8, 3, padding=1)
        self.classes, self.mask = nn.Linear(8, 5), nn.Conv2d(8, 2, 1)

    def forward(self, x):
        x = torch.relu(self.body(x))
        return {"classes": self.classes(x.mean(dim=(2, 3))), "mask": self.mask(x)}

def two():
    return Two()

class Fourier(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3)

    def forward(self, x):
        return torch.fft.fft(self.conv(x)).real.mean(dim=(2, 3))

def fourier():
    return Fourier()

class Leaving(nn.Module):
    def forward(self, x):
        raise SystemExit(7)

def leaving():
    return Leaving()

class Chatty(Two):
    def forward(self, x):
        print("hello")
        os.write(1, b"from below\\n")
        return super().forward(x)

def chatty():
    return Chatty()

class Odd(Two):
    def forward(self, x):
        return {"\x1b[2J": self.mask(self.body(x))}

def odd():
    return Odd()

def broken():
    network = net(1, 10)
    network[0].weight.data[0, 0, 0, 0] = float("nan")
    return network
"""


@pytest.fixture
def workplace(tmp_path, monkeypatch):
    """An empty current directory, with a module of the user's own."""
    (tmp_path / "own_exports.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def made(folder):
    return {path.name for path in folder.iterdir()} - {"own_exports.py", "__pycache__"}


def record_of(capsys):
    return ExportRecord.model_validate_json(capsys.readouterr().out)


def one_line(capsys):
    out, err = capsys.readouterr()
    assert out == ""
    assert "Traceback" not in err
    return err.strip().splitlines()[-1]


def test_a_network_of_a_run_is_compared_on_its_validation_images(finished_run, workplace, capsys):
    folder, results = finished_run
    network = results.networks[0]
    assert run(["export", f"{folder}/{network.name}", "--target", "tx2", "--json"]) == 0
    record = record_of(capsys)
    name = f"{network.name}-tx2-fp32"
    assert made(workplace) == {f"{name}.onnx", f"{name}.reference.npz", f"{name}.export.json"}
    assert (record.name, record.images.inputs) == (network.name, "real")
    assert record.images.count >= 256
    assert record.source["genome_digest"] == network.genome_digest
    assert record.source["prototype"] == "resnet8"
    parity = record.parity["fp32"]["output"]
    assert parity.max_abs_error <= 1e-4
    assert (parity.images, parity.argmax_agreement) == (record.images.count, 1.0)
    assert record.outputs[0].classes == tuple(results.data.classes)
    # It is the network that the run finished, and not another one of its shape.
    val = find_source("digits").load().val
    answers = run_onnx(Path(f"{name}.onnx"), val.images.numpy())
    assert (answers.argmax(axis=1) == val.targets.numpy()).mean() == pytest.approx(network.val_metric)
    mean, std = record.inputs[0].mean, record.inputs[0].std
    assert (mean, std) == (find_source("digits").load().mean, find_source("digits").load().std)


def test_the_prototype_of_a_run_in_fp16(finished_run, workplace, capsys):
    folder, results = finished_run
    assert run(["export", f"{folder}/prototype", "--target", "tx2", "--precision", "fp16", "--out", "p.onnx"]) == 0
    out, err = capsys.readouterr()
    assert "prototype for tx2 in fp16: opset 13, input 1x1x8x8, output 1x10" in out
    assert "TensorRT 8.2.1 casts to fp16 by its builder's flag FP16" in out
    assert "same answer on 100.00% of" in out
    assert "wrote p.onnx, p.reference.npz, p.export.json" in out
    assert [line.split(":")[0] for line in err.splitlines()] == ["export", "simplify", "fp16", "check", "parity"]
    record = ExportRecord.model_validate_json(Path("p.export.json").read_text())
    assert record.metric.pytorch == pytest.approx(results.prototype.val_metric, abs=0.02)
    assert record.parity["fp16"]["output"].max_abs_error > record.parity["fp32"]["output"].max_abs_error


@pytest.mark.parametrize("spelled", ["{run}/networks/{name}", "{run}/{name}/"])
def test_a_network_may_be_named_by_its_folder(finished_run, workplace, spelled, capsys):
    folder, results = finished_run
    source = spelled.format(run=folder, name=results.networks[0].name)
    assert run(["export", source, "--target", "host", "--json"]) == 0
    assert record_of(capsys).name == results.networks[0].name


def test_int8_is_calibrated_and_judged_on_images_of_their_own(finished_run, workplace, capsys):
    folder, results = finished_run
    arguments = ["export", f"{folder}/prototype", "--precision", "int8", "--json", "--max-drop", "0.1"]
    assert run([*arguments, "--target", "orin-nano", "--out", "q.onnx"]) == 0
    record = record_of(capsys)
    assert run([*(a for a in arguments if a != "--json"), "--target", "orin-nano", "--out", "q.onnx"]) == 0
    out = capsys.readouterr().out
    assert out.count("warning: ") == min(3, len(record.check.findings)) + len(record.warnings)
    assert f"accuracy {record.metric.exported:.2%}, PyTorch has {record.metric.pytorch:.2%}, on " in out
    assert {node.op_type for node in onnx.load("q.onnx").graph.node} >= {"QuantizeLinear", "DequantizeLinear"}
    assert record.calibration.images == 256
    assert record.calibration.origin == "digits, training split"
    assert record.metric.name == "accuracy"
    assert record.metric.images == results.data.sizes["val"]
    assert record.metric.pytorch == pytest.approx(results.prototype.val_metric)
    assert record.metric.drop <= 0.1
    assert run([*arguments, "--target", "xavier-nx", "--out", "c.onnx"]) == 0
    assert Path("c.calibration").read_text().startswith("TRT-8502-EntropyCalibration2\ninput: ")
    assert not any("Quantize" in node.op_type for node in onnx.load("c.onnx").graph.node)


def test_a_tx2_is_refused_int8_in_one_line_and_nothing_is_made(workplace, capsys):
    """Neither the network nor the run need be there for that answer."""
    assert run(["export", "nowhere/net", "--target", "tx2", "--precision", "int8"]) == 1
    assert one_line(capsys) == (
        "edgesynth: tx2 has no int8 in hardware (compute capability 6.2): it computes in fp32, fp16; "
        "export with --precision fp16"
    )
    assert made(workplace) == set()


def test_a_network_of_the_users_with_weights_and_data(workplace, capsys):
    torch.manual_seed(3)
    network = resnet8(1, 10).eval()
    save_file(network.state_dict(), "w.safetensors")
    arguments = ["export", "edgesynth.prototypes:resnet8", "--weights", "w.safetensors", "--data", "digits"]
    assert run([*arguments, "--target", "tx2", "--json"]) == 0
    record = record_of(capsys)
    assert made(workplace) >= {"resnet8-tx2-fp32.onnx"}
    assert record.warnings == []
    assert len(record.source["weights_sha256"]) == 64
    images = find_source("digits").load().val.images[:32]
    with torch.no_grad():
        expected = network(images).numpy()
    assert np.abs(run_onnx(Path("resnet8-tx2-fp32.onnx"), images.numpy()) - expected).max() <= 1e-4


def test_without_data_noise_is_used_and_the_record_says_so(workplace, capsys):
    assert run(["export", "own_exports:two", "--target", "tx2", "--input-shape", "3,8,8", "--json"]) == 0
    record = record_of(capsys)
    assert (record.images.inputs, record.images.origin) == ("noise", "normal noise, seed 0")
    assert any("noise" in warning for warning in record.warnings)
    assert any("no --weights" in warning for warning in record.warnings)
    assert record.metric is None
    assert [tensor.name for tensor in record.outputs] == ["output_classes", "output_mask"]
    assert record.inputs[0].shape == (1, 3, 8, 8)
    assert record.inputs[0].mean is None


def test_a_builtin_prototype_by_its_name(workplace, capsys):
    arguments = ["export", "mobilenetv2-tiny", "--target", "tx2", "--input-shape", "1,28,28"]
    assert run(arguments) == 2
    assert "wants the number of classes: give --data, or --classes" in one_line(capsys)
    assert run([*arguments, "--classes", "7", "--json"]) == 0
    assert record_of(capsys).outputs[0].shape == (1, 7)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nothing"], ["no network 'nothing'", "RUN/NAME", "resnet20", "package.module:function"]),
        (["own_exports:net"], ["--data", "--input-shape C,H,W"]),
        (["own_exports:absent", "--data", "digits"], ["own_exports", "absent"]),
        (["own_exports:net", "--data", "digitz"], ["digitz", "digits"]),
        (["own_exports:net", "--data", "digits", "--input-shape", "3,8,8"], ["3,8,8", "1,8,8", "leave one"]),
        (["own_exports:net", "--data", "digits", "--weights", "absent.safetensors"], ["absent.safetensors"]),
        (["own_exports:net", "--data", "digits", "--target", "tx9"], ["tx9", "tx2"]),
        (["own_exports:net", "--data", "digits", "--out", "missing/m.onnx"], ["missing", "make it first"]),
        (["own_exports:net", "--data", "digits", "--out", "m.pt"], ["m.pt", "must end in .onnx"]),
        (["own_exports:net", "--data", "digits", "--out", "x" * 300 + ".onnx"], ["the name is too long", "255 bytes"]),
        (["own_exports:two", "--input-shape", "1,99999999,99999999"], ["1,99999999,99999999", "more than 1024 MiB"]),
        (["own_exports:leaving", "--input-shape", "1,8,8"], ["leaving ends the process on an input of shape"]),
        (["own_exports:leaving", "--data", "digits"], ["leaving ends the process on an input of shape"]),
        (["own_exports:two", "--input-shape", "1,8,8"], ["two fails on an input of shape (1, 1, 8, 8)"]),
        (["own_exports:broken", "--data", "digits"], ["broken: weight '0.weight' holds NaN"]),
        (["own_exports:two", "--input-shape", "3,8,8", "--precision", "int8", "--target", "orin-nano"],
         ["int8 is calibrated on real images", "--data"]),
    ],
)  # fmt: skip
def test_bad_input_is_one_line_exit_code_2_and_nothing_made(arguments, words, workplace, capsys):
    target = [] if "--target" in arguments else ["--target", "tx2"]
    assert run(["export", *arguments, *target]) == 2
    line = one_line(capsys)
    assert all(word in line for word in words), line
    assert made(workplace) == set()


@pytest.mark.parametrize("text", ["8,8", "1,8,8,8", "1,8," + "9" * 5000, "\x1b[2J", "1,-8,8", "a,b,c", "0,8,8", ""])
def test_a_size_that_is_none_is_bad_usage(text, workplace, capsys):
    assert run(["export", "own_exports:net", "--target", "tx2", "--input-shape", text]) == 2
    assert "three numbers are wanted, C,H,W" in " ".join(capsys.readouterr().err.split())


def test_an_unknown_network_of_a_run_names_those_there_are(finished_run, workplace, capsys):
    folder, results = finished_run
    assert run(["export", f"{folder}/fermi-0", "--target", "tx2"]) == 2
    line = one_line(capsys)
    assert all(word in line for word in ("fermi-0", "prototype", results.networks[0].name)), line


@pytest.mark.parametrize(
    "option", [["--weights", "w.safetensors"], ["--data", "digits"], ["--input-shape", "1,8,8"], ["--classes", "10"]]
)
def test_a_network_of_a_run_has_its_own_weights_and_data(finished_run, workplace, option, capsys):
    assert run(["export", f"{finished_run[0]}/prototype", "--target", "tx2", *option]) == 2
    assert f"{option[0]} is no use here" in one_line(capsys)


def test_weights_that_are_not_the_runs_are_refused(finished_run, workplace, capsys):
    folder = workplace / "run"
    shutil.copytree(finished_run[0], folder)
    name = finished_run[1].networks[0].name
    path = folder / "networks" / name / "weights.safetensors"
    changed = load_file(path)
    next(iter(changed.values())).add_(1)
    save_file(changed, path)
    assert run(["export", f"run/{name}", "--target", "tx2"]) == 3
    assert "is not the file that the run wrote" in one_line(capsys)
    path.unlink()
    assert run(["export", f"run/{name}", "--target", "tx2"]) == 3
    assert "weights.safetensors" in one_line(capsys)


def test_a_prototype_that_has_changed_since_is_refused(finished_run):
    from edgesynth.synthesis.exporting import rebuild

    genome = finished_run[1].networks[0].genome
    with pytest.raises(RunError, match="is not built as it was when the run was started"):
        rebuild("mobilenetv2-tiny", (1, 8, 8), 10, (), genome)


def test_more_images_are_taken_for_int8(finished_run):
    few, many = (open_subject(f"{finished_run[0]}/prototype", int8=int8) for int8 in (False, True))
    assert len(few.images) == 256 == few.metric.images
    assert few.calibration is None
    assert len(many.images) == many.metric.images == len(find_source("digits").load().val)
    assert len(many.calibration) == 256


def test_a_small_data_set_lends_training_images_to_the_comparison(workplace):
    from PIL import Image

    for index in range(300):
        folder = workplace / "photos" / f"class{index % 3}"
        folder.mkdir(parents=True, exist_ok=True)
        noise = np.random.default_rng(index).integers(0, 255, (8, 8), dtype=np.uint8)
        Image.fromarray(noise).save(folder / f"{index}.png")
    subject = open_subject("own_exports:net", int8=False, data="photos")
    assert len(subject.images) < 256 > subject.metric.images
    assert subject.origin == "photos, validation split and training split"
    assert any("only" in warning for warning in subject.warnings)
    subject.metric.evaluate(np.zeros((subject.metric.images, 3), np.float32))


def test_a_failing_export_leaves_a_script_and_says_where(workplace):
    """As a process of its own, so that the command in the log is the real one."""
    command = [sys.executable, "-m", "edgesynth", "export", "own_exports:fourier", "--target", "tx2"]
    command += ["--data", "digits", "--out", "f.onnx"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith(
        "edgesynth: tx2 does not take fourier: torch cannot write its operator 'fft_fft' at opset 13"
    )
    assert line.endswith("; repeat it: python f.onnx.failed/reproduce.py")
    assert made(workplace) == {"f.onnx.failed"}
    log = Path("f.onnx.failed/export.log").read_text()
    assert log.startswith("edgesynth export own_exports:fourier --target tx2 --data digits --out f.onnx\n")
    # From anywhere, by the folder alone and the user's module.
    script = str(workplace / "f.onnx.failed" / "reproduce.py")
    again = subprocess.run([sys.executable, script], cwd="/", capture_output=True, text=True, check=False)
    assert again.returncode == 1
    assert "cannot export Fourier at opset 13" in again.stderr.strip().splitlines()[-1]


def test_a_network_of_a_run_is_made_again_by_its_script(finished_run, workplace, monkeypatch):
    from edgesynth_exporters import steps
    from edgesynth_exporters.errors import ExportError

    def refuse(*_):
        raise ExportError("the exporter broke")

    monkeypatch.setattr(steps, "export_onnx", refuse)
    name = finished_run[1].networks[0].name
    assert run(["export", f"{finished_run[0]}/{name}", "--target", "tx2", "--out", "m.onnx"]) == 3
    done = subprocess.run([sys.executable, "m.onnx.failed/reproduce.py"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    images = find_source("digits").load().val.images[:8].numpy()
    delivered = run_onnx(finished_run[0] / finished_run[1].networks[0].onnx, images)
    assert np.abs(run_onnx(Path("m.onnx.failed/exported.onnx"), images) - delivered).max() < 1e-4


def test_json_is_all_that_is_on_stdout(finished_run, workplace, capsys):
    assert run(["export", f"{finished_run[0]}/prototype", "--target", "tx2", "--json"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["schema"] == "edgesynth.export/1"
    assert err.startswith("export: ")


def test_what_the_users_code_prints_is_not_in_the_document(workplace):
    command = [sys.executable, "-m", "edgesynth", "export", "own_exports:chatty", "--target", "tx2", "--json"]
    done = subprocess.run([*command, "--input-shape", "3,8,8"], capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert json.loads(done.stdout)["schema"] == "edgesynth.export/1"
    assert "hello\n" in done.stderr
    assert "from below\n" in done.stderr


def test_names_cannot_steer_a_terminal(workplace, capsys):
    arguments = ["export", "own_exports:odd", "--target", "tx2", "--input-shape", "3,8,8", "--out", "a\x1b[2J.onnx"]
    assert run(arguments) == 0
    out, err = capsys.readouterr()
    assert "output_?[2J" in out
    assert "wrote a?[2J.onnx" in out
    assert "\x1b" not in out + err
    Path("a\x1b[2J.export.json").write_text("mine")
    assert run(arguments) == 2
    assert "\x1b" not in one_line(capsys)


def test_a_file_of_the_users_is_not_replaced(workplace, capsys):
    """results.onnx has other files beside it than results.json, which may be a run's."""
    (workplace / "results.json").write_text("a run's")
    (workplace / "model.onnx").write_text("mine")
    arguments = ["export", "own_exports:two", "--target", "tx2", "--input-shape", "3,8,8", "--out"]
    assert run([*arguments, "results.onnx"]) == 0
    assert (workplace / "results.json").read_text() == "a run's"
    assert run([*arguments, "model.onnx"]) == 2
    assert "model.onnx is there and model.export.json does not say that an export made it" in capsys.readouterr().err
    assert (workplace / "model.onnx").read_text() == "mine"


def test_formats_that_give_other_files_have_other_names():
    from edgesynth_exporters.targets import find_target

    from edgesynth.cli.export import _default_name

    tx2, orin = find_target("tx2"), find_target("orin-nano")
    names = [_default_name("run/net", t, "fp16", f) for t in (tx2, orin) for f in ("onnx", "tensorrt", "tensorrt-rtx")]
    assert names == [
        "net-tx2-fp16.onnx", "net-tx2-fp16-tensorrt.plan", "net-opset13-fp16-tensorrt-rtx.plan",
        "net-orin-nano-fp16.onnx", "net-orin-nano-fp16-tensorrt.plan",
        f"net-opset{min(20, orin.opset)}-fp16-tensorrt-rtx.plan",
    ]  # fmt: skip
