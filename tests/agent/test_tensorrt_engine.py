"""TensorRT as an engine: each release runs here as a fake that has the names of that release and no others."""

import sys
import types

import numpy as np
import pytest
from edgesynth_agent.engines import TensorRtEngine
from edgesynth_agent.engines.buffers import HostBuffers, PyCudaBuffers
from edgesynth_agent.engines.tensorrt_builder import Order, build_plan
from edgesynth_agent.errors import EngineError

from tests.agent import fake_pycuda
from tests.agent.contract import BuffersContract, EngineContract
from tests.agent.engine_models import save_layers
from tests.agent.fake_tensorrt import RELEASES, make
from tests.agent.fake_tensorrt_runtime import answer, run_pending

WAYS = {"8.2": "execute_async_v2", "8.4": "execute_async_v2"}


class QueuedBuffers(HostBuffers):
    """What is put on its stream is not done before it is waited for."""

    def __init__(self, trt):
        super().__init__()
        self.trt = trt
        self.closed = False

    def synchronize(self):
        run_pending(self.trt, self.stream)

    def close(self):
        super().close()
        self.closed = True


def plan_of(trt, folder, batch=2):
    path = save_layers(folder / "net.onnx")
    return bytes(build_plan(trt, Order(str(path), "fp32", 64, batch=batch)).data)


def engine_of(trt, folder, batch=2):
    return TensorRtEngine(trt, plan_of(trt, folder, batch), "fp32", {}, QueuedBuffers(trt))


@pytest.mark.parametrize("release", RELEASES)
class TestTensorRtEngine(EngineContract):
    bad_batch = 3
    image = (3, 8, 8)

    @pytest.fixture(autouse=True)
    def fixed(self, release, tmp_path):
        self.trt, self.folder = make(release, shape=(2, 3, 8, 8)), tmp_path

    def make(self):
        return engine_of(self.trt, self.folder)

    def expected(self, x):
        return {"y": answer(x)}

    def test_runs_by_the_newest_way_that_the_release_has(self, release, engine):
        assert engine.flags["runs_by"] == WAYS.get(release, "execute_async_v3")
        assert (engine.backend, engine.version, engine.processor) == ("tensorrt", release + ".1", "gpu")

    def test_an_open_first_dimension_is_what_the_plan_was_built_for(self, release, tmp_path):
        engine = engine_of(make(release, shape=(-1, 3, 8, 8)), tmp_path, batch=5)
        engine.prepare(5, seed=0)
        x = np.ones((5, 3, 8, 8), np.float32)
        np.testing.assert_allclose(engine.outputs({"x": x})["y"], answer(x))
        with pytest.raises(EngineError, match=r"out of the profile; ask for the batch"):
            engine.prepare(4, seed=0)

    def test_half_floats_are_fed_and_read_as_such(self, release, tmp_path):
        engine = engine_of(make(release, dtypes=("HALF", "HALF"), shape=(2, 3, 8, 8)), tmp_path)
        engine.prepare(2, seed=0)
        found = engine.outputs({"x": np.ones((2, 3, 8, 8), np.float32)})["y"]
        assert found.dtype == np.float16
        np.testing.assert_allclose(found, answer(np.ones((2, 3, 8, 8))), rtol=1e-3)

    def test_whole_numbers_cannot_be_fed_noise(self, release, tmp_path):
        engine = engine_of(make(release, dtypes=("INT32", "FLOAT"), shape=(2, 3, 8, 8)), tmp_path)
        with pytest.raises(EngineError, match="int32, and only floating-point"):
            engine.prepare(2, seed=0)

    def test_what_it_says_when_it_does_not_run_is_the_reason(self, release, tmp_path):
        engine = engine_of(make(release, run_words="Cuda Runtime (out of memory)", shape=(2, 3, 8, 8)), tmp_path)
        with pytest.raises(EngineError, match=r"running the network, tensorrt .*: Cuda Runtime \(out of memory\)"):
            engine.prepare(2, seed=0)

    def test_a_plan_of_another_release_is_not_loaded(self, release, tmp_path):
        other = make("10.3" if release != "10.3" else "8.2")
        buffers = QueuedBuffers(self.trt)
        with pytest.raises(EngineError, match="not compatible with this version"):
            TensorRtEngine(self.trt, plan_of(other, tmp_path), "fp32", {}, buffers)
        assert buffers.closed

    def test_memory_is_given_back_when_it_is_prepared_again_and_closed(self, release):
        buffers = QueuedBuffers(self.trt)
        engine = TensorRtEngine(self.trt, plan_of(self.trt, self.folder), "fp32", {}, buffers)
        for _ in range(3):
            engine.prepare(2, seed=0)
            assert len(buffers.blocks) == 2
        engine.close()
        assert not buffers.blocks
        assert buffers.closed

    def test_the_noise_is_that_of_every_engine(self, release, engine):
        engine.prepare(2, seed=5)
        wanted = np.random.RandomState(5).standard_normal((2, 3, 8, 8)).astype(np.float32)
        found = np.empty_like(wanted)
        engine.outputs({"x": np.zeros_like(wanted)})
        engine._buffers.read(engine._addresses["x"], found)
        np.testing.assert_array_equal(found, wanted)


def test_a_type_that_numpy_does_not_have_is_one_sentence(tmp_path):
    engine = engine_of(make("10.3", dtypes=("FLOAT", "FP8"), shape=(2, 3, 8, 8)), tmp_path)
    with pytest.raises(EngineError, match=r"output 'y' of shape .*numpy has no fp8"):
        engine.prepare(2, seed=0)


def test_where_there_is_no_asynchronous_way_it_blocks(tmp_path):
    trt = make("11", shape=(2, 3, 8, 8))
    runtime = trt.Runtime(type("Quiet", (), {"constructed": True, "log": lambda *_: None})())
    trt.plugins = True
    context = runtime.deserialize_cuda_engine(plan_of(trt, tmp_path)).create_execution_context()
    del type(context).execute_async_v3
    engine = engine_of(trt, tmp_path)
    assert engine.flags["runs_by"] == "execute_v2"
    engine.prepare(2, seed=0)
    x = np.ones((2, 3, 8, 8), np.float32)
    np.testing.assert_allclose(engine.outputs({"x": x})["y"], answer(x))


class TestHostBuffers(BuffersContract):
    def make(self):
        return HostBuffers()


class TestPyCudaBuffers(BuffersContract):
    @pytest.fixture(autouse=True, params=[True, False], ids=["2021.1", "2019.1.2"])
    def driver(self, request, monkeypatch):
        self.driver = fake_pycuda.make(primary=request.param, trt=make("8.2"))
        package = types.ModuleType("pycuda")
        package.driver = self.driver
        monkeypatch.setitem(sys.modules, "pycuda", package)
        monkeypatch.setitem(sys.modules, "pycuda.driver", self.driver)

    def make(self):
        return PyCudaBuffers()

    def test_the_context_is_current_until_it_is_closed(self):
        buffers = self.make()
        assert len(self.driver.contexts) == 1
        buffers.allocate(10)
        buffers.close()
        assert not self.driver.contexts
        assert not self.driver.blocks

    def test_what_cuda_says_is_one_sentence(self, buffers):
        with pytest.raises(EngineError, match=r"out of memory; check the device") as caught:
            buffers.allocate(1 << 31)
        assert "\n" not in str(caught.value)


def test_without_pycuda_the_sentence_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "pycuda", None)
    with pytest.raises(EngineError, match="pip install pycuda"):
        PyCudaBuffers()
