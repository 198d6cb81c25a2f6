"""What every implementation of the agent's seams must do. A test class inherits one and says how to make the thing."""

import json
import math
import threading
from abc import ABC, abstractmethod
from typing import Tuple

import numpy as np
import pytest
from edgesynth_agent.clock import Clock
from edgesynth_agent.engines import Engine
from edgesynth_agent.engines.buffers import Buffers
from edgesynth_agent.errors import EngineError
from edgesynth_agent.power import PowerSource


class ClockContract(ABC):
    @abstractmethod
    def make(self) -> Clock: ...

    def test_never_goes_back(self):
        clock = self.make()
        times = [clock.now_s() for _ in range(1000)]
        assert times == sorted(times)
        assert all(isinstance(time_s, float) for time_s in times)


class EngineContract(ABC):
    """`make` gives an engine whose network takes batch 2 and does not take `bad_batch`; its input is "x", each image
    of `image` shape, and `expected(x)` what it answers by name."""

    bad_batch: int
    image: Tuple[int, ...]

    @abstractmethod
    def make(self) -> Engine: ...

    @abstractmethod
    def expected(self, x): ...

    @pytest.fixture
    def engine(self):
        engine = self.make()
        yield engine
        engine.close()

    def test_says_what_it_is(self, engine):
        assert engine.backend
        assert engine.version
        assert engine.precision in ("fp32", "fp16", "int8")
        assert engine.processor in ("cpu", "gpu")
        assert json.loads(json.dumps(engine.flags, allow_nan=False)) == engine.flags

    def test_runs_again_and_again(self, engine):
        engine.prepare(batch=2, seed=0)
        engine.run()
        engine.run()

    def test_may_be_prepared_again(self, engine):
        for seed in (0, 1):
            engine.prepare(batch=2, seed=seed)
            engine.run()

    def test_refuses_a_batch_with_an_engine_error(self, engine):
        with pytest.raises(EngineError) as caught:
            engine.prepare(batch=self.bad_batch, seed=0)
        assert all(caught.value.document().values())

    def test_running_unprepared_is_an_engine_error(self, engine):
        with pytest.raises(EngineError):
            engine.run()

    def test_may_be_closed_twice(self, engine):
        engine.close()

    def test_answers_what_the_network_computes(self, engine):
        engine.prepare(batch=2, seed=0)
        for seed in (1, 2):
            x = np.random.default_rng(seed).standard_normal((2, *self.image)).astype(np.float32)
            found, expected = engine.outputs({"x": x}), self.expected(x)
            assert sorted(found) == sorted(expected)
            for name, values in found.items():
                np.testing.assert_allclose(values, expected[name], rtol=2e-3, atol=2e-3)
            engine.run()

    @pytest.mark.parametrize("wrong", ["name", "missing", "more", "shape", "batch"])
    def test_refuses_inputs_that_are_not_those_of_the_network(self, engine, wrong):
        engine.prepare(batch=2, seed=0)
        x = np.zeros((2, *self.image), np.float32)
        inputs = {
            "name": {"z": x},
            "missing": {},
            "more": {"x": x, "z": x},
            "shape": {"x": x[..., :-1]},
            "batch": {"x": x[:1]},
        }
        with pytest.raises(EngineError):
            engine.outputs(inputs[wrong])

    def test_answering_unprepared_is_an_engine_error(self, engine):
        with pytest.raises(EngineError, match="prepare"):
            engine.outputs({"x": np.zeros((2, *self.image), np.float32)})


class BuffersContract(ABC):
    """`make` gives buffers of a device that works."""

    @abstractmethod
    def make(self) -> Buffers: ...

    @pytest.fixture
    def buffers(self):
        buffers = self.make()
        yield buffers
        buffers.close()

    def test_keep_what_is_written(self, buffers):
        arrays = [np.arange(5, dtype=np.float32), np.arange(7, dtype=np.float16), np.zeros(0, np.float32)]
        addresses = [buffers.allocate(values.nbytes) for values in arrays]
        assert len(set(addresses)) == len(arrays)
        assert all(type(address) is int and address for address in addresses)
        for address, values in zip(addresses, arrays):
            buffers.write(address, values)
        for address, values in zip(addresses, arrays):
            found = np.full_like(values, 99)
            buffers.read(address, found)
            np.testing.assert_array_equal(found, values)

    def test_have_a_stream_that_is_not_the_default_one(self, buffers):
        assert type(buffers.stream) is int
        assert buffers.stream
        buffers.synchronize()

    def test_can_be_used_again_when_all_was_freed(self, buffers):
        buffers.allocate(10)
        buffers.free()
        buffers.write(buffers.allocate(4), np.ones(1, np.float32))

    def test_may_be_closed_twice(self, buffers):
        buffers.allocate(10)
        buffers.close()


class PowerSourceContract(ABC):
    """`make` gives a source whose sensor is well; `let_pass` lets time pass on its clock, for the sensor to change."""

    stretch_s = 1.0

    @abstractmethod
    def make(self) -> PowerSource: ...

    @abstractmethod
    def let_pass(self, seconds: float) -> None: ...

    @abstractmethod
    def now_s(self) -> float: ...

    def trace(self, source):
        source.start()
        self.let_pass(self.stretch_s)
        return source.stop()

    def test_samples_ascend_within_the_time_asked_for(self):
        source = self.make()
        source.prepare()
        for _ in range(2):
            start_s = self.now_s()
            times = [sample.time_s for sample in self.trace(source).samples]
            assert times == sorted(set(times))
            assert all(start_s <= time_s <= self.now_s() for time_s in times)

    def test_has_either_samples_or_a_reason_for_none(self):
        source = self.make()
        trace = self.trace(source)
        assert (trace.invalid is None) == (source.absence is None)
        assert bool(trace.samples) == (source.absence is None)

    def test_power_is_plausible_and_never_zero(self):
        trace = self.trace(self.make())
        assert all(math.isfinite(power_w) and 0 < power_w < 1000 for _, power_w in trace.samples)

    def test_its_facts_are_json_that_names_the_sensor_or_why_there_is_none(self):
        source = self.make()
        for _ in range(2):
            facts = json.loads(json.dumps(source.facts(), allow_nan=False))
            assert bool(facts["sensor"]) == (source.absence is None)
            assert facts["reason"] == source.absence
            self.trace(source)

    def test_leaves_no_thread_behind(self):
        before = threading.active_count()
        self.trace(self.make())
        assert threading.active_count() == before
