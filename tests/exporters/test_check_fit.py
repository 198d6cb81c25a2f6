"""Types and shapes that do not fit together: the node is named, and what cannot be told is not refused."""

import numpy as np
import onnx
import pytest
from edgesynth_exporters.check import check_model
from onnx import TensorProto, helper

from tests.exporters.models import FLOAT, INT64, node, save, target, value, weight

INT32, BOOL, STRING = TensorProto.INT32, TensorProto.BOOL, TensorProto.STRING


def constant(name, values, kind=INT64):
    return helper.make_tensor(name, kind, [len(values)], values)


def errors(path, board=None):
    report = check_model(path, board or target())
    return [(f.rule, f.node) for f in report.findings if f.severity == "error"]


def branch(name, rows):
    body = [node("Add", ["x", f"{name}w"], [name], name="inside")]
    return helper.make_graph(body, name, [], [value(name, FLOAT, None)], [weight(f"{name}w", [rows])])


MISFITS = {
    # name: nodes, initializers, the one error
    "float and int32": ([node("Add", ["x", "w"], ["y"], name="n")], [constant("w", [1], INT32)], "types-fit"),
    "a bool where none may be": ([node("Relu", ["b"], ["y"], name="n")], [constant("b", [1], BOOL)], "types-fit"),
    "broadcast": ([node("Add", ["x", "w"], ["y"], name="n")], [weight("w", [7])], "shapes-fit"),
    "channels": ([node("Conv", ["x", "w"], ["y"], name="n")], [weight("w", [8, 5, 3, 3])], "shapes-fit"),
    "dimensions": ([node("Conv", ["x", "w"], ["y"], name="n")], [weight("w", [8, 8, 3])], "shapes-fit"),
    "groups": ([node("Conv", ["x", "w"], ["y"], name="n", group=3)], [weight("w", [8, 8, 3, 3])], "shapes-fit"),
    "no groups": ([node("Conv", ["x", "w"], ["y"], name="n", group=-3)], [weight("w", [8, 8, 3, 3])], "shapes-fit"),
    "channels up": ([node("ConvTranspose", ["x", "w"], ["y"], name="n")], [weight("w", [5, 8, 3, 3])], "shapes-fit"),
    "reshape": ([node("Reshape", ["x", "s"], ["y"], name="n")], [constant("s", [3, 7])], "shapes-fit"),
    "reshape, the rest": ([node("Reshape", ["x", "s"], ["y"], name="n")], [constant("s", [3, -1])], "shapes-fit"),
    "rows and columns": (
        [node("Flatten", ["x"], ["f"]), node("Gemm", ["f", "w"], ["y"], name="n")],
        [weight("w", [127, 10])],
        "shapes-fit",
    ),
    "parameters": (
        [node("BatchNormalization", ["x", "s", "b", "m", "v"], ["y"], name="n")],
        [weight("s", [8]), weight("b", [8]), weight("m", [8]), weight("v", [9])],
        "shapes-fit",
    ),
}


@pytest.mark.parametrize("name", MISFITS)
@pytest.mark.parametrize("board", [target(), target("10.3.0"), target(None)], ids=["8.2", "10.3", "host"])
def test_what_does_not_fit_is_an_error_at_its_node(tmp_path, name, board):
    nodes, weights, rule = MISFITS[name]
    found = errors(save(tmp_path / "m.onnx", nodes, weights=weights), board)
    assert (rule, "n") in found
    assert {place for _, place in found} == {"n"}


FITS = {
    "the same type": ([node("Add", ["x", "w"], ["y"])], [weight("w", [4])]),
    "groups": ([node("Conv", ["x", "w"], ["y"], group=4)], [weight("w", [12, 2, 3, 3])]),
    "groups up": ([node("ConvTranspose", ["x", "w"], ["y"], group=2)], [weight("w", [8, 5, 3, 3])]),
    "reshape": ([node("Reshape", ["x", "s"], ["y"])], [constant("s", [0, -1, 2])]),
    "columns": ([node("Flatten", ["x"], ["f"]), node("Gemm", ["f", "w"], ["y"], transB=1)], [weight("w", [10, 128])]),
}


@pytest.mark.parametrize("name", FITS)
def test_what_fits_is_acceptable(tmp_path, name):
    nodes, weights = FITS[name]
    assert errors(save(tmp_path / "m.onnx", nodes, weights=weights)) == []


def test_each_node_is_told_and_not_those_that_only_follow(tmp_path):
    nodes = [
        node("Add", ["x", "w"], ["a"], name="same"),
        node("Add", ["a", "x"], ["b"], name="after"),
        node("Conv", ["x", "v"], ["c"], name="same"),
        node("Add", ["b", "c"], ["y"], name="last"),
    ]
    path = save(tmp_path / "m.onnx", nodes, weights=[weight("w", [7]), weight("v", [8, 5, 3, 3])])
    report = check_model(path, target())
    assert [(f.rule, f.index) for f in report.findings if f.severity == "error"] == [
        ("shapes-fit", 0),
        ("shapes-fit", 2),
    ]


def test_a_node_within_a_branch_is_told_by_its_place(tmp_path):
    choice = node("If", ["c"], ["y"], name="if", then_branch=branch("a", 4), else_branch=branch("b", 7))
    other = node("If", ["c"], ["z"], name="if", then_branch=branch("d", 4), else_branch=branch("e", 4))
    inputs = [value("x", FLOAT, [1, 8, 4, 4]), value("c", BOOL, [])]
    assert errors(save(tmp_path / "m.onnx", [other, choice], inputs)) == [("shapes-fit", "if/else_branch/inside")]


def test_nodes_out_of_order_are_told_by_their_own_place(tmp_path):
    nodes = [node("Add", ["a", "w"], ["y"], name="bad"), node("Relu", ["x"], ["a"], name="good")]
    assert errors(save(tmp_path / "m.onnx", nodes, weights=[weight("w", [7])])) == [("shapes-fit", "bad")]


def test_what_is_not_known_is_not_refused(tmp_path):
    """A plugin makes a tensor of no stated type; a large shape is not loaded; a domain is not imported."""
    plugin = [node("Thing_TRT", ["x"], ["a"], domain="nobody.imports"), node("Relu", ["a"], ["y"])]
    assert errors(save(tmp_path / "m.onnx", plugin)) == []
    numbers = onnx.numpy_helper.from_array(np.ones(2000, np.int64), "w")
    gathered = [node("Gather", ["w", "i"], ["g"]), node("Reshape", ["x", "g"], ["y"])]
    path = save(tmp_path / "n.onnx", gathered, weights=[numbers, constant("i", [0, 1])])
    assert errors(path) == []


def test_a_stated_shape_that_nothing_reads_is_a_warning(tmp_path):
    path = save(tmp_path / "m.onnx", [node("Relu", ["x"], ["y"])], outputs=[value("y", FLOAT, [2, 8, 4, 4])])
    report = check_model(path, target())
    assert [(f.rule, f.severity) for f in report.findings] == [("shapes-stated", "warning")]
    lie = save(tmp_path / "n.onnx", [node("Relu", ["x"], ["y"], name="n")], outputs=[value("y", INT32, None)])
    assert errors(lie) == [("types-fit", "n")]


def test_initializers_are_of_types_that_the_runtime_has(tmp_path):
    text = helper.make_tensor("w", STRING, [1], [b"a"])
    path = save(tmp_path / "m.onnx", [node("Identity", ["w"], ["t"]), node("Relu", ["x"], ["y"])], weights=[text])
    assert ("weight-type", "Identity_0") in errors(path)
    assert errors(path, target(None)) == []
    wide = helper.make_tensor("w", TensorProto.UINT64, [1], [7])
    nodes = [node("Cast", ["w"], ["c"], to=FLOAT, name="n"), node("Add", ["x", "c"], ["y"])]
    for board in (target(), target("10.16.2")):
        assert ("weight-type", "n") in errors(save(tmp_path / "n.onnx", nodes, weights=[wide]), board)


@pytest.mark.parametrize("kind", [0, 77])
def test_an_input_of_no_type_is_an_error(tmp_path, kind):
    path = save(tmp_path / "m.onnx", [node("Relu", ["x"], ["y"])], [value("x", kind, [1, 8])])
    for board in (target(), target(None)):
        assert ("input-type", None) in errors(path, board)


def test_a_negative_dimension_is_an_error(tmp_path):
    path = save(tmp_path / "m.onnx", [node("Relu", ["x"], ["y"])], [value("x", FLOAT, [-5, 3])])
    for board in (target(), target(None)):
        assert ("negative-dimension", None) in errors(path, board)


@pytest.mark.parametrize(("depth", "found"), [(24, []), (25, [("nested", None)])])
def test_graphs_nested_deeper_than_tensorrt_takes(tmp_path, depth, found):
    """TensorRT-RTX 1.7.1 builds an engine of 24 If within each other, and refuses 25."""

    def body(name):
        return helper.make_graph([node("Relu", ["x"], [name])], name, [], [value(name, FLOAT, None)])

    inner = body("t0")
    for level in range(1, depth):
        choice = node("If", ["c"], [f"t{level}"], then_branch=inner, else_branch=body(f"e{level}"))
        inner = helper.make_graph([choice], f"g{level}", [], [value(f"t{level}", FLOAT, None)])
    nodes = [node("If", ["c"], ["y"], then_branch=inner, else_branch=body("e"))]
    path = save(tmp_path / "m.onnx", nodes, [value("x", FLOAT, [1, 8, 4, 4]), value("c", BOOL, [])])
    assert errors(path) == found
    assert errors(path, target("10.3.0")) == found
    assert errors(path, target(None)) == []
