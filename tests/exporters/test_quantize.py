import logging
import re
import struct

import numpy as np
import onnx
import pytest
from edgesynth_exporters.calibration import BINS, METHODS, Histogram, magnitudes, thresholds
from edgesynth_exporters.errors import ExportError
from edgesynth_exporters.export import export_onnx
from edgesynth_exporters.parity import run_onnx_outputs
from edgesynth_exporters.quantize import calibrate, calibration_cache, quantize
from edgesynth_exporters.runtime import open_session
from edgesynth_exporters.simplify import simplify
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from onnx import TensorProto, numpy_helper
from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

from tests.networks import TOYS, Mobile, Residual, example, make
from tests.user_networks import USERS

KINDS = TOYS | USERS
floats = arrays(np.float32, st.integers(0, 40), elements=st.floats(-1e4, 1e4, width=32))


@pytest.fixture
def simplified(tmp_path):
    def make_one(kind=Residual):
        export_onnx(make(kind), example(), tmp_path / "m.onnx", 13)
        return simplify(onnx.load(tmp_path / "m.onnx"))

    return make_one


@given(st.lists(floats, min_size=1, max_size=6))
@settings(max_examples=60, deadline=None)
def test_a_histogram_counts_everything_once_whatever_comes_first(parts):
    histogram = Histogram()
    for part in parts:
        histogram.add(part)
    everything = np.abs(np.concatenate(parts))
    assert histogram.counts.sum() == everything.size
    assert histogram.amax == pytest.approx(everything.max(initial=0.0))
    assert histogram.amax <= histogram.limit
    for bins in (1, BINS // 4, BINS // 2):
        edge = bins * histogram.limit / BINS
        at_the_edge = int(np.isclose(everything, edge, rtol=1e-5).sum())
        assert abs(histogram.counts[:bins].sum() - (everything < edge).sum()) <= at_the_edge


@given(floats)
@settings(max_examples=60, deadline=None)
def test_every_choice_lies_within_what_was_seen(values):
    histogram = Histogram()
    histogram.add(values)
    for method in METHODS:
        (chosen,) = thresholds({"x": histogram}, method).values()
        assert 0 < chosen <= max(histogram.amax, 1e-8)


def test_outliers_are_clipped_by_all_but_the_greatest():
    """A million ordinary numbers and one that is out of all proportion."""
    histogram = Histogram()
    histogram.add(np.random.default_rng(0).standard_normal(1_000_000).astype(np.float32))
    histogram.add(np.float32([1000.0]))
    chosen = {method: thresholds({"x": histogram}, method)["x"] for method in METHODS}
    assert chosen["greatest"] == 1000.0
    assert all(4 < value < 10 for method, value in chosen.items() if "percentile" in method)
    assert chosen["entropy"] < 200


def test_every_tensor_between_the_layers_is_measured(simplified):
    model, images = simplified(), example(8).numpy()
    found = magnitudes(model, images)
    assert list(found) == ["input", "output", *(n for node in model.graph.node for n in node.output if n != "output")]
    assert found["input"].amax == pytest.approx(np.abs(images).max())
    assert found["output"].amax == pytest.approx(np.abs(run_on(model, images)).max(), rel=1e-5)
    assert found["input"].counts.sum() == images.size


def run_on(model, images):
    session = open_session(model)
    return np.concatenate([session.run(None, {"input": image[None]})[0] for image in images])


@pytest.mark.parametrize("name", KINDS)
def test_quantizers_are_as_tensorrt_wants_them(name, simplified):
    model = simplified(KINDS[name])
    amax = dict.fromkeys(magnitudes(model, example(2).numpy()), 1.5)
    before = model.SerializeToString()
    quantized = quantize(model, amax)
    assert model.SerializeToString() == before
    known = {tensor.name: tensor for tensor in quantized.graph.initializer}
    quantizers = [n for n in quantized.graph.node if n.op_type in ("QuantizeLinear", "DequantizeLinear")]
    assert quantizers
    for node in quantizers:
        assert known[node.input[2]].data_type == TensorProto.INT8
        assert not numpy_helper.to_array(known[node.input[2]]).any()
        if node.op_type == "DequantizeLinear":  # of int8 alone, not of weights that are integers already
            assert node.input[0] not in known
    # Scales of activations are amax / 127; of a convolution's weights there is one for each output channel.
    makers = {name: node for node in quantized.graph.node for name in node.output}
    for node in quantized.graph.node:
        if node.op_type == "Conv" and node.input[0] in makers and makers[node.input[0]].op_type == "DequantizeLinear":
            of_input, of_weight = (makers[name] for name in node.input[:2])
            assert numpy_helper.to_array(known[of_input.input[1]]) == pytest.approx(1.5 / 127)
            weight = numpy_helper.to_array(known[makers[of_weight.input[0]].input[0]])
            scale = numpy_helper.to_array(known[of_weight.input[1]])
            assert scale == pytest.approx(np.abs(weight).reshape(len(weight), -1).max(axis=1) / 127, rel=1e-4)
            assert len(node.input) == 2 or node.input[2] in known  # the bias as it was
        if node.op_type == "Gemm":
            scale = known[makers[node.input[1]].input[1]]
            assert scale.dims == known[makers[makers[node.input[1]].input[0]].input[0]].dims[:1]  # (outputs, inputs)
    assert not {value.name for value in quantized.graph.output} & {n for q in quantizers for n in q.output}


def test_convolutions_with_too_few_inputs_stay_in_float(simplified):
    """The first layer sees one grey channel; a depthwise convolution has a kernel of its own."""
    quantized = quantize(simplified(Mobile), dict.fromkeys(magnitudes(simplified(Mobile), example(1).numpy()), 1.0))
    makers = {name: node.op_type for node in quantized.graph.node for name in node.output}
    floats, depthwise = 0, 0
    for node in quantized.graph.node:
        if node.op_type == "Conv":
            group = next((a.i for a in node.attribute if a.name == "group"), 1)
            quantized_input = makers.get(node.input[0]) == "DequantizeLinear"
            floats += not quantized_input
            depthwise += quantized_input and group > 1
    assert floats == 1
    assert depthwise > 0


def test_a_quantized_network_answers_nearly_alike(simplified, tmp_path):
    model, images = simplified(), example(64).numpy()
    calibration = calibrate(model, images)
    assert calibration.images == 64
    assert calibration.errors.keys() == METHODS.keys()
    assert calibration.errors[calibration.method] == min(calibration.errors.values())
    onnx.save(quantize(model, calibration.amax), tmp_path / "q.onnx")
    expected, actual = run_on(model, images), run_onnx_outputs(tmp_path / "q.onnx", images, exact=True)["output"]
    error = np.sqrt(np.square(actual - expected).mean() / np.square(expected).mean())
    assert 0 < error < 0.1
    assert error == pytest.approx(calibration.errors[calibration.method], rel=1e-4)


def test_one_outlier_among_the_images_does_not_decide(simplified):
    model, images = simplified(), example(400).numpy()
    images[399, 0, 3, 3] = 300
    calibration = calibrate(model, images)
    assert calibration.method != "greatest"
    assert calibration.amax["input"] < 100


def test_calibration_is_the_same_again(simplified):
    assert calibrate(simplified(), example(16).numpy()) == calibrate(simplified(), example(16).numpy())


def test_images_that_overflow_are_one_line(simplified):
    images = example(4).numpy()
    images[2] = np.float32(3e38)
    with pytest.raises(
        ExportError, match=r"cannot calibrate: tensor '.*' holds values that are no finite numbers"
    ) as error:
        calibrate(simplified(), images)
    assert len(str(error.value).splitlines()) == 1


def test_a_graph_that_cannot_be_quantized_is_one_line(simplified):
    model = simplified()
    with pytest.raises(ExportError, match=r"onnxruntime\.quantization cannot quantize the graph: ") as error:
        quantize(model, {})
    assert len(str(error.value).splitlines()) == 1


def test_a_cache_is_what_tensorrt_reads():
    text = calibration_cache({"input": 127.0, "/stem/Conv_output_0": 127 * 4.00784}, "8.5.2")
    assert text == "TRT-8502-EntropyCalibration2\ninput: 3f800000\n/stem/Conv_output_0: 4080403a\n"


@given(st.dictionaries(st.text("abc/_.0", min_size=1), st.floats(1e-8, 1e8), max_size=5))
def test_scales_come_back_out_of_a_cache(amax):
    header, *lines = calibration_cache(amax, "8.6.2").splitlines()
    assert header == "TRT-8602-EntropyCalibration2"
    read = dict(re.fullmatch(r"(.+): ([0-9a-f]{8})", line).groups() for line in lines)
    assert read.keys() == amax.keys()
    for name, value in amax.items():
        (scale,) = struct.unpack(">f", bytes.fromhex(read[name]))
        assert scale * 127 == pytest.approx(value, rel=1e-6)


def test_every_tensor_has_its_line(simplified):
    calibration = calibrate(simplified(), example(8).numpy())
    names = {line.rpartition(":")[0] for line in calibration_cache(calibration.amax, "8.5.2").splitlines()[1:]}
    assert names == set(calibration.amax)
    assert {"input", "output"} <= names


def test_what_the_quantizer_logs_is_not_shown(simplified, monkeypatch, caplog):
    """It has a line for each bias that is no initializer."""
    real = QDQQuantizer.quantize_model

    def chatter(self):
        logging.warning("Expected bias 'b' to be an initializer")  # as the library does
        return real(self)

    monkeypatch.setattr(QDQQuantizer, "quantize_model", chatter)
    root = logging.getLogger()
    before = (list(root.handlers), list(root.filters))
    calibrate(simplified(), example(8).numpy())
    assert [record for record in caplog.records if "Expected bias" in record.message] == []
    assert (root.handlers, root.filters) == before
    root.warning("told")
    assert [record.message for record in caplog.records][-1:] == ["told"]
