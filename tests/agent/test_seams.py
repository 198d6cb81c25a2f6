"""The agent's seams: every implementation, and every fake, keeps its contract. Power sources: test_power.py."""

import numpy as np
import onnx
import pytest
from edgesynth_agent.clock import FakeClock, MonotonicClock
from edgesynth_agent.device import Device
from edgesynth_agent.engines import FakeEngine, OnnxRuntimeEngine
from edgesynth_agent.errors import EngineError

from tests.agent.contract import ClockContract, EngineContract
from tests.agent.models import save_conv, save_identity


class TestMonotonicClock(ClockContract):
    def make(self):
        return MonotonicClock()


class TestFakeClock(ClockContract):
    def make(self):
        return FakeClock()

    def test_goes_where_it_is_told_and_never_back(self):
        clock = FakeClock(5.0)
        clock.advance(2.0)
        assert clock.now_s() == 7.0
        with pytest.raises(ValueError, match="back"):
            clock.advance(-1.0)


class TestFakeEngine(EngineContract):
    bad_batch = 17
    image = (4,)

    def make(self):
        return FakeEngine(FakeClock(), [0.001])

    def expected(self, x):
        return {"y": 2 * x}


class TestOnnxRuntimeEngine(EngineContract):
    bad_batch = 3
    image = (3, 16, 16)

    @pytest.fixture(autouse=True)
    def model(self, tmp_path):
        self.path = save_conv(tmp_path / "fixed.onnx", batch=2)

    def make(self):
        return OnnxRuntimeEngine(str(self.path))

    def expected(self, x):
        weights = onnx.numpy_helper.to_array(onnx.load(self.path).graph.initializer[0])
        padded = np.pad(x, [(0, 0), (0, 0), (1, 1), (1, 1)], "constant")
        taps = [(row, column) for row in range(3) for column in range(3)]
        products = [
            np.einsum("nchw,oc->nohw", padded[:, :, row : row + 16, column : column + 16], weights[:, :, row, column])
            for row, column in taps
        ]
        return {"z": np.maximum(sum(products), 0)}

    def test_an_open_first_dimension_takes_any_batch(self, tmp_path):
        engine = OnnxRuntimeEngine(str(save_conv(tmp_path / "open.onnx")))
        for batch in (1, 5):
            engine.prepare(batch, seed=0)
            engine.run()

    @pytest.mark.parametrize(
        ("dtype", "shape", "reason"),
        [
            (onnx.TensorProto.FLOAT, ["n", 3, "h"], "other than the first is open"),
            (onnx.TensorProto.FLOAT, [], "scalar"),
            (onnx.TensorProto.INT64, ["n", 3], "only floating-point inputs"),
        ],
    )
    def test_refuses_an_input_that_leaves_open_what_to_feed(self, tmp_path, dtype, shape, reason):
        engine = OnnxRuntimeEngine(str(save_identity(tmp_path / "x.onnx", dtype, shape)))
        with pytest.raises(EngineError, match=reason):
            engine.prepare(2, seed=0)

    def test_half_floats_are_fed_as_such(self, tmp_path):
        engine = OnnxRuntimeEngine(str(save_identity(tmp_path / "x.onnx", onnx.TensorProto.FLOAT16, ["n", 3])))
        engine.prepare(2, seed=0)
        engine.run()

    def test_what_the_runtime_refuses_is_one_sentence(self, tmp_path):
        model = onnx.load(self.path)
        model.graph.node[1].op_type = "NoSuchOperator"
        (tmp_path / "bad.onnx").write_bytes(model.SerializeToString())
        with pytest.raises(EngineError) as caught:
            OnnxRuntimeEngine(str(tmp_path / "bad.onnx"))
        assert "NoSuchOperator" in str(caught.value)
        assert "\n" not in str(caught.value)


def test_a_runtime_that_kills_its_importer_is_unknown_with_a_reason():
    facts = Device(call=lambda order, limit_s: None).facts()
    assert facts["runtimes"]["onnxruntime"]["version"] is None
    assert "died" in facts["runtimes"]["onnxruntime"]["reason"]
