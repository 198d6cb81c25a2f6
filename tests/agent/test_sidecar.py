"""What may be uploaded beside a model: a reference or a calibration cache, and no engine."""

import contextlib
import hashlib
import io

import numpy as np
import pytest
from edgesynth_agent.errors import RefusedError, StorageError
from edgesynth_agent.room import Room
from edgesynth_agent.sidecar import check_form, read_calibration
from edgesynth_agent.store import FILE, MODEL, UploadStore
from hypothesis import given
from hypothesis import strategies as st

from tests.agent.models import save_conv
from tests.agent.references import calibration_cache, npz
from tests.agent.stores import file_store

SCALES = calibration_cache({"input": 1.0, "/stem/Conv: output": 2.5})


@pytest.fixture
def write(tmp_path):
    def write(data):
        (tmp_path / "file").write_bytes(data)
        return str(tmp_path / "file")

    return write


def put(store, data):
    digest = hashlib.sha256(data).hexdigest()
    store.put(digest, io.BytesIO(data), len(data))
    return digest


@pytest.mark.parametrize("data", [SCALES, npz(x=np.zeros(3))])
def test_both_kinds_are_taken(tmp_path, data):
    store = file_store(tmp_path)
    assert store.bytes_of(put(store, data)) == len(data)


@pytest.mark.parametrize(
    "data",
    [b"ptrt" + bytes(500), b"ftrt" + bytes(500), b"\x80\x04N.", b"\x7fELF" + bytes(60), b"", b"TRT-8201"],
    ids=["plan", "newer plan", "pickle", "library", "nothing", "half a header"],
)
def test_an_engine_or_anything_else_is_refused_and_leaves_nothing(tmp_path, data):
    with pytest.raises(RefusedError, match="neither a reference"):
        put(file_store(tmp_path), data)
    assert not list(tmp_path.iterdir())


def test_a_model_is_no_file_and_a_file_is_no_model(tmp_path):
    model = save_conv(tmp_path / "conv.onnx").read_bytes()
    room = Room(str(tmp_path / "store"))
    with pytest.raises(RefusedError, match="neither a reference"):
        put(UploadStore(room, FILE, 10**6), model)
    with pytest.raises(RefusedError, match="no ONNX"):
        put(UploadStore(room, MODEL, 10**6), SCALES)


def test_one_bound_holds_for_models_and_files_together(tmp_path):
    model = save_conv(tmp_path / "conv.onnx").read_bytes()
    room = Room(str(tmp_path / "store"), len(model) + len(SCALES))
    models, files = UploadStore(room, MODEL, 10**6), UploadStore(room, FILE, 10**6)
    first, second = put(models, model), put(files, SCALES)
    assert (models.total_bytes(), files.total_bytes()) == (len(model), len(SCALES))
    models.pin(first)
    files.pin(second)
    with pytest.raises(StorageError, match="in use"):
        put(files, SCALES.replace(b"input", b"other"))
    files.unpin(second)
    put(files, SCALES.replace(b"input", b"other"))
    assert second not in files
    assert first in models


def test_a_cache_is_read_whole(write):
    assert read_calibration(write(SCALES)) == SCALES
    assert read_calibration(write(SCALES.replace(b"\n", b"\r\n"))) == SCALES.replace(b"\n", b"\r\n")
    assert read_calibration(write(SCALES.rstrip(b"\n"))) == SCALES.rstrip(b"\n")


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "no first line"),
        (npz(x=np.zeros(3)), "no first line"),
        (b"TRT-8201-EntropyCalibration2\n", "no scales"),
        (SCALES + b"\n\n", "line 4"),
        (SCALES + b"y: 3f80\n", "line 4"),
        (SCALES.replace(b"input: ", b"in\0put: "), "line 2"),
        (SCALES + b"\x80\x04pickle\n", "line 4"),
        (SCALES + b"x: 3f800000\n" * 1_500_000, "too large"),
    ],
)
def test_a_cache_that_is_none_is_refused(write, data, why):
    with pytest.raises(RefusedError, match=why):
        read_calibration(write(data))


@given(st.binary(max_size=300), st.booleans())
def test_garbage_is_refused_and_nothing_else(tmp_path_factory, data, headed):
    path = tmp_path_factory.getbasetemp() / "garbage.calibration"
    path.write_bytes(b"TRT-8201-EntropyCalibration2\n" * headed + data)
    for read in (check_form, read_calibration):
        with contextlib.suppress(RefusedError):
            read(str(path))
