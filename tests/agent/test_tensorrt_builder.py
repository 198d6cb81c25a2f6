"""One builder for all releases: each runs here as a fake that has the names of that release and no others."""

import json

import numpy as np
import pytest
from edgesynth_agent.engines.tensorrt_builder import Order, build_plan
from edgesynth_agent.errors import BuildError, RefusedError, RequestError, UnsupportedError
from edgesynth_agent.onnx_file import read_nodes
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper

from tests.agent.engine_models import save_layers, save_quantized
from tests.agent.fake_tensorrt import RELEASES, V8, V11, make, timing_cache

WITH_FLAGS = [release for release in RELEASES if release not in V11]
CACHE = b"TRT-8201-EntropyCalibration2\nx: 3c010a14\n"


@pytest.fixture
def files(tmp_path):
    """A network in each precision, by name."""
    return {
        "fp32": save_layers(tmp_path / "fp32.onnx"),
        "fp16": save_layers(tmp_path / "fp16.onnx", dtype=np.float16),
        "int8": save_quantized(tmp_path / "int8.onnx"),
    }


def build(trt, path, precision="fp32", **options):
    return build_plan(trt, Order(str(path), precision, options.pop("workspace_mib", 256), **options))


def told(plan):
    """What the fake was told, from its plan."""
    return json.loads(bytes(plan.data))


@pytest.mark.parametrize("release", RELEASES)
def test_every_release_is_told_what_it_understands(files, release):
    plan = build(make(release), files["fp32"])
    said = told(plan)
    # EXPLICIT_PRECISION, PREFER_JIT_PYTHON_PLUGINS and the like are what a number in place of a name would set.
    assert said["network"] == (["STRONGLY_TYPED"] if release in V11 else ["EXPLICIT_BATCH"])
    if release == "8.2":
        assert said["max_workspace_size"] == 256 << 20
    else:
        assert said["WORKSPACE"] == 256 << 20
    assert said["plugins"]
    assert plan.flags == ["TF32"]
    assert plan.strongly_typed is (release in V11)
    assert plan.inputs == [{"name": "x", "shape": [1, 3, 8, 8], "dtype": "float32"}]
    assert plan.outputs == [{"name": "y", "shape": [1, 10], "dtype": "float32"}]
    assert plan.build_s >= 0
    assert plan.timing_cache is None
    assert plan.warnings == []


@pytest.mark.parametrize("release", RELEASES)
@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_a_file_that_has_the_precision_is_built_everywhere(files, release, precision):
    flags = {"fp32": ["TF32"], "fp16": ["FP16", "TF32"], "int8": ["FP16", "INT8", "TF32"]}[precision]
    assert build(make(release), files[precision], precision).flags == (["TF32"] if release in V11 else flags)


@pytest.mark.parametrize("release", WITH_FLAGS)
def test_up_to_10_a_flag_makes_fp16_of_fp32(files, release):
    assert build(make(release), files["fp32"], "fp16").flags == ["FP16", "TF32"]


@pytest.mark.parametrize("release", WITH_FLAGS)
def test_up_to_10_a_calibration_cache_makes_int8_of_fp32(files, release):
    plan = build(make(release), files["fp32"], "int8", calibration_cache=CACHE)
    assert plan.flags == ["FP16", "INT8", "TF32"]
    assert told(plan)["calibration"] == CACHE.decode()


def test_a_gpu_without_half_floats_gets_int8_without_fp16(files):
    assert build(make("8.2", fast=("int8",)), files["int8"], "int8").flags == ["INT8", "TF32"]


@pytest.mark.parametrize(("precision", "remedy"), [("fp16", "export it in fp16"), ("int8", "QuantizeLinear")])
def test_from_11_on_the_onnx_must_have_the_precision(files, precision, remedy):
    options = {"calibration_cache": CACHE} if precision == "int8" else {}
    with pytest.raises(RefusedError, match=f"takes the precision from the ONNX; .*{remedy}"):
        build(make("11"), files["fp32"], precision, **options)


@pytest.mark.parametrize("release", RELEASES)
@pytest.mark.parametrize(("asked", "found"), [("fp32", "fp16"), ("fp32", "int8"), ("fp16", "int8"), ("int8", "fp16")])
def test_a_file_of_another_precision_is_refused(files, release, asked, found):
    with pytest.raises(RefusedError, match=f"computes in {found}; ask for {found}, or export it in {asked}$"):
        build(make(release), files[found], asked)


@pytest.mark.parametrize("release", WITH_FLAGS)
def test_int8_needs_scales(files, release):
    with pytest.raises(RefusedError, match="no scales, and there is no calibration cache"):
        build(make(release), files["fp32"], "int8")


@pytest.mark.parametrize(
    ("file", "precision", "why"),
    [("int8", "int8", "the ONNX has the scales itself"), ("fp32", "fp16", "only int8"), ("fp32", "fp32", "only int8")],
)
def test_a_calibration_cache_of_no_use_is_a_mistake(files, file, precision, why):
    with pytest.raises(RequestError, match=why):
        build(make("8.2"), files[file], precision, calibration_cache=CACHE)


def test_an_empty_calibration_cache_builds_nothing(files):
    with pytest.raises(BuildError, match="no scaling factors"):
        build(make("8.2"), files["fp32"], "int8", calibration_cache=b"")


@pytest.mark.parametrize("release", WITH_FLAGS)
@pytest.mark.parametrize(("precision", "fast"), [("int8", ("fp16",)), ("fp16", ())])
def test_a_precision_that_the_gpu_lacks_is_a_no(files, release, precision, fast):
    with pytest.raises(UnsupportedError, match=f"its GPU has no fast {precision}"):
        build(make(release, fast=fast), files[precision], precision)


@pytest.mark.parametrize("release", RELEASES)
def test_what_the_parser_refuses_has_its_node(tmp_path, release):
    path = save_layers(tmp_path / "m.onnx", ("Relu", "Det", "Swoosh"))
    with pytest.raises(UnsupportedError, match="parser does not take it") as caught:
        build(make(release, refuses=("Det", "Swoosh")), path)
    reason = "UNSUPPORTED_NODE: no importer for {} (in parseGraph)"
    findings = [
        {"node": f"/layer/{operator}", "operator": operator, "reason": reason.format(operator)}
        for operator in ("Det", "Swoosh")
    ]
    assert caught.value.findings == (findings[:1] if release in V8 else findings)


def test_a_node_without_a_name_has_its_operator(tmp_path):
    path = save_layers(tmp_path / "m.onnx", ("Det",), names=False)
    with pytest.raises(UnsupportedError) as caught:
        build(make("8.2", refuses=("Det",)), path)
    assert [(one["node"], one["operator"]) for one in caught.value.findings] == [(None, "Det")]


def test_what_the_builder_gives_up_on_has_its_node_when_it_is_named(tmp_path):
    path = save_layers(tmp_path / "m.onnx", ("Relu", "Relu6"))
    words = "Could not find any implementation for node conv + /layer/Relu6."
    with pytest.raises(BuildError, match=r"built no engine .*any implementation") as caught:
        build(make("8.2", words=words), path)
    assert not isinstance(caught.value, UnsupportedError)
    assert [one["node"] for one in caught.value.findings] == ["conv", "/layer/Relu6"]
    assert {one["reason"] for one in caught.value.findings} == {words}


@pytest.mark.parametrize("release", RELEASES)
def test_no_gpu_is_one_sentence_with_the_reason(files, release):
    with pytest.raises(BuildError, match=r"cannot start a builder \(CUDA initialization failure with error: 100\)"):
        build(make(release, gpu=False), files["fp32"])


def test_open_sizes_are_refused(files):
    with pytest.raises(RefusedError, match=r"input 'x': its shape \[-1, 3, 8, 8\] is open"):
        build(make("8.2", shape=(-1, 3, 8, 8)), files["fp32"])


def test_another_device_cannot_be_built_for(files):
    with pytest.raises(RequestError, match=r"capability 8\.6: tensorrt builds for this device only; leave it out"):
        build(make("10.3"), files["fp32"], compute_capabilities=("8.6",))


@pytest.mark.parametrize("content", [b"", b"hello", b"\x08\x07"])
def test_what_is_no_onnx_never_reaches_tensorrt(tmp_path, content):
    (tmp_path / "m.onnx").write_bytes(content)
    with pytest.raises(RefusedError, match=r"m\.onnx: it is no ONNX model"):
        build(object(), tmp_path / "m.onnx")


class TestTimingCache:
    @pytest.mark.parametrize("release", RELEASES)
    def test_grows_from_build_to_build(self, files, release):
        first = build(make(release), files["fp32"], timing_cache=b"")
        assert (first.timing_cache_hit, first.timing_cache_note) == (False, None)
        assert first.timing_cache == timing_cache(release) + b"+"
        second = build(make(release), files["fp32"], timing_cache=first.timing_cache)
        assert (second.timing_cache_hit, second.timing_cache_note) == (True, None)
        assert told(second)["timing"].encode() == first.timing_cache

    @pytest.mark.parametrize("release", RELEASES)
    @pytest.mark.parametrize("foreign", [timing_cache("8.0"), timing_cache("8.2", "orin"), b"damaged"])
    def test_of_another_release_or_device_is_left_aside(self, files, release, foreign):
        plan = build(make(release), files["fp32"], timing_cache=foreign)
        assert not plan.timing_cache_hit
        assert plan.timing_cache_note == "the timing cache is of another device or TensorRT, and a new one was started"
        assert told(plan)["timing"].encode() == timing_cache(release)


@pytest.fixture(scope="module")
def damaged(tmp_path_factory):
    """A model's bytes, and where to write what becomes of them."""
    path = save_layers(tmp_path_factory.mktemp("damaged") / "m.onnx")
    return path.read_bytes(), path


class TestReadNodes:
    def test_gives_the_main_graph_in_its_order(self, tmp_path):
        inner = helper.make_graph(
            [helper.make_node("Relu", ["x"], ["b"], name="inside")],
            "branch",
            [],
            [helper.make_tensor_value_info("b", TensorProto.FLOAT, [1])],
        )
        nodes = [
            helper.make_node("Identity", ["c"], ["condition"]),
            helper.make_node("If", ["condition"], ["y"], name="füh/re", then_branch=inner, else_branch=inner),
        ]
        outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])]
        model = helper.make_model(helper.make_graph(nodes, "main", [], outputs))
        (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
        assert read_nodes(str(tmp_path / "m.onnx")) == [("", "Identity"), ("füh/re", "If")]

    @given(cut=st.integers(0, 400), byte=st.integers(0, 255), keep=st.booleans())
    def test_a_damaged_file_is_refused_or_read(self, damaged, cut, byte, keep):
        content, path = damaged
        cut = min(cut, len(content) - 1)
        path.write_bytes(content[:cut] + bytes([byte]) + (content[cut + 1 :] if keep else b""))
        try:
            found = read_nodes(str(path))
        except RefusedError as error:
            assert "it is no ONNX model" in str(error)
        else:
            assert all(isinstance(text, str) for node in found for text in node)
