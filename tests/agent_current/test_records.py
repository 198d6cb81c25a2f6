"""What the agent writes is what the workstation reads: the record of a measurement, its schema, the reference."""

import json
import math
from pathlib import Path

import edgesynth_agent
import numpy as np
import pytest
from edgesynth_agent.clock import FakeClock
from edgesynth_agent.conditions import FakeConditions
from edgesynth_agent.engines import FakeEngine
from edgesynth_agent.engines.reference import compare, read_reference
from edgesynth_agent.sidecar import read_calibration
from edgesynth_exporters.quantize import calibration_cache
from edgesynth_exporters.reference import Reference, write_reference

import edgesynth
from edgesynth.records import Measurement
from tests.agent import references
from tests.agent.models import save_conv
from tests.agent.protocol_rig import QUICK, REPORTED, SCREENING, START_S, Rig
from tests.agent.running import RunningAgent, job_request

ADDED = {"network", "layers", "trace", "measured_unix_s"}
SCHEMA = Path(edgesynth_agent.__file__).parent / "schemas" / "measurement-1.json"


def schema_text():
    return json.dumps(Measurement.model_json_schema(by_alias=True, mode="serialization"), indent=2) + "\n"


def is_one(document):
    """Whether the workstation reads all of a record and changes nothing; it adds what it alone knows."""
    read = Measurement.model_validate(document).model_dump(mode="json", by_alias=True)
    return {name: value for name, value in read.items() if name not in ADDED or value is not None} == document


def test_the_version_is_that_of_the_workstation():
    assert edgesynth_agent.__version__ == edgesynth.__version__


def test_the_schema_is_that_of_the_record():
    assert SCHEMA.read_text() == schema_text(), "after a change of it: python -m tests.agent_current.test_records"


@pytest.mark.parametrize("schedule", [SCREENING, QUICK, REPORTED])
@pytest.mark.parametrize("power_w", [None, lambda time_s: 5 + math.sin(time_s)])
@pytest.mark.parametrize("processor", ["cpu", "gpu"])
def test_a_measurement_is_a_record(schedule, power_w, processor):
    rig = Rig(schedule, latencies_s=(0.05, 0.0501, 0.07), processor=processor)
    assert is_one(rig.measure(power_w))
    falling = FakeConditions(rig.clock, lambda time_s: 1300.5 if time_s < START_S + 9 else 1000.0)
    assert is_one(rig.measure(power_w, conditions=falling))


def test_the_result_of_a_job_is_a_record(tmp_path):
    with RunningAgent(tmp_path) as agent:
        job = agent.ended(agent.submit(job_request(agent.upload(save_conv(tmp_path / "conv.onnx")))))
    assert job["status"] == "done", job["error"]
    assert is_one(job["result"])


def test_the_reference_of_an_export_is_read(tmp_path):
    x = np.random.default_rng(0).standard_normal((5, 4)).astype(np.float32)
    path = tmp_path / "net.reference.npz"
    write_reference(path, Reference({"x": x}, {"y": 2 * x}, {"y": 0.01}, {"onnx_sha256": "a" * 64}))
    engine = FakeEngine(FakeClock(), [0.001], factor=2.0)
    engine.prepare(2, 0)
    assert compare(engine, read_reference(str(path), "a" * 64), 2)["passed"]


def test_the_calibration_cache_of_an_export_is_read(tmp_path):
    amax = {"input": 1.0, "/stem/Conv: output": 2.5}
    path = tmp_path / "net.calibration"
    path.write_text(calibration_cache(amax, "8.2.1"))
    assert read_calibration(str(path)) == path.read_bytes() == references.calibration_cache(amax)


if __name__ == "__main__":
    SCHEMA.write_text(schema_text())
