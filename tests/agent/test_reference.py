"""The comparison with what a network answered where it was exported."""

import contextlib
import zipfile

import numpy as np
import pytest
from edgesynth_agent.clock import FakeClock
from edgesynth_agent.engines import FakeEngine, OnnxRuntimeEngine
from edgesynth_agent.engines import reference as module
from edgesynth_agent.engines.reference import compare, read_reference, require
from edgesynth_agent.errors import EngineError, RefusedError
from hypothesis import given
from hypothesis import strategies as st

from tests.agent.models import save_conv
from tests.agent.references import npz, write_reference

IMAGES = 5
MODEL = "a" * 64


@pytest.fixture
def path(tmp_path):
    return tmp_path / "net.reference.npz"


def save(path, factor=2.0, tolerance=0.01):
    """The reference of a network that multiplies four numbers."""
    x = np.random.default_rng(0).standard_normal((IMAGES, 4)).astype(np.float32)
    return write_reference(path, MODEL, {"x": x}, {"y": factor * x}, {"y": tolerance})


def engine(batch, factor=2.0):
    fake = FakeEngine(FakeClock(), [0.001], factor=factor)
    fake.prepare(batch, 0)
    return fake


@pytest.mark.parametrize("batch", [1, 2, 5, 16])
def test_the_same_network_passes_in_any_batch(path, batch):
    found = compare(engine(batch), read_reference(save(path), MODEL), batch)
    assert found == {
        "images": IMAGES,
        "max_abs_error": 0.0,
        "argmax_agreement": 1.0,
        "passed": True,
        "outputs": {"y": {"max_abs_error": 0.0, "tolerance": 0.01, "argmax_agreement": 1.0, "passed": True}},
    }
    require(found, "net")


def test_an_error_within_the_tolerance_is_told_and_passes(path):
    found = compare(engine(2, factor=2.001), read_reference(save(path), MODEL), 2)
    assert 0 < found["max_abs_error"] < 0.01
    assert found["passed"]


def test_another_network_fails_with_a_sentence(path):
    found = compare(engine(2, factor=-2.0), read_reference(save(path), MODEL), 2)
    assert not found["passed"]
    assert found["argmax_agreement"] < 1
    with pytest.raises(EngineError, match=r"net: output 'y' differs .* by up to .* and 0.01 is allowed \(same answer"):
        require(found, "net")


@pytest.mark.parametrize("factor", [float("nan"), float("inf")])
def test_what_is_no_number_never_passes(path, factor):
    found = compare(engine(2, factor=factor), read_reference(save(path, tolerance=1e300), MODEL), 2)
    assert found["max_abs_error"] is None
    assert not found["passed"]
    with pytest.raises(EngineError, match="no finite numbers"):
        require(found, "net")


def test_a_real_network_against_itself(path, tmp_path):
    model = str(save_conv(tmp_path / "net.onnx"))
    runtime = OnnxRuntimeEngine(model)
    runtime.prepare(IMAGES, 0)
    x = np.random.default_rng(0).standard_normal((IMAGES, 3, 16, 16)).astype(np.float32)
    write_reference(path, MODEL, {"x": x}, runtime.outputs({"x": x}), {"z": 1e-5})
    runtime.prepare(2, 0)
    assert compare(runtime, read_reference(str(path), MODEL), 2)["passed"]


def test_a_reference_of_another_model_is_refused(path):
    with pytest.raises(RefusedError, match="it is of the model " + MODEL):
        read_reference(save(path), "b" * 64)
    assert read_reference(str(path), None).images == IMAGES


def test_other_names_or_sizes_are_told(path, tmp_path):
    x = np.zeros((2, 4), np.float32)
    for inputs, outputs in (({"q": x}, {"y": x}), ({"x": x}, {"q": x}), ({"x": x}, {"y": x[:, :3]})):
        write_reference(path, MODEL, inputs, outputs, dict.fromkeys(outputs, 1.0))
        with pytest.raises(EngineError, match=r"the network|the outputs|output 'y'"):
            compare(engine(2), read_reference(str(path), MODEL), 2)


ABOUT = np.array('{"onnx_sha256": "' + MODEL + '"}')


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"PK\x03\x04 damaged",
        npz(about=ABOUT),
        npz(**{"inputs/x": np.zeros((2, 4)), "outputs/y": np.zeros((2, 4)), "tolerance/y": 1.0}),
        npz(
            **{"about": np.array("{"), "inputs/x": np.zeros((2, 4)), "outputs/y": np.zeros((2, 4)), "tolerance/y": 1.0}
        ),
        npz(**{"about": ABOUT, "inputs/x": np.zeros((2, 4)), "outputs/y": np.zeros((3, 4)), "tolerance/y": 1.0}),
        npz(**{"about": ABOUT, "inputs/x": np.zeros((0, 4)), "outputs/y": np.zeros((0, 4)), "tolerance/y": 1.0}),
        npz(**{"about": ABOUT, "inputs/x": np.zeros((2, 4)), "outputs/y": np.zeros((2, 4))}),
        npz(**{"about": ABOUT, "inputs/x": np.float32(1), "outputs/y": np.zeros((2, 4)), "tolerance/y": 1.0}),
        npz(**{"about": ABOUT, "other/x": np.zeros((2, 4))}),
        npz(**{"about": ABOUT, "inputs/x": np.array([{}], dtype=object)}),
        npz(**{"about": ABOUT, "inputs/x": np.array(["text"]), "outputs/y": np.zeros(1), "tolerance/y": 1.0}),
        npz(**{"about": ABOUT, "inputs/x": np.zeros(2), "outputs/y": np.array([1, np.nan]), "tolerance/y": 1.0}),
        npz(**{"about": ABOUT, "inputs/x": np.zeros(2), "outputs/y": np.zeros(2), "tolerance/y": np.inf}),
    ],
)
def test_a_file_that_is_none_is_refused(path, content):
    path.write_bytes(content)
    with pytest.raises(RefusedError, match="no reference of an export") as caught:
        read_reference(str(path), MODEL)
    assert "\n" not in str(caught.value)


@given(st.data())
def test_a_damaged_file_is_refused_or_read_and_nothing_else(tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "damaged.reference.npz"
    save(path)
    if data.draw(st.booleans()):
        with zipfile.ZipFile(path) as archive:
            parts = {name: archive.read(name) for name in archive.namelist()}
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, part in parts.items():
                archive.writestr(name, part)
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    with contextlib.suppress(RefusedError):
        read_reference(str(path), MODEL)


def test_a_file_that_expands_without_end_is_refused_early(path, monkeypatch):
    monkeypatch.setattr(module, "_MOST_BYTES", 1000)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("inputs/x.npy", b"\0" * 1001)
    with pytest.raises(RefusedError, match="expands to 1001 bytes"):
        read_reference(str(path), MODEL)
