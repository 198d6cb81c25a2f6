"""The agent's builder on the real TensorRT-RTX, the one TensorRT that imports and builds where there is no GPU."""

import importlib
import importlib.util
from collections.abc import Callable
from pathlib import Path

import edgesynth_agent
import numpy as np
import pytest
from edgesynth_agent.engines.tensorrt_builder import Order, build_plan
from edgesynth_agent.errors import RefusedError

from tests.agent.engine_models import save_layers, save_product, save_quantized
from tests.agent.fake_tensorrt import DEVICE, make
from tests.agent.test_build import left, run
from tests.needs import need

MODEL = ("--device-model", DEVICE)


@pytest.fixture
def onnx(tmp_path):
    return save_layers(tmp_path / "net.onnx")


class TestBuild:
    """The real TensorRT-RTX, which builds ahead of time where there is no GPU."""

    @pytest.fixture(autouse=True)
    def rtx(self, monkeypatch):
        need(importlib.util.find_spec("tensorrt_rtx"), "TensorRT-RTX: pip install 'edgesynth[tensorrt-rtx]'")
        monkeypatch.setenv("PYTHONPATH", str(Path(edgesynth_agent.__file__).parents[1]))

    def build(self, path, *options):
        return run(path, "--out", path.with_suffix(".plan"), "--module", "tensorrt_rtx", *options)

    def test_builds_for_no_device_in_particular(self, onnx):
        code, document, said = self.build(onnx)
        assert code == 0, said
        assert document["strongly_typed"]
        assert document["key"]["device_model"] is None
        assert document["key"]["compute_capabilities"] == []
        assert document["inputs"] == [{"name": "x", "shape": [1, 3, 8, 8], "dtype": "float32"}]
        assert document["warnings"] == []
        assert document["plan"]["bytes"] > 1000

    def test_the_same_file_gives_the_same_plan(self, onnx):
        assert self.build(onnx)[1]["plan"] == self.build(onnx)[1]["plan"]

    def test_builds_for_the_compute_capabilities_asked_for(self, onnx):
        default = self.build(onnx)[1]
        code, one, _ = self.build(onnx, "--compute-capability", "8.9")
        assert code == 0
        assert one["key"]["compute_capabilities"] == ["8.9"]
        assert one["plan"]["sha256"] != default["plan"]["sha256"]
        code, two, _ = self.build(onnx, "--compute-capability", "8.6", "--compute-capability", "8.9")
        assert code == 0
        assert two["plan"]["bytes"] > one["plan"]["bytes"]

    @pytest.mark.parametrize("wanted", [("6.2",), ("8.7",), ("none",), ("sm86",), ("current", "8.6")])
    def test_one_that_it_does_not_know_is_bad_usage(self, onnx, wanted):
        options = [part for one in wanted for part in ("--compute-capability", one)]
        code, document, _ = self.build(onnx, *options, *MODEL)
        assert code == 2
        assert document["error"]["next"].startswith("known are 7.5, 8.0, 8.6, 8.9, 12.0")

    @pytest.mark.parametrize("names", [True, False])
    def test_a_graph_that_it_does_not_take_is_a_no_with_the_node(self, tmp_path, names):
        path = save_layers(tmp_path / "net.onnx", ("Relu", "com.example::Swoosh", "Det"), names=names)
        code, document, _ = self.build(path)
        assert code == 1
        found = [(one["node"], one["operator"]) for one in document["findings"]]
        assert found == [("/layer/Swoosh" if names else None, "Swoosh"), ("/layer/Det" if names else None, "Det")]
        assert "Plugin not found" in document["findings"][0]["reason"]
        assert left(tmp_path) == ["net.onnx"]

    def test_what_turing_does_not_compute_names_the_node(self, tmp_path):
        code, document, _ = self.build(save_product(tmp_path / "net.onnx"), "--compute-capability", "7.5")
        assert code == 3
        assert "built no engine" in document["error"]["what"]
        (finding,) = document["findings"]
        assert (finding["node"], finding["operator"]) == ("/head/Gemm", "Gemm")
        assert "FP32 GEMM is not supported" in finding["reason"]
        assert left(tmp_path) == ["net.onnx"]

    @pytest.mark.parametrize("precision", ["fp16", "int8"])
    def test_the_precision_is_that_of_the_file(self, tmp_path, precision):
        path = tmp_path / "net.onnx"
        save_layers(path, dtype=np.float16) if precision == "fp16" else save_quantized(path)
        code, document, said = self.build(path, "--precision", precision)
        assert code == 0, said
        assert document["precision"] == precision

    def test_fp16_of_a_file_in_fp32_is_refused(self, onnx):
        code, document, _ = self.build(onnx, "--precision", "fp16")
        assert code == 2
        assert document["error"]["what"].endswith("tensorrt_rtx takes the precision from the ONNX")

    def test_there_is_no_timing_cache(self, tmp_path, onnx):
        code, document, _ = self.build(onnx, "--timing-cache", tmp_path / "timings")
        assert code == 0
        assert document["timing_cache"] is None
        assert "there is no timing cache" in document["warnings"][0]
        code, document, _ = self.build(onnx, "--timing-cache-folder", tmp_path)
        assert document["warnings"] == []
        assert left(tmp_path) == ["net.onnx", "net.plan", "net.plan.json"]


class TestRealNames:
    """TensorRT-RTX is the one real module that imports without a GPU: what it has, 10 and 11 have."""

    @pytest.fixture
    def trt(self):
        need(importlib.util.find_spec("tensorrt_rtx"), "tensorrt_rtx: pip install 'edgesynth[tensorrt-rtx]'")
        return importlib.import_module("tensorrt_rtx")

    @pytest.mark.parametrize(
        ("owner", "names"),
        [
            ("ICudaEngine", "num_io_tensors get_tensor_name get_tensor_mode get_tensor_shape get_tensor_dtype"),
            ("ICudaEngine", "create_execution_context"),
            ("IExecutionContext", "set_input_shape get_tensor_shape set_tensor_address execute_async_v3 execute_v2"),
            ("Runtime", "deserialize_cuda_engine"),
            ("Builder", "create_optimization_profile"),
            ("IOptimizationProfile", "set_shape"),
            ("IBuilderConfig", "add_optimization_profile"),
            ("TensorIOMode", "INPUT OUTPUT"),
        ],
    )
    def test_the_fake_has_no_name_that_is_not_real(self, trt, owner, names):
        assert [name for name in names.split() if not hasattr(getattr(trt, owner), name)] == []
        fake = vars(getattr(make("11"), owner, object))
        public = [name for name, value in fake.items() if name[0] != "_" and isinstance(value, (Callable, property))]
        assert [name for name in public if not hasattr(getattr(trt, owner), name)] == []

    @pytest.mark.parametrize("batch", [1, 3])
    def test_an_open_batch_is_built_for_one(self, trt, tmp_path, batch):
        path = save_layers(tmp_path / "net.onnx", batch="n")
        plan = build_plan(trt, Order(str(path), "fp32", 64, batch=batch))
        assert plan.inputs[0]["shape"] == [batch, 3, 8, 8]
        assert plan.outputs[0]["shape"] == [batch, 8, 6, 6]

    def test_an_open_batch_without_a_number_is_refused(self, trt, tmp_path):
        path = save_layers(tmp_path / "net.onnx", batch="n")
        with pytest.raises(RefusedError, match="is open"):
            build_plan(trt, Order(str(path), "fp32", 64))
