"""The worker with a TensorRT: a whole job in a process of its own, over fakes of each release."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import edgesynth_agent
import numpy as np
import pytest
from edgesynth_agent.countdown import BUILDING
from edgesynth_agent.run_trace import recompute

from tests.agent import fake_pycuda
from tests.agent.engine_models import save_layers
from tests.agent.fake_tensorrt import RELEASES, install
from tests.agent.fake_tensorrt_runtime import answer
from tests.agent.references import calibration_cache, write_reference
from tests.agent.schemas import Record

PACKAGE = Path(edgesynth_agent.__file__).parent
SCHEDULE = {"warmup_min_s": 0.01, "warmup_max_s": 0.05, "windows": 3, "window_s": 0.02}


@pytest.fixture
def device(tmp_path):
    return Device(tmp_path)


class Device:
    """A folder with a model, its reference, and the modules of a fake board."""

    def __init__(self, folder):
        self.folder = folder
        self.modules = folder / "modules"
        self.modules.mkdir()
        fake_pycuda.install(self.modules)
        # What the GPU is called: there is none here that could say it.
        text = f"import edgesynth_agent.gpu as gpu\ngpu.device_model.__defaults__ = ({str(folder / 'model')!r}, None)\n"
        (self.modules / "sitecustomize.py").write_text(text)
        (folder / "model").write_text("quill\0")
        self.model = save_layers(folder / "net.onnx", batch=2)
        self.digest = hashlib.sha256(self.model.read_bytes()).hexdigest()

    def reference(self, error=0.0, images=3):
        path = self.folder / "net.reference.npz"
        x = np.random.default_rng(0).standard_normal((images, 3, 8, 8)).astype(np.float32)
        return write_reference(path, self.digest, {"x": x}, {"y": answer(x) + error}, {"y": 1e-3})

    def run(self, release="8.2", request=(), **order):
        """The last event of the worker."""
        return self.events(release, request, **order)[-1]

    def stages(self, **order):
        return [event["stage"] for event in self.events(**order) if "stage" in event]

    def events(self, release="8.2", request=(), **order):
        install(self.modules, release, shape=(2, 3, 8, 8))
        asked = {"model": self.digest, "target": "host", "batch": 2, "limit_s": 60, "schedule": SCHEDULE}
        order = {
            "do": "measure",
            "model": str(self.model),
            "request": {**asked, **dict(request)},
            "device": {},
            "trace": str(self.folder / "trace.gz"),
            "limits": {"memory_mib": None, "cpu_s": None, "file_mib": None},
            "parent": os.getpid(),
            **order,
        }
        path = os.pathsep.join([str(self.modules), str(PACKAGE.parent)])
        worker = subprocess.Popen(
            [sys.executable, "-m", "edgesynth_agent", "worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": path},
            cwd="/",
        )
        with worker:
            worker.stdin.write(json.dumps(order).encode() + b"\n")
            worker.stdin.flush()
            events = [json.loads(line) for line in worker.stdout]
            said = worker.stderr.read().decode()
        assert "Traceback" not in said, said
        return events


@pytest.mark.parametrize("release", RELEASES)
def test_a_job_on_every_release(device, release):
    result = device.run(release, reference=device.reference())["result"]
    record = Record.of(result)
    assert (record.engine.backend, record.engine.version, record.engine.batch) == ("tensorrt", release + ".1", 2)
    assert record.latency_ms is not None
    assert record.reference is not None
    assert record.reference == {
        "images": 3,
        "max_abs_error": pytest.approx(0, abs=1e-5),
        "argmax_agreement": 1.0,
        "passed": True,
        "outputs": {"y": {**record.reference.outputs["y"], "tolerance": 1e-3, "passed": True}},
    }
    assert json.loads(json.dumps(recompute(str(device.folder / "trace.gz")))) == result
    assert any("throttling there would have gone unseen" in warning for warning in record.warnings)
    assert device.run(release)["result"]["engine"]["flags"]["plan_cached"] is True


def test_a_comparison_that_fails_is_the_end_of_the_job(device):
    error = device.run(reference=device.reference(error=0.5))["error"]
    assert error["what"].startswith("output 'y' differs from the reference by up to 0.5, and 0.001 is allowed")
    assert device.digest in error["where"]
    assert not (device.folder / "trace.gz").exists()


def test_a_reference_of_another_model_is_refused(device):
    device.digest = "b" * 64
    path = device.reference()
    device.digest = "a" * 64
    assert "it is of the model " + "b" * 64 in device.run(reference=path)["error"]["what"]


def test_the_engine_and_the_precision_can_be_asked_for(device):
    engine = device.run(request={"engine": "tensorrt", "precision": "fp16"})["result"]["engine"]
    assert (engine["backend"], engine["precision"]) == ("tensorrt", "fp16")
    assert engine["flags"]["builder_flags"] == ["FP16", "TF32"]
    engine = device.run(request={"engine": "onnxruntime"})["result"]["engine"]
    assert (engine["backend"], engine["precision"]) == ("onnxruntime", "fp32")


def test_what_cannot_be_built_is_told(device):
    what = device.run("11", request={"precision": "fp16"})["error"]["what"]
    assert "takes the precision from the ONNX" in what


def test_a_batch_that_the_network_is_not_fixed_to_is_told(device):
    what = device.run(request={"batch": 4})["error"]["what"]
    assert what == "batch 4 was asked for, and the network is fixed to 2"


def test_a_build_is_a_stage_of_its_own_and_a_plan_that_is_kept_is_none(device, tmp_path):
    plans = tmp_path / "kept"
    stages = [device.stages(plans=str(plans)) for _ in range(2)]
    assert stages[0][:3] == ["loading", BUILDING, "loading"]
    assert BUILDING not in stages[1]
    assert list(plans.glob("*.plan"))


def test_scales_come_from_a_calibration_cache(device, tmp_path):
    scales = tmp_path / "net.calibration"
    scales.write_bytes(calibration_cache({"x": 1.0, "y": 2.0}))
    result = device.run(request={"precision": "int8", "calibration": "c" * 64}, calibration=str(scales))["result"]
    assert result["engine"]["precision"] == "int8"
    assert "INT8" in result["engine"]["flags"]["builder_flags"]
    scales.write_text("TRT-8201-EntropyCalibration2\nx\n")
    error = device.run(request={"precision": "int8", "calibration": "c" * 64}, calibration=str(scales))["error"]
    assert "line 2 is no tensor" in error["what"]


def test_what_a_played_device_gives_is_simulated(device, tmp_path, monkeypatch):
    assert device.run()["result"]["source"] == "measured"
    monkeypatch.setenv("EDGESYNTH_SIMULATED", "virtual")
    result = device.run()["result"]
    assert (result["source"], result["device"]["source"]) == ("simulated", "simulated")
    assert json.loads(json.dumps(recompute(str(device.folder / "trace.gz")))) == result
