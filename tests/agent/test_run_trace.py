"""The trace of a job: the figures of its record can be computed from it again."""

import gzip
import json
import random
import re

import pytest
from edgesynth_agent.clock import FakeClock
from edgesynth_agent.document import EngineFacts
from edgesynth_agent.engines import FakeEngine
from edgesynth_agent.errors import RefusedError, StorageError
from edgesynth_agent.measure import Schedule, measure
from edgesynth_agent.power import FakePower
from edgesynth_agent.run_trace import RunTrace, read_run_trace, write_run_trace

SCHEDULE = Schedule(warmup_min_s=1.0, warmup_max_s=5.0, windows=3, window_s=2.0)


@pytest.fixture
def trace():
    clock = FakeClock(1000.0)
    chance = random.Random(0)
    engine = FakeEngine(clock, [chance.uniform(0.0009, 0.0015) for _ in range(997)])
    engine.prepare(2, 0)
    power = FakePower(clock, lambda time_s: 5.0 + 0.1 * (time_s % 1.0), period_s=0.0137)
    run = measure(engine, clock, power, SCHEDULE, lambda stage, share: None)
    return RunTrace("host", {"hostname": "x"}, EngineFacts.of(engine), 2, 0, SCHEDULE, run)


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "trace.jsonl.gz")


def test_the_record_is_computed_again_to_the_last_digit(trace, path):
    record = trace.document()
    assert record["energy_mj"] is not None
    write_run_trace(path, trace)
    again = read_run_trace(path)
    assert again == trace
    assert json.dumps(again.document()) == json.dumps(record)


def test_the_figures_follow_from_the_lines_by_hand(trace, path):
    record = trace.document()
    write_run_trace(path, trace)
    with gzip.open(path, "rt") as file:
        lines = [json.loads(line) for line in file]
    windows = [line for line in lines if isinstance(line, dict) and "start_s" in line]
    (begin,) = [index for index, line in enumerate(lines) if "update_period_s" in line]
    power = lines[begin + 1 :]
    joules = 0.0
    for window in windows:
        inside = [pair for pair in power if window["start_s"] <= pair[0] <= window["end_s"]]
        mean_w = sum(watts for _, watts in inside) / len(inside)
        joules += mean_w * (window["end_s"] - window["start_s"])
    inferences = sum(window["inferences"] for window in windows)
    assert 1e3 * joules / inferences == pytest.approx(record["energy_mj"], rel=5e-3)
    seconds = sum(window["end_s"] - window["start_s"] for window in windows)
    assert 1e3 * seconds / inferences == pytest.approx(record["latency_ms"]["mean"])


def test_where_it_cannot_be_written_is_told(trace, tmp_path):
    with pytest.raises(StorageError, match="No such file"):
        write_run_trace(str(tmp_path / "nowhere" / "x.gz"), trace)


def lines_of(path):
    with gzip.open(path, "rb") as file:
        return file.read().splitlines()


@pytest.mark.parametrize(
    "damage",
    [
        lambda lines: lines[1:],
        lambda lines: lines[:1],
        lambda lines: [b"{}", *lines[1:]],
        lambda lines: [lines[0].replace(b'"windows": 3', b'"windows": 4'), *lines[1:]],
        lambda lines: [lines[0].replace(b'"windows": 3', b'"windows": 99999999999'), *lines[1:]],
        lambda lines: [lines[0].replace(b'"windows": 3', b'"windows": -1'), *lines[1:]],
        lambda lines: [re.sub(rb'"conditions": \d+', b'"conditions": 99999999999', lines[0]), *lines[1:]],
        lambda lines: [*lines[:1], lines[1].replace(b'"inferences": ', b'"inferences": 9'), *lines[2:]],
        lambda lines: [*lines[:1], b'{"start_s": 0, "end_s": 1, "inferences": 99999999999}', *lines[2:]],
        lambda lines: [*lines[:2], b'["x"]', *lines[3:]],
        lambda lines: [b"[" * 60000, *lines[1:]],
        lambda lines: [lines[0].replace(b'"batch"', b'"bunch"'), *lines[1:]],
    ],
)
def test_what_is_no_trace_is_refused(trace, path, damage):
    write_run_trace(path, trace)
    changed = damage(lines_of(path))
    with gzip.open(path, "wb") as file:
        file.write(b"\n".join(changed))
    with pytest.raises(RefusedError, match="no trace of a run"):
        read_run_trace(path)


def test_a_file_that_expands_without_end_is_refused_early(path):
    with gzip.open(path, "wb") as file:
        file.write(b" " * 50_000_000)
    with pytest.raises(RefusedError):
        read_run_trace(path)
