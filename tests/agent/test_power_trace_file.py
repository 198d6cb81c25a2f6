"""Traces in files: what is written is read, and nothing else is."""

import gzip
import json
from pathlib import Path

import pytest
from edgesynth_agent.errors import RefusedError, StorageError
from edgesynth_agent.power import PowerSample, PowerTrace, read_trace, trace_file, write_trace
from hypothesis import given
from hypothesis import strategies as st

HEADER = {
    "schema": "edgesynth.power-trace/1",
    "update_period_s": 0.01,
    "averages": False,
    "invalid": None,
    "facts": {"sensor": "ina3221"},
}


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "trace.gz")


def write(path, *lines):
    with gzip.open(path, "wb") as file:
        file.write(b"\n".join(line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines))


def refused(path):
    with pytest.raises(RefusedError) as caught:
        read_trace(path)
    assert "\n" not in str(caught.value)
    return caught.value.what


@given(st.lists(st.tuples(st.floats(-1e9, 1e9), st.floats(-1e9, 1e9)), unique_by=lambda pair: pair[0]), st.booleans())
def test_what_is_written_is_read(tmp_path_factory, pairs, averages):
    path = str(tmp_path_factory.getbasetemp() / "given.gz")
    trace = PowerTrace([PowerSample(*pair) for pair in sorted(pairs)], None, 0.25, averages)
    write_trace(path, trace, {"sensor": "rapl", "rails": ["package-0"]})
    assert read_trace(path) == (trace, {"sensor": "rapl", "rails": ["package-0"]})


def test_the_same_trace_gives_the_same_bytes(tmp_path):
    trace = PowerTrace([PowerSample(0.1, 5.0)], "the sensor is stuck")
    for name in ("a.gz", "b.gz"):
        write_trace(str(tmp_path / name), trace, {})
    assert (tmp_path / "a.gz").read_bytes() == (tmp_path / "b.gz").read_bytes()
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.gz", "b.gz"]


def test_where_it_cannot_be_written_is_told(tmp_path):
    with pytest.raises(StorageError, match="No such file"):
        write_trace(str(tmp_path / "nowhere" / "x.gz"), PowerTrace([]), {})


@pytest.mark.parametrize(
    ("samples", "reason"),
    [
        ([[0.0, 5.0], [0.0, 5.0]], "time does not ascend"),
        ([[1.0, 5.0], [0.0, 5.0]], "time does not ascend"),
        ([[0.0]], "a time and a power"),
        ([{"t": 0.0}], "a time and a power"),
        ([[0.0, True]], "a time and a power"),
        ([[0.0, "5"]], "a time and a power"),
        ([[0.0, float("nan")]], "a time and a power"),
        ([[0.0, float("inf")]], "a time and a power"),
        ([[0.0, 10**400]], "too large"),
        ([b"[0.0, 5.0"], "line 2|delimiter"),
        ([b"\xff\xfe"], "codec|decode"),
        ([b"[" * 60000], "recursion|Expecting|depth"),
    ],
)
def test_bad_samples_are_refused(path, samples, reason):
    write(path, HEADER, *samples)
    assert any(part in refused(path) for part in reason.split("|"))


@pytest.mark.parametrize(
    "change",
    [
        {"schema": "edgesynth.power-trace/2"},
        {"update_period_s": "0.01"},
        {"update_period_s": -1},
        {"averages": 1},
        {"invalid": 5},
        {"facts": []},
    ],
)
def test_a_header_of_other_types_is_refused(path, change):
    write(path, {**HEADER, **change})
    refused(path)


@pytest.mark.parametrize("left_out", sorted(HEADER))
def test_a_header_without_a_field_is_refused(path, left_out):
    write(path, {name: value for name, value in HEADER.items() if name != left_out})
    refused(path)


def test_files_that_are_something_else_are_refused(path, tmp_path):
    for content in (b"", b"PK\x03\x04", gzip.compress(b""), gzip.compress(b"[]"), gzip.compress(b"{}")[:-4]):
        Path(path).write_bytes(content)
        refused(path)
    refused(str(tmp_path / "nowhere.gz"))


def test_a_file_that_expands_without_end_is_refused_early(path, monkeypatch):
    monkeypatch.setattr(trace_file, "_MOST_SAMPLES", 1000)
    write(path, HEADER, *[[float(index), 5.0] for index in range(1002)])
    assert "more than 1000 samples" in refused(path)
    write(path, b" " * 50_000_000)
    refused(path)
