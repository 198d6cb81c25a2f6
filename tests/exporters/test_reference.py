import json

import numpy as np
import pytest
from edgesynth_exporters.errors import ModelFileError
from edgesynth_exporters.reference import Reference, digest_of, read_reference, tolerance_elsewhere, write_reference
from hypothesis import given
from hypothesis import strategies as st


def reference(seed=0):
    rng = np.random.default_rng(seed)
    return Reference(
        inputs={"input": rng.standard_normal((16, 3, 4, 4)).astype(np.float32)},
        outputs={
            "output_classes": rng.standard_normal((16, 5)).astype(np.float32),
            "output_best": rng.integers(0, 5, 16),
        },
        tolerance={"output_classes": 1e-3, "output_best": 0.5},
        about={"onnx_sha256": "ab" * 32, "precision": "fp16"},
    )


def same(one, other):
    return one.keys() == other.keys() and all(
        np.array_equal(one[name], other[name]) and one[name].dtype == other[name].dtype for name in one
    )


def test_what_was_written_comes_back(tmp_path):
    write_reference(tmp_path / "m.npz", reference())
    found = read_reference(tmp_path / "m.npz")
    assert same(found.inputs, reference().inputs)
    assert same(found.outputs, reference().outputs)
    assert found.tolerance == reference().tolerance
    assert found.about["onnx_sha256"] == "ab" * 32
    assert found.about["sha256"]["outputs/output_best"] == digest_of(reference().outputs["output_best"])


def test_numpy_alone_can_read_it_without_pickles(tmp_path):
    write_reference(tmp_path / "m.npz", reference())
    with np.load(tmp_path / "m.npz", allow_pickle=False) as archive:
        assert set(archive.files) == {
            "inputs/input",
            "outputs/output_classes",
            "outputs/output_best",
            "tolerance/output_classes",
            "tolerance/output_best",
            "about",
        }
        assert json.loads(str(archive["about"]))["precision"] == "fp16"


def test_the_same_reference_gives_the_same_bytes(tmp_path):
    for name, seed in (("one", 0), ("two", 0), ("other", 1)):
        write_reference(tmp_path / f"{name}.npz", reference(seed))
    content = {name: (tmp_path / f"{name}.npz").read_bytes() for name in ("one", "two", "other")}
    assert content["one"] == content["two"] != content["other"]


def test_changed_numbers_are_found(tmp_path):
    path = tmp_path / "m.npz"
    write_reference(path, reference())
    with np.load(path, allow_pickle=False) as archive:
        content = {name: archive[name].copy() for name in archive.files}
    content["outputs/output_classes"][3, 2] += 1
    np.savez(path, **content)
    with pytest.raises(ModelFileError, match="'outputs/output_classes' is not what was written"):
        read_reference(path)


@pytest.mark.parametrize("content", [None, b"", b"not an archive", "truncated", "other", "pickle"])
def test_what_is_no_reference_is_one_line(tmp_path, content):
    path = tmp_path / "m.npz"
    if content == "truncated":
        write_reference(path, reference())
        path.write_bytes(path.read_bytes()[:2000])
    elif content == "other":
        np.savez(path, weights=np.zeros(3))
    elif content == "pickle":
        np.savez(path, allow_pickle=True, about=np.array([{}], dtype=object))
    elif content is not None:
        path.write_bytes(content)
    with pytest.raises(ModelFileError, match="is no reference of an export") as error:
        read_reference(path)
    assert len(str(error.value).splitlines()) == 1


@given(st.floats(0, 1e6), st.floats(0, 1e3))
def test_what_a_board_may_differ_by_covers_what_was_seen_here(greatest, error):
    allowed = tolerance_elsewhere(greatest, error)
    assert allowed >= max(1e-3, error)
    assert allowed >= 1e-3 * greatest
    assert tolerance_elsewhere(greatest, 2 * error) >= allowed
