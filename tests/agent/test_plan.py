"""A plan is read only where, and as what, it was built."""

import hashlib
import json
import os
from pathlib import Path

import pytest
from edgesynth_agent.errors import AgentError, RefusedError, StorageError
from edgesynth_agent.files import sha256_of, write_together
from edgesynth_agent.gpu import device_model
from edgesynth_agent.plan import SCHEMA, PlanKey, check_plan, manifest_path, write_plan

DATA = b"an engine"
ONNX = "ab" * 32
KEY = PlanKey("quill", "tensorrt", "8.2.1.8", "fp16", ["FP16", "TF32"], [], ONNX, None)


@pytest.fixture
def plan(tmp_path):
    path = str(tmp_path / "net.plan")
    save(path)
    return path


def manifest(data=DATA, key=KEY):
    return {
        "schema": SCHEMA,
        "built": True,
        "module": key.module,
        "version": key.module_version,
        "precision": key.precision,
        "flags": key.flags,
        "onnx": {"path": "net.onnx", "sha256": key.onnx_sha256},
        "plan": {"path": "net.plan", "sha256": digest(data)},
        "key": dict(key._asdict()),
    }


def save(path, data=DATA, key=KEY):
    write_plan(path, memoryview(data), manifest(data, key))


def digest(data):
    return hashlib.sha256(data).hexdigest()


def check(path, **changes):
    wanted = {"device_model": "quill", "module": "tensorrt", "version": "8.2.1.8", "precision": "fp16", **changes}
    return check_plan(path, **wanted)


def test_the_plan_that_is_wanted_comes_as_its_bytes(plan):
    assert check(plan) == DATA
    assert check(plan, flags=["TF32", "FP16"], onnx_sha256=ONNX) == DATA


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"device_model": "Orin"}, "its device model is 'quill' and 'Orin' is wanted"),
        ({"device_model": None}, "its device model is 'quill' and none is wanted"),
        ({"module": "tensorrt_rtx"}, "its module is 'tensorrt' and 'tensorrt_rtx' is wanted"),
        ({"version": "8.2.1.9"}, "its version of the module is '8.2.1.8' and '8.2.1.9' is wanted"),
        ({"precision": "fp32"}, "its precision is 'fp16' and 'fp32' is wanted"),
        ({"flags": ["TF32"]}, "its builder flags is FP16+TF32 and TF32 is wanted"),
        ({"onnx_sha256": "cd" * 32}, f"its SHA-256 of the ONNX is '{ONNX}' and '{'cd' * 32}' is wanted"),
        ({"calibration_sha256": "ef" * 32}, f"its SHA-256 of the calibration cache is none and '{'ef' * 32}' is"),
        ({"compute_capabilities": ["8.6"]}, "its compute capabilities is none and 8.6 is wanted"),
        (
            {"version": "10.3.0", "precision": "int8"},
            "'10.3.0' is wanted, its precision is 'fp16' and 'int8' is wanted",
        ),
    ],
)
def test_a_wrong_plan_is_refused_with_what_differs_and_the_remedy(plan, changes, sentence):
    with pytest.raises(RefusedError) as caught:
        check(plan, **changes)
    assert sentence in caught.value.what
    assert caught.value.next_step.startswith("build it again on this device: edgesynth-agent build")
    assert "\n" not in str(caught.value)


def test_a_plan_built_ahead_of_time_is_of_no_device(tmp_path):
    path = str(tmp_path / "net.plan")
    save(path, key=KEY._replace(device_model=None))
    assert check(path, device_model=None) == DATA
    with pytest.raises(RefusedError, match="its device model is none and 'quill' is wanted"):
        check(path)


@pytest.mark.parametrize("other", [b"another engine", DATA[:-1], b""])
def test_a_plan_that_was_exchanged_or_cut_is_refused(plan, other):
    Path(plan).write_bytes(other)
    with pytest.raises(RefusedError, match="not the plan that its manifest describes"):
        check(plan)


def test_a_new_manifest_beside_an_old_plan_is_refused(plan, tmp_path):
    save(str(tmp_path / "other.plan"), b"a newer engine")
    (tmp_path / "other.plan.json").replace(manifest_path(plan))
    with pytest.raises(RefusedError, match="not the plan that its manifest describes"):
        check(plan)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff",
        b"{}",
        b"[" * 100_000,
        b" " * (1 << 20) + b"{}",
        json.dumps({"schema": "edgesynth.engine/2", "plan": {"sha256": ""}, "key": {}}).encode(),
        json.dumps({"schema": SCHEMA, "plan": {"sha256": 1}, "key": {}}).encode(),
        json.dumps({"schema": SCHEMA, "plan": {"sha256": ""}, "key": []}).encode(),
        json.dumps({"schema": SCHEMA, "built": False, "error": {}}).encode(),
    ],
)
def test_a_malformed_manifest_is_refused(plan, text):
    Path(manifest_path(plan)).write_bytes(text)
    with pytest.raises(RefusedError, match="its manifest is malformed"):
        check(plan)


@pytest.mark.parametrize(
    "key", [KEY._replace(calibration_sha256="ef" * 32), KEY._replace(compute_capabilities=["7.5"])]
)
def test_a_plan_of_another_calibration_or_gpu_is_refused_though_nobody_asked(plan, key):
    save(plan, key=key)
    with pytest.raises(RefusedError, match=r"calibration cache is 'efef.*none is wanted|is 7\.5 and none is wanted"):
        check(plan)
    assert check(plan, **{f: getattr(key, f) for f in ("calibration_sha256", "compute_capabilities")}) == DATA


def without(field):
    return {"key": {name: value for name, value in KEY._asdict().items() if name != field}}


@pytest.mark.parametrize(
    "changes",
    [
        {"key": {}},
        without("device_model"),
        without("calibration_sha256"),
        {"key": {**KEY._asdict(), "more": 1}},
        {"built": False},
        {"built": None},
        {"module": "tensorrt_rtx"},
        {"version": "9"},
        {"precision": "int8"},
        {"flags": ["FP16"]},
        {"onnx": {"path": "net.onnx", "sha256": "cd" * 32}},
        {"onnx": None},
    ],
)
def test_a_manifest_that_lacks_a_part_or_contradicts_itself_is_malformed(plan, changes):
    Path(manifest_path(plan)).write_text(json.dumps({**manifest(), **changes}))
    with pytest.raises(RefusedError, match="its manifest is malformed"):
        check(plan, device_model=None if changes == without("device_model") else "quill")


@pytest.mark.parametrize("which", ["net.plan", "net.plan.json"])
def test_a_pipe_does_not_make_it_wait(plan, tmp_path, which):
    (tmp_path / which).unlink()
    os.mkfifo(tmp_path / which)
    with pytest.raises(RefusedError, match=r"cannot be read \(it is no regular file\)"):
        check(plan)


def test_what_a_manifest_says_cannot_steer_a_terminal_nor_flood_it(plan):
    for name in ("\x1b[2Jx\nnl", "x" * 900_000):
        save(plan, key=KEY._replace(device_model=name))
        with pytest.raises(RefusedError, match="its device model is ") as caught:
            check(plan)
        assert caught.value.what.isprintable()
        assert len(caught.value.what) < 400


@pytest.mark.parametrize(
    ("gone", "what"), [("net.plan.json", "its manifest cannot be read"), ("net.plan", "cannot be")]
)
def test_what_is_not_there_is_refused(plan, tmp_path, gone, what):
    (tmp_path / gone).unlink()
    with pytest.raises(RefusedError, match=rf"{what}.*No such file or directory"):
        check(plan)


class TestFiles:
    def test_files_are_written_in_place_of_older_ones(self, tmp_path):
        (tmp_path / "b").write_bytes(b"old")
        write_together([(str(tmp_path / "a"), b"new a"), (str(tmp_path / "b"), memoryview(b"new b"))])
        assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"a": b"new a", "b": b"new b"}
        assert sha256_of(str(tmp_path / "b")) == digest(b"new b")

    def test_a_name_that_is_taken_by_a_folder_leaves_all_as_it_was(self, tmp_path):
        (tmp_path / "a").mkdir()
        (tmp_path / "b").write_bytes(b"old")
        with pytest.raises(StorageError, match=r"/a: Is a directory; name a folder"):
            write_together([(str(tmp_path / "a"), b"new"), (str(tmp_path / "b"), b"new")])
        assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]
        assert (tmp_path / "b").read_bytes() == b"old"

    def test_a_folder_that_is_not_there_is_one_line(self, tmp_path):
        with pytest.raises(AgentError, match="gone/a: No such file or directory"):
            write_together([(str(tmp_path / "gone" / "a"), b"")])


class Driver:
    """libcuda as far as it is asked; `fails` names the call that returns an error."""

    def __init__(self, name=b"NVIDIA H100\0", fails=None):
        self._name, self._fails = name, fails

    def cuInit(self, flags):  # noqa: N802  # CUDA's names
        return 100 if self._fails == "cuInit" else 0

    def cuDeviceGet(self, device, ordinal):  # noqa: N802
        assert ordinal == 0
        return 101 if self._fails == "cuDeviceGet" else 0

    def cuDeviceGetName(self, name, size, device):  # noqa: N802
        name.raw = self._name.ljust(size, b"\0")
        return 1 if self._fails == "cuDeviceGetName" else 0


class TestDeviceModel:
    def test_a_jetson_has_a_device_tree(self, tmp_path):
        (tmp_path / "model").write_bytes(b"NVIDIA Jetson TX2\0")
        assert device_model(str(tmp_path / "model"), load=None) == "NVIDIA Jetson TX2"

    def test_elsewhere_the_driver_says_it(self, tmp_path):
        assert device_model(str(tmp_path / "none"), load=lambda name: Driver()) == "NVIDIA H100"

    @pytest.mark.parametrize("fails", ["cuInit", "cuDeviceGet", "cuDeviceGetName"])
    def test_a_driver_without_a_gpu_is_none(self, tmp_path, fails):
        assert device_model(str(tmp_path / "none"), load=lambda name: Driver(fails=fails)) is None

    def test_no_driver_is_none(self, tmp_path):
        def missing(name):
            raise OSError(f"{name}: cannot open shared object file")

        assert device_model(str(tmp_path / "none"), load=missing) is None
