import json

import pytest
from pydantic import ValidationError

from edgesynth.records import Engine, Genome, Latency, Measurement, Window

MEASUREMENT = {
    "schema": "edgesynth.measurement/1",
    "target": "host",
    "source": "measured",
    "device": {"name": "a laptop"},
    "engine": {"backend": "onnxruntime", "version": "1.20", "precision": "fp32", "batch": 1, "flags": {}},
    "windows": [{"duration_s": 1.5, "inferences": 900, "energy_j": None, "samples": 0}],
    "idle_power_w": None,
    "power_w": None,
    "latency_ms": {"mean": 1.6, "p50": 1.5, "p90": 1.9, "p99": 2.5},
    "energy_mj": None,
    "inferences_per_joule": None,
    "ci95": {"latency_ms": [1.4, 1.8], "energy_mj": None},
    "warnings": ["no power sensor"],
}


LATER = {
    "tier": "quick",
    "statistic": "median",
    "idle": [{"when": "before", "duration_s": 10.0, "power_w": 3.0, "samples": 900, "reason": None}],
    "dynamic_energy_mj": 1.5,
    "conditions": {"gpu_mhz": None},
    "reference": {
        "images": 16,
        "max_abs_error": 1e-5,
        "argmax_agreement": None,
        "passed": True,
        "outputs": {"y": {"max_abs_error": 1e-5, "tolerance": 1e-3, "argmax_agreement": None, "passed": True}},
    },
    "network": {"sha256": "0" * 64, "kernels": []},
    "layers": [{"layer": "conv1", "kind": "convolution", "latency_ms": 0.1, "energy_mj": None}],
    "trace": {"file": "0.jsonl.gz", "sha256": "0" * 64, "bytes": 12},
    "measured_unix_s": 1.8e9,
}
"""Fields that came later."""


def test_a_measurement_survives_json_with_its_schema_named():
    windows = [{**MEASUREMENT["windows"][0], "error_j": None, "invalid": "the GPU clock fell"}]
    document = {**MEASUREMENT, **LATER, "windows": windows}
    measurement = Measurement.model_validate(document)
    assert json.loads(measurement.model_dump_json()) == document
    assert Measurement.model_validate_json(measurement.model_dump_json()) == measurement


def test_a_measurement_of_an_earlier_agent_is_read_and_fits_the_schema():
    measurement = Measurement.model_validate(MEASUREMENT)
    assert all(getattr(measurement, name) is None for name in LATER)
    schema = Measurement.model_json_schema(by_alias=True, mode="serialization")
    assert set(schema["required"]) == set(MEASUREMENT)
    assert set(schema["$defs"]["Window"]["required"]) == set(MEASUREMENT["windows"][0])


@pytest.mark.parametrize(
    "change",
    [
        {"schema": "edgesynth.measurement/2"},
        {"source": "guessed"},
        {"latency": 3},
        {"energy_mj": float("nan")},
        {"inferences_per_joule": float("inf")},
        {"engine": {**MEASUREMENT["engine"], "precision": "fp64"}},
        {"windows": [{"duration_s": 1.0}]},
    ],
    ids=lambda change: next(iter(change)),
)
def test_what_is_no_measurement_is_refused(change):
    with pytest.raises(ValidationError):
        Measurement.model_validate({**MEASUREMENT, **change})


@pytest.mark.parametrize("missing", sorted(MEASUREMENT.keys() - {"schema"}))
def test_a_figure_that_is_unknown_is_null_and_not_left_out(missing):
    with pytest.raises(ValidationError, match=missing):
        Measurement.model_validate({key: value for key, value in MEASUREMENT.items() if key != missing})


@pytest.mark.parametrize(
    ("record", "field"),
    [
        (Genome(widths={"conv": 8}, blocks={}), "widths"),
        (Window(duration_s=1.0, inferences=3, energy_j=0.5, samples=9), "energy_j"),
        (Latency(mean=1.0, p50=None, p90=None, p99=None), "mean"),
        (Engine(backend="model", version="1", precision="fp16", batch=1), "batch"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_record_cannot_be_changed(record, field):
    with pytest.raises(ValidationError, match="frozen"):
        setattr(record, field, getattr(record, field))
