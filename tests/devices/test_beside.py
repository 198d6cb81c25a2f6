"""What lies beside a model and belongs to it."""

from pathlib import Path

import pytest

from edgesynth.devices import beside
from tests.agent.models import save_conv
from tests.devices.references import save_reference


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return save_conv(tmp_path / "net.onnx")


def test_nothing_is_there(model: Path) -> None:
    assert beside(model, None, None) == (None, None, None)


@pytest.mark.parametrize("precision", [None, "fp32"])
def test_a_reference_of_the_file(model: Path, precision: str | None) -> None:
    reference = save_reference(model, model.with_suffix(".reference.npz"))
    assert beside(model, precision, None) == (reference, None, None)  # type: ignore[arg-type]


def test_one_of_another_file_or_precision_is_told_and_left_out(model: Path) -> None:
    reference = model.with_suffix(".reference.npz")
    save_reference(model, reference, digest="b" * 64)
    assert beside(model, None, None).note == "not compared with net.reference.npz: it is of another file"
    save_reference(model, reference)
    found = beside(model, "fp16", None)
    assert found.reference is None
    assert found.note == "not compared with net.reference.npz: it is for fp32"
    reference.write_bytes(b"PK\3\4")
    assert "is no reference of an export" in (beside(model, None, None).note or "")
    model.unlink()
    save_reference(save_conv(model), reference)
    model.unlink()
    assert "cannot be read" in (beside(model, None, None).note or "")


def test_scales_are_for_int8_by_tensorrt(model: Path) -> None:
    scales = model.with_suffix(".calibration")
    scales.write_text("TRT-8201-EntropyCalibration2\nx: 3f800000\n")
    assert beside(model, "int8", None).calibration == scales
    assert beside(model, "int8", "tensorrt").calibration == scales
    assert beside(model, "int8", "onnxruntime").calibration is None
    assert beside(model, "fp32", None).calibration is None
