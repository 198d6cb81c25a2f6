"""What the elements of weights are, wherever they lie and whatever they are called."""

import tracemalloc

import numpy as np
import onnx
import pytest
from edgesynth_exporters import onnx_weights
from edgesynth_exporters.check import check_model
from edgesynth_exporters.errors import ModelFileError
from edgesynth_exporters.onnx_wire import Content
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper

from tests.exporters.models import FLOAT, INT64, node, save, target, value, weight

LARGE = [64, 8, 3, 3]
GOOD = weight("w", LARGE)


def with_one(what, name="w"):
    values = np.full(LARGE, 0.5, np.float32)
    values.flat[1000] = what
    return onnx.numpy_helper.from_array(values, name)


def refused(path, says):
    with pytest.raises(ModelFileError) as error:
        check_model(path, target())
    assert says in str(error.value)


def unnamed(tensor, output):
    copy = onnx.TensorProto()
    copy.CopyFrom(tensor)
    copy.ClearField("name")
    return node("Constant", [], [output], value=copy)


def branch(tensor, output):
    body = [node("Conv", ["x", "w"], [output], name="conv")]
    return helper.make_graph(body, output, [], [value(output, FLOAT, None)], [tensor])


def in_two_places(kind, first, second):
    """Nodes, initializers of a model with two tensors of one name, type and shape."""
    if kind == "constants":
        nodes = [unnamed(first, "a"), unnamed(second, "b"), node("Conv", ["x", "a"], ["p"])]
        return [*nodes, node("Conv", ["x", "b"], ["q"]), node("Add", ["p", "q"], ["y"])], []
    choice = node("If", ["c"], ["y"], then_branch=branch(first, "t"), else_branch=branch(second, "e"))
    return [choice], []


INPUTS = [value("x", FLOAT, [1, 8, 4, 4]), value("c", TensorProto.BOOL, [])]


@pytest.mark.parametrize("kind", ["constants", "branches"])
@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize(("what", "says"), [(np.nan, "holds a NaN"), (np.inf, "holds an infinity")])
def test_tensors_of_one_name_are_told_apart(tmp_path, kind, first, what, says):
    pair = (with_one(what), GOOD) if first else (GOOD, with_one(what))
    nodes, weights = in_two_places(kind, *pair)
    refused(save(tmp_path / "m.onnx", nodes, INPUTS, weights), says)


def test_and_are_fine_where_both_are(tmp_path):
    for kind in ("constants", "branches"):
        assert check_model(save(tmp_path / "m.onnx", in_two_places(kind, GOOD, GOOD)[0], INPUTS), target("8.5.2")).ok


@pytest.mark.parametrize("first", [True, False])
def test_integers_beyond_32_bits_are_told_apart_too(tmp_path, first):
    far, near = (onnx.numpy_helper.from_array(np.full(1000, size, np.int64)) for size in (2**40, 1))
    pair = [unnamed(tensor, name) for tensor, name in zip((far, near) if first else (near, far), "ab", strict=True)]
    nodes = [*pair, node("Add", ["x", "a"], ["p"], name="a"), node("Add", ["p", "b"], ["y"], name="b")]
    path = save(tmp_path / "m.onnx", nodes, [value("x", INT64, [1000])], outputs=[value("y", INT64, None)])
    found = [f.node for f in check_model(path, target()).findings if f.rule == "int64-range"]
    assert found == ["a" if first else "b"]


def test_two_initializers_of_one_name_are_said(tmp_path):
    conv = [node("Conv", ["x", "w"], ["y"])]
    refused(save(tmp_path / "m.onnx", conv, weights=[GOOD, GOOD]), "there are two initializers 'w'")
    refused(save(tmp_path / "n.onnx", conv, weights=[with_one(np.nan), GOOD]), "tensor 'w' holds a NaN")


def test_a_tensor_cannot_pass_for_another(tmp_path):
    """Without elements of its own, and documented as what stands for the first large one."""
    empty = onnx.TensorProto(name="w", data_type=FLOAT, dims=LARGE, doc_string="tensor 0")
    nodes = [node("Conv", ["x", "w"], ["p"]), node("Conv", ["x", "v"], ["q"]), node("Add", ["p", "q"], ["y"])]
    path = save(tmp_path / "m.onnx", nodes, weights=[empty, weight("v", LARGE)])
    refused(path, "holds no elements")


@pytest.mark.parametrize("attribute", [{"value_float": float("nan")}, {"value_floats": [1.0, float("nan")]}])
def test_a_nan_in_a_constant_that_is_no_tensor(tmp_path, attribute):
    nodes = [node("Constant", [], ["w"], **attribute), node("Mul", ["x", "w"], ["y"])]
    refused(save(tmp_path / "m.onnx", nodes, [value("x", FLOAT, [1, 8, 4, 2])]), "constant 'w' holds a NaN")


def test_an_infinite_constant_that_is_no_tensor(tmp_path):
    nodes = [
        node("Constant", [], ["w"], value_floats=[float("inf")] * 4),
        node("MatMul", ["x", "w"], ["y"], name="product"),
    ]
    refused(save(tmp_path / "m.onnx", nodes), "weight 'w' of MatMul 'product' holds an infinity")


NAN_OF_8_BITS = {
    "FLOAT8E4M3FN": [0x7F, 0xFF],
    "FLOAT8E4M3FNUZ": [0x80],
    "FLOAT8E5M2": [0x7D, 0x7F, 0xFE],
    "FLOAT8E5M2FNUZ": [0x80],
}


@pytest.mark.parametrize(("kind", "byte"), [(kind, byte) for kind, each in NAN_OF_8_BITS.items() for byte in each])
@pytest.mark.parametrize("dims", [[8, 8], [128, 64]], ids=["small", "large"])
@pytest.mark.parametrize("raw", [True, False])
def test_a_nan_of_8_bits(tmp_path, kind, byte, dims, raw):
    content = np.full(dims, 0x38, np.uint8)
    tensor = onnx.TensorProto(name="w", data_type=getattr(TensorProto, kind), dims=dims)

    def path(name):
        tensor.ClearField("int32_data")
        if raw:
            tensor.raw_data = content.tobytes()
        else:
            tensor.int32_data.extend(content.flatten().tolist())
        nodes = [node("Cast", ["w"], ["c"], to=FLOAT), node("Add", ["x", "c"], ["y"])]
        return save(tmp_path / name, nodes, [value("x", FLOAT, dims)], [tensor], opset=19)

    check_model(path("good.onnx"), target("10.3.0"))
    content.flat[17] = byte
    refused(path("bad.onnx"), "tensor 'w' holds a NaN")


def test_sparse_weights_are_for_onnx_runtime_alone(tmp_path):
    path = save(tmp_path / "m.onnx", [node("Mul", ["x", "w"], ["y"])])
    model = onnx.load(path)
    sparse = model.graph.sparse_initializer.add(dims=[4])
    sparse.values.CopyFrom(helper.make_tensor("w", FLOAT, [1], [1.0]))
    sparse.indices.CopyFrom(helper.make_tensor("i", INT64, [1], [3]))
    path.write_bytes(model.SerializeToString())
    assert [f.rule for f in check_model(path, target()).findings] == ["sparse"]
    assert check_model(path, target(None)).findings == ()


def examined(folder, kind, values):
    """What is found among numbers as protobuf packs them, read in small pieces."""
    path = folder / "numbers"
    path.write_bytes(b"".join(map(varint, values)))
    tensor = onnx.TensorProto(name="w", data_type=kind, dims=[len(values)])
    with pytest.MonkeyPatch.context() as patch, path.open("rb") as file:
        patch.setattr(onnx_weights, "PIECE", 7)
        return onnx_weights.examine_elements(file, tensor, [Content("varint", 0, path.stat().st_size)], "w")


def varint(number):
    number %= 2**64
    digits = []
    while number >= 0x80:
        digits.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*digits, number])


@given(st.lists(st.integers(-(2**63), 2**63 - 1) | st.integers(-5, 300), max_size=60))
def test_integers_are_read_right_wherever_a_piece_ends(tmp_path_factory, values):
    found = examined(tmp_path_factory.getbasetemp(), INT64, values)
    assert found.beyond_int32 == any(not -(2**31) <= number < 2**31 for number in values)


@given(st.lists(st.integers(0, 2**16 - 1) | st.sampled_from([0x7C00, 0xFC00, 0x7E01]), max_size=60))
def test_half_floats_are_read_right_wherever_a_piece_ends(tmp_path_factory, values):
    found = examined(tmp_path_factory.getbasetemp(), TensorProto.FLOAT16, values)
    halves = np.array(values, np.uint16).view(np.float16)
    assert (found.nan, found.infinite) == (bool(np.isnan(halves).any()), bool(np.isinf(halves).any()))


@pytest.mark.parametrize("content", [b"\x81", b"\x01" + b"\x81" * 30, b"\x81" * 30 + b"\x01"])
def test_numbers_that_are_cut_off_do_not_count(tmp_path, content):
    path = tmp_path / "numbers"
    path.write_bytes(content)
    tensor = onnx.TensorProto(name="w", data_type=INT64, dims=[2])
    with path.open("rb") as file, pytest.raises(ModelFileError, match="is the file whole"):
        onnx_weights.examine_elements(file, tensor, [Content("varint", 0, len(content))], "w")


def test_half_floats_in_numbers_of_their_own_are_read_in_pieces(tmp_path):
    """32 MiB of them: the most that is held is a few pieces, not the whole with some copies of it."""
    count = 16 << 20
    packed = np.tile(np.array([0x80, 0x70], np.uint8), count).tobytes()  # 0x3800, which is 0.5, each
    path = tmp_path / "numbers"
    path.write_bytes(packed)
    tensor = onnx.TensorProto(name="w", data_type=TensorProto.FLOAT16, dims=[count])
    with path.open("rb") as file:
        tracemalloc.start()
        found = onnx_weights.examine_elements(file, tensor, [Content("varint", 0, len(packed))], "w")
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert found == onnx_weights.Elements()
    assert most < 48 << 20
