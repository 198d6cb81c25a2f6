"""Files that are damaged, dangerous, or no ONNX at all: one clear line, exit code 2, nothing written, quickly."""

import os
import subprocess
import sys
from itertools import pairwise

import numpy as np
import onnx
import pytest
from edgesynth_exporters.check import check_model
from edgesynth_exporters.errors import EdgesynthError, ModelFileError
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from tests.exporters.models import FLOAT, INT64, node, save, target, value, weight

CONV = node("Conv", ["x", "w"], ["y"], name="first")
LARGE = [64, 8, 3, 3]  # 18 KiB: more than what is parsed with its elements


def refused(path, says):
    before = sorted(path.parent.iterdir()) if path.parent.is_dir() else None
    with pytest.raises(ModelFileError) as error:
        check_model(path, target())
    text = str(error.value)
    assert says in text
    assert str(path) in text
    assert text.isprintable()
    assert error.value.exit_code == 2
    assert before is None or sorted(path.parent.iterdir()) == before


@pytest.fixture
def whole(tmp_path):
    return save(tmp_path / "m.onnx", [CONV], weights=[weight("w", LARGE)])


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "it is empty"),
        (b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\x00\x10\x00\x00\x00\x10\x08\x02", "not an ONNX file"),
        (b"a text, and no ONNX at all\n" * 100, "not an ONNX file"),
        (b"PK\x03\x04" + bytes(100), "not an ONNX file"),
        (b"\x08\x07", "without any operator"),
        (bytes(5000), "not an ONNX file"),
        (b"\xff" * 5000, "not an ONNX file"),
    ],
)
def test_what_is_no_onnx(tmp_path, content, says):
    path = tmp_path / "m.onnx"
    path.write_bytes(content)
    refused(path, says)


def test_what_is_no_file(tmp_path):
    refused(tmp_path / "absent.onnx", "no such file")
    refused(tmp_path / "no" / "folder.onnx", "no such file")
    refused(tmp_path, "a folder or device")
    os.mkfifo(tmp_path / "pipe")
    refused(tmp_path / "pipe", "a folder or device")


@pytest.mark.parametrize("share", [0.001, 0.1, 0.5, 0.9, 0.999])
def test_a_truncated_file(whole, share):
    content = whole.read_bytes()
    whole.write_bytes(content[: int(len(content) * share)])
    refused(whole, "not an ONNX file")


def test_a_graph_that_runs_in_a_circle(tmp_path):
    nodes = [
        node("Add", ["x", "c"], ["a"], name="one"),
        node("Relu", ["a"], ["b"], name="two"),
        node("Relu", ["b"], ["c"], name="three"),
        node("Relu", ["c"], ["y"]),
    ]
    refused(save(tmp_path / "m.onnx", nodes), "runs in a circle: node 'one' needs node 'three' needs node 'two'")
    refused(save(tmp_path / "n.onnx", [node("Add", ["x", "y"], ["y"], name="me")]), "node 'me' needs itself")


def test_a_graph_that_does_not_hang_together(tmp_path):
    refused(save(tmp_path / "a.onnx", [node("Relu", ["z"], ["y"])]), "reads 'z', which no node makes")
    refused(save(tmp_path / "b.onnx", [node("Relu", ["x"], ["z"])]), "output 'y' of the graph is made by no node")
    twice = [node("Relu", ["x"], ["y"]), node("Sigmoid", ["x"], ["y"], name="second")]
    refused(save(tmp_path / "c.onnx", twice), "tensor 'y' is made twice, the second time by node 'second'")


FLOATS = [np.float32, np.float64, np.float16]


def damaged(dims, at, what, dtype=np.float32):
    values = np.full(dims, 0.5, dtype)
    values.flat[at] = what
    return values


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("dims", [[8, 8, 1, 1], LARGE], ids=["small", "large"])
@pytest.mark.parametrize("at", [0, 17, -1])
@pytest.mark.parametrize("raw", [True, False])
def test_a_nan_among_the_weights(tmp_path, dtype, dims, at, raw):
    values = damaged(dims, at, np.nan, dtype)
    kind = helper.np_dtype_to_tensor_dtype(values.dtype)
    content = values.tobytes() if raw else values.flatten().tolist()
    tensor = helper.make_tensor("w", kind, dims, content, raw=raw)
    refused(save(tmp_path / "m.onnx", [CONV], weights=[tensor]), "tensor 'w' holds a NaN")


@pytest.mark.parametrize("dims", [[8, 8, 1, 1], LARGE], ids=["small", "large"])
@pytest.mark.parametrize("what", [np.inf, -np.inf])
def test_an_infinite_weight_is_refused_where_it_is_one_and_not_in_a_mask(tmp_path, dims, what):
    tensor = onnx.numpy_helper.from_array(damaged(dims, 5, what), "w")
    refused(save(tmp_path / "m.onnx", [CONV], weights=[tensor]), "weight 'w' of Conv 'first' holds an infinity")
    shape = [value("x", FLOAT, dims)]
    assert check_model(save(tmp_path / "n.onnx", [node("Add", ["x", "w"], ["y"])], shape, [tensor]), target()).ok


def test_bfloat16_is_looked_at_bit_by_bit(tmp_path):
    bits = np.full(8192, 0x3F80, np.uint16)  # 1.0
    for special, says in ((0x7FC1, "holds a NaN"), (0x7F81, "holds a NaN")):
        bits[4711] = special
        tensor = helper.make_tensor("w", TensorProto.BFLOAT16, [8192], bits.tobytes(), raw=True)
        refused(save(tmp_path / "m.onnx", [CONV], weights=[tensor]), says)


def test_a_nan_in_a_constant_within_a_branch(tmp_path):
    tensor = onnx.numpy_helper.from_array(damaged(LARGE, 3, np.nan), "deep")
    body = helper.make_graph([node("Constant", [], ["a"], value=tensor)], "t", [], [value("a", FLOAT, None)])
    other = helper.make_graph([node("Identity", ["x"], ["b"])], "e", [], [value("b", FLOAT, None)])
    nodes = [node("If", ["c"], ["y"], then_branch=body, else_branch=other)]
    inputs = [value("x", FLOAT, LARGE), value("c", TensorProto.BOOL, [])]
    refused(save(tmp_path / "m.onnx", nodes, inputs), "tensor 'deep' holds a NaN")


@pytest.mark.parametrize("dims", [[8, 8], [64, 64]], ids=["small", "large"])
def test_elements_that_do_not_fill_their_shape(tmp_path, dims):
    tensor = weight("w", dims)
    tensor.dims[0] += 1
    path = save(tmp_path / "m.onnx", [node("MatMul", ["x", "w"], ["y"])], weights=[tensor])
    refused(path, "tensor 'w'")
    tensor.dims[0] = -1
    refused(save(tmp_path / "n.onnx", [node("MatMul", ["x", "w"], ["y"])], weights=[tensor]), "tensor 'w'")
    tensor.ClearField("raw_data")
    tensor.dims[0] = 2**40
    refused(save(tmp_path / "o.onnx", [node("MatMul", ["x", "w"], ["y"])], weights=[tensor]), "holds no elements")


@pytest.fixture
def outside(tmp_path):
    """A model in a folder whose weight is elsewhere, at a place that the test says."""
    folder = tmp_path / "model"
    folder.mkdir()
    (tmp_path / "secret").write_bytes(bytes(4 * 64 * 72))

    def make(location, **other):
        tensor = weight("w", LARGE)
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        for key, content in {"location": location, **other}.items():
            tensor.external_data.add(key=key, value=str(content))
        model = helper.make_model(
            helper.make_graph(
                [CONV], "g", [value("x", FLOAT, [1, 8, 4, 4])], [value("y", FLOAT, None)], initializer=[tensor]
            ),
            opset_imports=[helper.make_opsetid("", 13)],
        )
        path = folder / "m.onnx"
        path.write_bytes(model.SerializeToString())
        return path

    return make


@pytest.mark.parametrize(
    "location", ["../secret", "../../../../../../etc/passwd", "/etc/passwd", "a/../../secret", "link"]
)
def test_external_data_outside_the_models_folder_is_not_opened(outside, location):
    path = outside(location)
    (path.parent / "link").symlink_to(path.parent.parent / "secret")
    refused(path, "outside the model's own folder")


def test_external_data_that_is_not_there_or_too_short(outside):
    refused(outside("weights.bin"), "'weights.bin', which is missing")
    refused(outside(""), "without saying in which")
    path = outside("weights.bin")
    (path.parent / "weights.bin").write_bytes(bytes(100))
    refused(path, "which has 100; is that file whole?")
    refused(outside("weights.bin", offset="many"), "a place that is no number")
    refused(outside("weights.bin", offset=-8), "is that file whole?")
    refused(outside("weights.bin", length=8), "holds 2 elements where its shape needs 4,608")
    refused(outside("."), "which is no file")
    (path.parent / "loop").symlink_to("loop")
    refused(outside("loop"), "cannot be read")
    refused(outside("n" * 5000), "cannot be read")


def test_external_data_is_looked_at_like_any_other(outside):
    path = outside("weights.bin", offset=4)
    good = np.full(LARGE, 0.5, np.float32)
    (path.parent / "weights.bin").write_bytes(b"head" + good.tobytes())
    assert [f.rule for f in check_model(path, target()).findings] == ["external-data"]
    (path.parent / "weights.bin").write_bytes(b"head" + damaged(LARGE, 1000, np.nan).tobytes())
    refused(path, "tensor 'w' holds a NaN")


def test_ten_thousand_nodes_are_no_trouble(tmp_path):
    names = ["x", *(f"t{index}" for index in range(9_999)), "y"]
    nodes = [node("Relu", [a], [b]) for a, b in pairwise(names)]
    report = check_model(save(tmp_path / "m.onnx", nodes), target())
    assert report.ok
    assert report.findings == ()
    assert report.memory.activations_mib == pytest.approx(2 * 4 * 128 / 2**20)
    refused(save(tmp_path / "n.onnx", [*nodes[1:], node("Relu", ["y"], ["t0"])]), "runs in a circle")


@pytest.mark.parametrize("depth", [5, 20, 200, 2000])
def test_graphs_within_graphs(tmp_path, depth):
    """What is nested deeper than protobuf itself reads is refused, and nothing runs out of stack."""
    inner = b""
    for level in range(depth):  # by hand: onnx's own tools cannot write some of these
        graph = onnx.GraphProto(name=f"g{level}")
        graph.output.add(name=f"d{level}")
        graph.node.add(op_type="Identity", input=["x"], output=[f"d{level}"])
        content = graph.SerializeToString()
        if inner:
            attribute = onnx.AttributeProto(name="body", type=onnx.AttributeProto.GRAPH).SerializeToString()
            attribute += field(6, inner)
            holder = onnx.NodeProto(op_type="Loop", output=[f"l{level}"]).SerializeToString() + field(5, attribute)
            content += field(1, holder)
        inner = content
    model = onnx.ModelProto(ir_version=8)
    model.opset_import.add(version=13)
    model.graph.input.add(name="x")
    path = tmp_path / "m.onnx"
    path.write_bytes(model.SerializeToString() + field(7, inner))
    if depth > 100:
        refused(path, "not an ONNX file, or a damaged one")
    else:
        assert not check_model(path, target()).ok  # its loops have no inputs


def field(number, content):
    """A length-delimited field of protobuf."""
    return bytes([number << 3 | 2]) + varint(len(content)) + content


def test_functions_that_never_end(tmp_path):
    opsets = [helper.make_opsetid("", 13), helper.make_opsetid("com.example", 1)]

    def function(name, *calls):
        body = [
            node(call, ["a" if not i else f"b{i - 1}"], [f"b{i}"], domain="com.example") for i, call in enumerate(calls)
        ]
        return helper.make_function("com.example", name, ["a"], [f"b{len(calls) - 1}"], body, opsets)

    call = [node("F0", ["x"], ["y"], domain="com.example")]
    loop = save(tmp_path / "m.onnx", call, functions=[function("F0", "F1"), function("F1", "F0")])
    refused(loop, "calls itself")
    laughs = [function(f"F{level}", *[f"F{level + 1}"] * 10) for level in range(20)]
    refused(save(tmp_path / "n.onnx", call, functions=laughs), "more than 1,000,000 are not looked at")


@pytest.mark.parametrize("number", [2**40, 0, -7])
def test_versions_out_of_this_world(tmp_path, number):
    path = save(tmp_path / "m.onnx", [node("Relu", ["x"], ["y"])])
    model = onnx.load(path)
    model.opset_import[0].version = model.ir_version = number
    path.write_bytes(model.SerializeToString())
    assert [f.rule for f in check_model(path, target()).findings] == ["opset"]


def test_names_that_are_no_text(tmp_path):
    path = save(tmp_path / "m.onnx", [node("Relu", ["x"], ["y"], name="a-name-to-damage")])
    path.write_bytes(path.read_bytes().replace(b"a-name-to-damage", b"a-name-\xff\xfe-damage"))
    refused(path, "a name in it is no text")


def test_memory_does_not_grow_with_the_weights(tmp_path):
    """256 MiB of weights in a sparse file; the whole process stays below what loading them would take."""
    elements = 64 << 20
    tensor = onnx.TensorProto(name="w", data_type=FLOAT, dims=[elements // 8, 8, 1, 1]).SerializeToString()
    graph = helper.make_graph([CONV], "g", [value("x", FLOAT, [1, 8, 4, 4])], [value("y", FLOAT, None)])
    head = tensor + b"\x4a" + varint(4 * elements)  # raw_data and its length
    size = len(head) + 4 * elements
    model = onnx.ModelProto(ir_version=8)
    model.opset_import.add(version=13)
    inside = graph.SerializeToString() + b"\x2a" + varint(size) + head
    start = model.SerializeToString() + b"\x3a" + varint(len(inside) + 4 * elements) + inside
    path = tmp_path / "m.onnx"
    with path.open("wb") as file:
        file.write(start)
        file.truncate(len(start) + 4 * elements)
    code = (
        "import sys; from pathlib import Path; from edgesynth_exporters.check import check_model; "
        "from edgesynth_exporters.targets import find_target; "
        "report = check_model(Path(sys.argv[1]), find_target('tx2-sim')); "
        "assert report.memory.weights_mib == 256, report.memory; assert 'torch' not in sys.modules; "
        "print(*(line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 200 << 10  # KiB, the most that was resident


def varint(number):
    digits = []
    while number >= 0x80:
        digits.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*digits, number])


@pytest.fixture(scope="module")
def many_kinds(tmp_path_factory):
    """A file with a bit of everything: large and small weights, a constant, a branch, a shape computation."""
    folder = tmp_path_factory.mktemp("fuzz")
    branch = helper.make_graph([node("Relu", ["p"], ["t"])], "t", [], [value("t", FLOAT, None)])
    other = helper.make_graph([node("Identity", ["p"], ["e"])], "e", [], [value("e", FLOAT, None)])
    nodes = [
        node("Conv", ["x", "w"], ["p"], name="conv", pads=[1, 1, 1, 1]),
        node("If", ["c"], ["q"], then_branch=branch, else_branch=other),
        node("Constant", [], ["s"], value=helper.make_tensor("s", INT64, [2], [1, -1])),
        node("Reshape", ["q", "s"], ["r"]),
        node("MatMul", ["r", "m"], ["y"]),
    ]
    inputs = [value("x", FLOAT, [1, 8, 4, 4]), value("c", TensorProto.BOOL, [])]
    path = save(folder / "m.onnx", nodes, inputs, [weight("w", LARGE), weight("m", [1024, 3])])
    assert check_model(path, target()).ok
    return path.read_bytes()


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_a_damaged_file_gives_an_answer_or_one_line(many_kinds, data, tmp_path_factory):
    content = bytearray(many_kinds)
    for _ in range(data.draw(st.integers(1, 8))):
        # Half of the damage falls upon the structure, which is at the beginning and at the end.
        at = data.draw(
            st.integers(0, len(content)) | st.integers(0, 900) | st.integers(len(content) - 300, len(content))
        )
        kind = data.draw(st.sampled_from(["flip", "set", "cut", "insert", "remove"]))
        if kind == "flip" and at < len(content):
            content[at] ^= 1 << data.draw(st.integers(0, 7))
        elif kind == "set" and at < len(content):
            content[at] = data.draw(st.integers(0, 255))
        elif kind == "cut":
            del content[at:]
        elif kind == "insert":
            content[at:at] = data.draw(st.binary(min_size=1, max_size=6))
        else:
            del content[at : at + 4]
        if len(content) < 300:
            break
    path = tmp_path_factory.getbasetemp() / "damaged.onnx"
    path.write_bytes(content)
    for board in (target(), target("10.16.2"), target(None)):
        try:
            report = check_model(path, board)
        except EdgesynthError as error:
            assert str(error).isprintable()
            assert error.exit_code == 2
        else:
            assert all(line.isprintable() for line in report.lines())
