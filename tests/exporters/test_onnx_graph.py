"""Reading ONNX files as graphs."""

import subprocess
import sys
from math import prod
from pathlib import Path

import onnx
import pytest
from edgesynth_exporters.errors import ModelFileError
from edgesynth_exporters.onnx_graph import node_macs, parameter_count, read_graph
from onnx import TensorProto, helper


def save(path: Path, nodes: list[onnx.NodeProto], shape: list[int | str], weights: dict[str, list[int]]) -> Path:
    graph = helper.make_graph(
        nodes,
        "test",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [
            helper.make_tensor(name, TensorProto.FLOAT, dims, bytes(4 * prod(dims)), raw=True)
            for name, dims in weights.items()
        ],
    )
    domains = [helper.make_opsetid("", 13), helper.make_opsetid("com.example", 1)]
    onnx.save(helper.make_model(graph, opset_imports=domains, ir_version=8), path)
    return path


CONV = helper.make_node("Conv", ["x", "w", "b"], ["y"], pads=[1, 1, 1, 1], strides=[2, 2], group=2)
CONV_WEIGHTS = {"w": [16, 4, 3, 3], "b": [16]}


def test_a_convolution_is_read_with_its_shapes_macs_and_parameters(tmp_path: Path) -> None:
    graph = read_graph(save(tmp_path / "m.onnx", [CONV], [1, 8, 10, 10], CONV_WEIGHTS))
    assert graph.shapes["y"] == (1, 16, 5, 5)
    assert node_macs(graph, graph.nodes[0]) == 16 * 25 * 4 * 9
    assert parameter_count(graph) == 16 * 4 * 9 + 16
    assert (graph.inputs, graph.outputs, graph.constants) == (("x",), ("y",), {"w", "b"})


def test_a_transposed_convolution_counts_each_input_element_once_per_weight(tmp_path: Path) -> None:
    up = helper.make_node("ConvTranspose", ["x", "w"], ["y"], strides=[2, 2], kernel_shape=[2, 2])
    graph = read_graph(save(tmp_path / "m.onnx", [up], [1, 8, 5, 5], {"w": [8, 4, 2, 2]}))
    assert graph.shapes["y"] == (1, 4, 10, 10)
    assert node_macs(graph, graph.nodes[0]) == 8 * 25 * 4 * 4


@pytest.mark.parametrize(("trans_a", "left"), [(0, [3, 7]), (1, [7, 3])])
def test_a_gemm_counts_rows_by_columns_by_depth(tmp_path: Path, trans_a: int, left: list[int | str]) -> None:
    gemm = helper.make_node("Gemm", ["x", "w"], ["y"], transA=trans_a, transB=1)
    graph = read_graph(save(tmp_path / "m.onnx", [gemm], left, {"w": [5, 7]}), batch=int(left[0]))
    assert node_macs(graph, graph.nodes[0]) == 3 * 5 * 7


def test_a_free_batch_takes_the_asked_size(tmp_path: Path) -> None:
    path = save(tmp_path / "m.onnx", [CONV], ["n", 8, 10, 10], CONV_WEIGHTS)
    assert read_graph(path, batch=3).shapes["y"] == (3, 16, 5, 5)
    assert read_graph(path).shapes["y"] == (1, 16, 5, 5)


def test_what_follows_from_constants_alone_is_constant(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Shape", ["x"], ["s"]),
        helper.make_node("Mul", ["w", "w"], ["w2"]),
        helper.make_node("Reshape", ["x", "s"], ["r"]),
        helper.make_node("Add", ["r", "w2"], ["y"]),
    ]
    graph = read_graph(save(tmp_path / "m.onnx", nodes, ["n", 4], {"w": [4]}), batch=2)
    assert graph.constants == {"w", "s", "w2"}
    assert graph.shapes["y"] == (2, 4)


def test_a_shape_that_the_network_computes_is_followed(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Shape", ["x"], ["s"]),
        helper.make_node("Constant", [], ["first"], value_int=0),
        helper.make_node("Gather", ["s", "first"], ["n"]),
        helper.make_node("Constant", [], ["axes"], value_ints=[0]),
        helper.make_node("Unsqueeze", ["n", "axes"], ["batch"]),
        helper.make_node("Constant", [], ["rest"], value_ints=[-1]),
        helper.make_node("Concat", ["batch", "rest"], ["target"], axis=0),
        helper.make_node("Reshape", ["x", "target"], ["flat"]),
        helper.make_node("MatMul", ["flat", "w"], ["y"]),
    ]
    graph = read_graph(save(tmp_path / "m.onnx", nodes, ["n", 4, 3], {"w": [12, 5]}), batch=2)
    assert (graph.shapes["flat"], graph.shapes["y"]) == ((2, 12), (2, 5))
    assert [node.op for node in graph.nodes] == ["Reshape", "MatMul"]


def test_an_unknown_operator_keeps_the_shape_of_its_input_and_is_named(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Swish", ["x"], ["a"], domain="com.example"),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Odd", ["b"], ["y"]),
    ]
    graph = read_graph(save(tmp_path / "m.onnx", nodes, [1, 8], {}))
    assert graph.shapes["y"] == (1, 8)
    assert graph.assumed == ("Odd", "com.example::Swish")


def broken(tmp_path: Path, content: bytes) -> Path:
    path = tmp_path / "m.onnx"
    path.write_bytes(content)
    return path


def test_bad_files_end_in_one_clear_line(tmp_path: Path) -> None:
    mismatch = [helper.make_node("MatMul", ["x", "w"], ["y"])]
    by_value = [helper.make_node("NonZero", ["x"], ["i"]), helper.make_node("Cast", ["i"], ["y"], to=1)]
    cases = {
        "no such file": lambda: tmp_path / "absent.onnx",
        "no such file ": lambda: tmp_path,
        "not an ONNX file": lambda: broken(tmp_path, b"a text, and no ONNX at all"),
        "without any operator": lambda: broken(tmp_path, b""),
        "dimension 2 of input 'x' is free ('h')": lambda: save(
            tmp_path / "m.onnx", [CONV], [1, 8, "h", 10], CONV_WEIGHTS
        ),
        "fixed at batch 4, not 1": lambda: save(tmp_path / "m.onnx", [CONV], [4, 8, 10, 10], CONV_WEIGHTS),
        "do not fit together": lambda: save(tmp_path / "m.onnx", mismatch, [1, 8], {"w": [7, 3]}),
        "depends on the input's values": lambda: save(tmp_path / "m.onnx", by_value, [1, 8], {}),
    }
    for message, make in cases.items():
        path = make()
        with pytest.raises(ModelFileError) as caught:
            read_graph(path)
        assert message.strip() in str(caught.value)
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)


def test_a_batch_below_one_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="batch of 0"):
        read_graph(save(tmp_path / "m.onnx", [CONV], ["n", 8, 10, 10], CONV_WEIGHTS), batch=0)


def test_weights_kept_in_another_file_are_not_needed(tmp_path: Path) -> None:
    path = save(tmp_path / "m.onnx", [CONV], [1, 8, 10, 10], CONV_WEIGHTS)
    model = onnx.load(path)
    onnx.save(model, path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    (tmp_path / "weights.bin").unlink()
    assert parameter_count(read_graph(path)) == 16 * 4 * 9 + 16


def test_reading_needs_no_torch() -> None:
    code = "import sys, edgesynth_exporters.onnx_graph, edgesynth.energy.estimate; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
