import numpy as np
import onnx
import pytest
from edgesynth_exporters.errors import ExportError, IncompatibleError
from edgesynth_exporters.export import export_onnx
from edgesynth_exporters.parity import run_onnx_outputs
from edgesynth_exporters.precision import cast_to_fp16, choose_scheme, round_to_fp16
from edgesynth_exporters.runtime import open_session
from edgesynth_exporters.simplify import simplify
from edgesynth_exporters.targets import TARGETS, Target
from onnx import TensorProto, numpy_helper

from tests.networks import TOYS, Residual, example, make
from tests.user_networks import USERS


def board(tensorrt, precisions=("fp32", "fp16", "int8")):
    return Target("board", "a board", "measured", opset=13, tensorrt=tensorrt, precisions=precisions)


@pytest.mark.parametrize(
    ("tensorrt", "precision", "format_", "kind", "flags"),
    [
        ("8.2.1", "fp32", "onnx", "plain", ()),
        ("8.2.1", "fp16", "onnx", "fp16-flag", ("FP16",)),
        ("8.5.2", "int8", "onnx", "int8-cache", ("INT8", "FP16")),
        ("10.3.0", "fp16", "onnx", "fp16-flag", ("FP16",)),
        ("10.3.0", "int8", "onnx", "int8-qdq", ()),
        ("11.1.0", "fp16", "onnx", "fp16-casts", ()),
        ("11.1.0", "int8", "tensorrt", "int8-qdq", ()),
        # TensorRT-RTX builds the engine, whatever is on the board.
        ("8.2.1", "fp16", "tensorrt-rtx", "fp16-casts", ()),
        ("8.5.2", "int8", "tensorrt-rtx", "int8-qdq", ()),
        # No TensorRT at all.
        (None, "fp16", "onnx", "fp16-casts", ()),
        (None, "int8", "onnx", "int8-qdq", ()),
    ],
)
def test_a_precision_reaches_each_runtime_in_its_own_way(tensorrt, precision, format_, kind, flags):
    scheme = choose_scheme(board(tensorrt), precision, format_)
    assert (scheme.kind, scheme.flags) == (kind, flags)
    assert scheme.in_file == (kind in ("plain", "fp16-casts", "int8-qdq"))


@pytest.mark.parametrize("name", TARGETS)
@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_what_the_hardware_of_a_target_has_is_all_it_is_given(name, precision):
    target = TARGETS[name]
    if precision in target.precisions:
        assert choose_scheme(target, precision)
    else:
        with pytest.raises(IncompatibleError, match=f"{name} has no {precision} in hardware") as error:
            choose_scheme(target, precision)
        assert error.value.exit_code == 1


def test_a_tx2_is_refused_int8_with_the_reason_and_what_to_do():
    with pytest.raises(IncompatibleError) as error:
        choose_scheme(TARGETS["tx2"], "int8")
    assert str(error.value) == (
        "tx2 has no int8 in hardware (compute capability 6.2): it computes in fp32, fp16; export with --precision fp16"
    )


@pytest.mark.parametrize("name", TOYS | USERS)
def test_a_cast_network_takes_and_gives_fp32_and_computes_in_fp16(name, tmp_path):
    kind = (TOYS | USERS)[name]
    export_onnx(make(kind), example(), tmp_path / "m.onnx", 13)
    model = simplify(onnx.load(tmp_path / "m.onnx"))
    before = model.SerializeToString()
    cast = cast_to_fp16(model)
    assert model.SerializeToString() == before
    assert [v.type.tensor_type.elem_type for v in (*cast.graph.input, *cast.graph.output)] == [
        TensorProto.FLOAT for _ in (*cast.graph.input, *cast.graph.output)
    ]
    weights = {tensor.name: tensor.data_type for tensor in cast.graph.initializer}
    convolutions = [node for node in cast.graph.node if node.op_type == "Conv"]
    assert {weights[node.input[1]] for node in convolutions} == {TensorProto.FLOAT16}
    onnx.save(cast, tmp_path / "half.onnx")
    full, half = (run_onnx_outputs(tmp_path / f"{file}.onnx", example(4).numpy()) for file in ("m", "half"))
    for output, values in full.items():
        error = np.abs(values - half[output]).max()
        assert 0 < error < 0.02 * max(1.0, np.abs(values).max())


@pytest.mark.parametrize("name", TOYS | USERS)
def test_rounding_shows_what_fp16_does_to_every_tensor(name, tmp_path):
    export_onnx(make((TOYS | USERS)[name]), example(), tmp_path / "m.onnx", 13)
    model = simplify(onnx.load(tmp_path / "m.onnx"))
    before = model.SerializeToString()
    rounded = round_to_fp16(model)
    assert model.SerializeToString() == before
    assert list(rounded.graph.input) == list(model.graph.input)
    assert list(rounded.graph.output) == list(model.graph.output)
    onnx.checker.check_model(rounded, full_check=True)
    onnx.save(rounded, tmp_path / "rounded.onnx")
    images = example(4).numpy()
    full = run_onnx_outputs(tmp_path / "m.onnx", images)
    for output, values in run_onnx_outputs(tmp_path / "rounded.onnx", images, exact=True).items():
        assert np.array_equal(values, values.astype(np.float16))
        assert 0 < np.abs(values - full[output]).max() < 0.02 * max(1.0, np.abs(full[output]).max())


def graph(*nodes, weights=()):
    """One image of four numbers through nodes, to the tensor "y"."""
    values = [onnx.helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 4]) for name in ("x", "y")]
    tensors = [numpy_helper.from_array(np.float32(value), name) for name, value in weights]
    return onnx.helper.make_model(
        onnx.helper.make_graph(list(nodes), "g", values[:1], values[1:], tensors),
        opset_imports=[onnx.helper.make_opsetid("", 13)],
        ir_version=8,
    )


def computed(model, x):
    return open_session(model, exact=True).run(None, {"x": np.float32([x])})[0][0]


def test_what_a_sum_of_large_numbers_loses_in_fp16_is_seen():
    """ONNX Runtime leaves the casts between operators out, and so would not lose it."""
    model = graph(
        onnx.helper.make_node("Add", ["x", "c"], ["s"]),
        onnx.helper.make_node("Sub", ["s", "c"], ["y"]),
        weights=[("c", [4096.0])],
    )
    x = [0.5, 1.0, 3.0, 5.0]
    assert computed(model, x).tolist() == x
    # Between 4096 and 8192 an fp16 has steps of 4; halves go to the even one.
    assert computed(round_to_fp16(model), x).tolist() == [0.0, 0.0, 4.0, 4.0]
    assert computed(cast_to_fp16(model), x).tolist() != [0.0, 0.0, 4.0, 4.0]


def test_what_overflows_in_fp16_is_infinite():
    model = graph(
        onnx.helper.make_node("Mul", ["x", "c"], ["s"]),
        onnx.helper.make_node("Div", ["s", "c"], ["y"]),
        weights=[("c", [30000.0])],
    )
    assert computed(round_to_fp16(model), [0.0, 1.0, 2.0, 3.0]).tolist() == [0.0, 1.0, 2.0, np.inf]


def test_weights_beyond_the_range_of_fp16_become_its_greatest_number_in_silence(tmp_path, capfd):
    export_onnx(make(Residual), example(), tmp_path / "m.onnx", 13)
    model = onnx.load(tmp_path / "m.onnx")
    bias = next(tensor for tensor in model.graph.initializer if len(tensor.dims) == 1)
    bias.CopyFrom(numpy_helper.from_array(np.full(bias.dims, 1e30, np.float32), bias.name))
    cast = cast_to_fp16(model)
    half = next(tensor for tensor in cast.graph.initializer if tensor.name == bias.name)
    assert np.isfinite(numpy_helper.to_array(half)).all()
    assert capfd.readouterr() == ("", "")


def test_a_graph_that_cannot_be_cast_is_one_line(tmp_path):
    export_onnx(make(Residual), example(), tmp_path / "m.onnx", 13)
    model = onnx.load(tmp_path / "m.onnx")
    model.graph.node[0].input[0] = "nowhere"
    with pytest.raises(ExportError, match="cannot cast the graph to fp16: ") as error:
        cast_to_fp16(model)
    assert len(str(error.value).splitlines()) == 1
