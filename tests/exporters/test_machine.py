"""TensorRT builds for the machine that it runs on."""

from dataclasses import replace

import pytest
from edgesynth_exporters import machine
from edgesynth_exporters.errors import IncompatibleError
from edgesynth_exporters.machine import refuse_other_machine
from edgesynth_exporters.targets import find_target


@pytest.fixture
def here(tmp_path, monkeypatch):
    """Make this machine call itself that, with that version of TensorRT."""

    def put(model, version):
        (tmp_path / "model").write_bytes(model.encode() + b"\0")
        monkeypatch.setattr(machine, "DEVICE_TREE", tmp_path / "model")
        monkeypatch.setattr(machine, "_version", lambda: version)

    return put


def test_the_host_is_this_machine(here):
    here("anything", None)
    refuse_other_machine(find_target("host"))


@pytest.mark.parametrize("version", ["10.3.0", "10.3.0.30"])
def test_a_board_builds_for_itself(here, version):
    here("NVIDIA Jetson Orin Nano Developer Kit", version)
    refuse_other_machine(replace(find_target("orin-nano"), tensorrt="10.3.0"))


@pytest.mark.parametrize(
    ("model", "version", "why"),
    [
        ("NVIDIA Jetson AGX Orin Developer Kit", "10.3.0", "this machine is NVIDIA Jetson AGX Orin Developer Kit: "),
        ("NVIDIA Jetson Orin Nano Developer Kit", "10.16.1", r"and its TensorRT is 10\.16\.1: export"),
        ("NVIDIA Jetson Orin Nano Developer Kit", None, "and its TensorRT is not installed: export with --format onnx"),
        ("", "10.3.0", "this machine is no Jetson: "),
    ],
)
def test_another_machine_or_tensorrt_is_a_no(here, model, version, why):
    here(model, version)
    with pytest.raises(IncompatibleError, match=why):
        refuse_other_machine(replace(find_target("orin-nano"), tensorrt="10.3.0"))
