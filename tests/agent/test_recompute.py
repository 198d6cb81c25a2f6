"""A trace gives its record again, as a function and as a command."""

import gzip
import json
import math
import os
import subprocess
import sys

import pytest
from edgesynth_agent.cli import main
from edgesynth_agent.conditions import FakeConditions
from edgesynth_agent.document import measurement_document
from edgesynth_agent.errors import RefusedError
from edgesynth_agent.run_trace import recompute, write_run_trace
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.agent.protocol_rig import START_S, Rig
from tests.agent.schemas import Record


class TestRecompute:
    @pytest.fixture
    def path(self, tmp_path):
        return str(tmp_path / "trace.gz")

    @pytest.mark.parametrize("power_w", [None, lambda time_s: 5 + math.sin(time_s)])
    @pytest.mark.parametrize("processor", ["cpu", "gpu"])
    def test_a_trace_gives_the_record_again(self, path, power_w, processor):
        rig = Rig(latencies_s=(0.05, 0.0501, 0.07), processor=processor)
        falling = FakeConditions(rig.clock, lambda time_s: 1300.5 if time_s < START_S + 9 else 1000.0)
        record = rig.measure(power_w, conditions=falling)
        compared = {"images": 2, "max_abs_error": 0.1, "argmax_agreement": None, "passed": True, "outputs": {}}
        trace = rig.trace._replace(reference=compared)
        write_run_trace(path, trace)
        again = recompute(path)
        assert again == trace.document()
        assert Record.of(again) == {**record, "reference": compared}

    @settings(max_examples=20)
    @given(latencies_s=st.lists(st.floats(0.01, 1.0), min_size=1, max_size=20), watts=st.floats(0.5, 100.0))
    def test_to_the_last_digit(self, tmp_path_factory, latencies_s, watts):
        path = str(tmp_path_factory.getbasetemp() / "given.gz")
        rig = Rig(latencies_s=latencies_s)
        rig.measure(lambda _: watts, conditions=rig.steady())
        write_run_trace(path, rig.trace)
        assert json.dumps(recompute(path)) == json.dumps(rig.trace.document())

    @pytest.mark.parametrize(
        "change",
        [
            {"engine": {}},
            {"engine": 5},
            {"schedule": {"window_s": 1}},
            {"idle": [["before", "a", "b"]]},
            {"idle": 5},
            {"warnings": None},
            {"settled_s": "soon"},
            {"settled_s": None},
            {"conditions": 10**9},
            {"conditions": -1},
            {"windows": 0},
            {"device": {"hostname": math.inf}},
        ],
    )
    def test_a_header_of_other_types_is_refused(self, path, change):
        rig = Rig()
        rig.measure(lambda _: 8.0, conditions=rig.steady())
        write_run_trace(path, rig.trace)
        _rewrite(path, change)
        with pytest.raises(RefusedError) as caught:
            recompute(path)
        assert "\n" not in str(caught.value)


def _rewrite(path, change):
    with gzip.open(path, "rb") as file:
        first, *rest = file.read().splitlines()
    first = json.dumps({**json.loads(first), **change}).encode()
    with gzip.open(path, "wb") as file:
        file.write(b"\n".join([first, *rest]))


def test_the_document_of_an_engine_is_that_of_its_facts():
    rig = Rig()
    rig.measure(lambda _: 8.0)
    run = rig.trace.run
    live = measurement_document("host", {"hostname": "x"}, rig.engine, 1, 0, rig.schedule, run)
    assert live == rig.trace.document()


class TestCommand:
    def test_prints_the_measurement(self, tmp_path, capsys):
        rig = Rig()
        record = rig.measure(lambda _: 8.0, conditions=rig.steady())
        write_run_trace(str(tmp_path / "trace.gz"), rig.trace)
        assert main(["recompute", str(tmp_path / "trace.gz")]) == 0
        assert json.loads(capsys.readouterr().out) == record

    def test_what_is_no_trace_is_one_sentence_and_exit_code_2(self, tmp_path, capsys):
        (tmp_path / "trace.gz").write_bytes(b"hello")
        assert main(["recompute", str(tmp_path / "trace.gz")]) == 2
        out, said = capsys.readouterr()
        assert (out, said.count("\n")) == ("", 1)


def test_a_reader_that_has_seen_enough(tmp_path):
    path = str(tmp_path / "trace.gz")
    rig = Rig()
    rig.measure(lambda _: 8.0, conditions=rig.steady())
    write_run_trace(path, rig.trace)
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "edgesynth_agent", "recompute", path]
    done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, timeout=60, check=False)
    os.close(writing)
    assert (done.returncode, done.stderr) == (0, b"")
