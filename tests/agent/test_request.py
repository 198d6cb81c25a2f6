"""The job request: every field that is wrong is named."""

import copy

import pytest
from edgesynth_agent.errors import RequestError
from edgesynth_agent.request import parse_job_request

GOOD = {
    "model": "a" * 64,
    "target": "host",
    "batch": 1,
    "limit_s": 60,
    "schedule": {"warmup_min_s": 0.3, "warmup_max_s": 1.5, "windows": 5, "window_s": 0.4},
}


def changed(field, value):
    document = copy.deepcopy(GOOD)
    place = document
    *path, last = field.split(".")
    for part in path:
        place = place[part]
    place[last] = value
    return document


def test_a_good_request_is_what_was_asked():
    assert parse_job_request(GOOD).document() == GOOD


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("model", "A" * 64),
        ("model", "../../etc/passwd"),
        ("model", None),
        ("target", 3),
        ("batch", 0),
        ("batch", 1.0),
        ("batch", True),
        ("batch", 1025),
        ("batch", 10**400),
        ("limit_s", 10**400),
        ("limit_s", 0),
        ("limit_s", 1e9),
        ("limit_s", 3.0),
        ("schedule", []),
        ("schedule.windows", 1),
        ("schedule.windows", "5"),
        ("schedule.window_s", -1),
        ("schedule.window_s", float("nan")),
        ("schedule.warmup_max_s", 0.1),
        ("engine", "pytorch"),
        ("engine", None),
        ("engine", []),
        ("precision", "int4"),
        ("reference", "A" * 64),
        ("reference", None),
        ("reference", "../../etc/passwd"),
        ("calibration", 7),
        ("calibration", "a" * 64),  # without the precision int8
        ("build_limit_s", 0),
        ("build_limit_s", 1e9),
        ("build_limit_s", None),
    ],
)
def test_a_field_that_is_wrong_is_named(field, value):
    with pytest.raises(RequestError) as caught:
        parse_job_request(changed(field, value))
    assert field.rsplit(".", 1)[-1] in caught.value.where


@pytest.mark.parametrize("engine", ["onnxruntime", "tensorrt", "tensorrt_rtx"])
@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_engine_and_precision_may_be_asked_for(engine, precision):
    asked = {**GOOD, "engine": engine, "precision": precision}
    assert parse_job_request(asked).document() == asked
    assert parse_job_request({**GOOD, "engine": engine}).precision is None


def test_files_may_be_named_and_a_build_be_bounded():
    asked = {**GOOD, "precision": "int8", "reference": "b" * 64, "calibration": "c" * 64, "build_limit_s": 60.5}
    request = parse_job_request(asked)
    assert request.document() == asked
    assert request.files() == {"reference": "b" * 64, "calibration": "c" * 64}
    assert request.longest_build_s == 60.5
    assert parse_job_request(GOOD).files() == {}
    assert parse_job_request(GOOD).longest_build_s == 1800


@pytest.mark.parametrize("document", [None, [], "job", 1])
def test_what_is_no_object_is_refused(document):
    with pytest.raises(RequestError, match="no JSON object"):
        parse_job_request(document)


def test_a_missing_field_is_named():
    with pytest.raises(RequestError, match="'batch': it is missing"):
        parse_job_request({key: value for key, value in GOOD.items() if key != "batch"})


def test_an_unknown_field_is_named():
    with pytest.raises(RequestError, match="'clocks': it is unknown"):
        parse_job_request(changed("clocks", "max"))
