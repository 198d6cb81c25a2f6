"""`check_model` on small hand-made files: each kind of finding, with its node, reason and remedy."""

import json

import numpy as np
import onnx
import pytest
from edgesynth_exporters.check import check_model
from onnx import TensorProto, helper

from tests.exporters.models import FLOAT, INT64, node, save, target, value, weight

CONV = node("Conv", ["x", "w"], ["y"], name="first", pads=[1, 1, 1, 1])
W = weight("w", [8, 8, 3, 3])


def rules(report, severity=None):
    return [f.rule for f in report.findings if severity in (None, f.severity)]


def the(report, rule):
    """The one finding of that rule."""
    (finding,) = [f for f in report.findings if f.rule == rule]
    return finding


def test_a_plain_network_is_acceptable_without_a_word(tmp_path):
    report = check_model(save(tmp_path / "m.onnx", [CONV], weights=[W]), target(), "fp16")
    assert report.ok
    assert report.findings == ()
    assert (report.opset, report.precision, report.tensorrt) == (13, "fp16", "8.2.1")
    assert len(report.sha256) == 64


def test_a_finding_says_which_node_why_and_what_to_do(tmp_path):
    nodes = [node("Relu", ["x"], ["a"]), node("HardSwish", ["a"], ["y"], name="swish")]
    report = check_model(save(tmp_path / "m.onnx", nodes, opset=14), target(opset=14))
    finding = the(report, "operator")
    assert (finding.node, finding.index, finding.operator, finding.severity) == ("swish", 1, "HardSwish", "error")
    assert "not among the operators of TensorRT 8.2" in finding.reason
    assert "HardSigmoid" in finding.remedy
    assert finding.source.startswith("https://")
    assert rules(report, "error") == ["opset", "operator"]


def test_a_node_without_a_name_is_named_by_operator_and_place(tmp_path):
    nodes = [node("Relu", ["x"], ["a"]), node("NonZero", ["a"], ["y"])]
    outputs = [value("y", INT64, None)]
    assert the(check_model(save(tmp_path / "m.onnx", nodes, outputs=outputs), target()), "operator").node == "NonZero_1"


@pytest.mark.parametrize(("opset", "board", "severity"), [(14, target(), "error"), (8, target("10.3.0"), "warning")])
def test_an_opset_beyond_what_is_taken(tmp_path, opset, board, severity):
    finding = the(check_model(save(tmp_path / "m.onnx", [CONV], weights=[W], opset=opset), board), "opset")
    assert (finding.severity, finding.node) == (severity, None)
    assert f"opset {opset}" in finding.reason


def test_the_opset_of_a_target_counts_where_it_is_the_lesser(tmp_path):
    path = save(tmp_path / "m.onnx", [CONV], weights=[W], opset=12)
    assert rules(check_model(path, target(opset=11))) == ["opset"]


def constant(name, values, kind=INT64):
    return helper.make_tensor(name, kind, [len(values)], values)


X5 = [value("x", FLOAT, [1, 2, 4, 4, 4])]
FLOATS, LONGS, BOOLS = ([value("k", kind, [1])] for kind in (FLOAT, INT64, TensorProto.BOOL))
X = [value("x", FLOAT, [1, 8, 4, 4])]
RESTRICTED = {
    # name: nodes, inputs, initializers, rule
    "weights of Conv": ([CONV], [*X, value("w", FLOAT, [8, 8, 3, 3])], [], "conv-weights"),
    "negative padding": (
        [node("ConvTranspose", ["x", "w"], ["y"], pads=[-1, 0, 0, 0])],
        X,
        [W],
        "conv-transpose-padding",
    ),
    "asymmetric 3-D": (
        [node("ConvTranspose", ["x", "w"], ["y"], pads=[0, 0, 0, 1, 1, 1])],
        X5,
        [weight("w", [2, 2, 3, 3, 3])],
        "conv-transpose-3d-padding",
    ),
    "cubic": (
        [node("Resize", ["x", "", "s"], ["y"], mode="cubic")],
        X,
        [constant("s", [1, 1, 2, 2], FLOAT)],
        "resize-mode",
    ),
    "crop and resize": (
        [node("Resize", ["x", "r", "s"], ["y"], coordinate_transformation_mode="tf_crop_and_resize")],
        X,
        [constant("s", [1, 1, 2, 2], FLOAT), constant("r", [0, 0, 0, 0, 1, 1, 1, 1], FLOAT)],
        "resize-coordinates",
    ),
    "nearest for tf": (
        [
            node(
                "Resize",
                ["x", "", "s"],
                ["y"],
                coordinate_transformation_mode="tf_half_pixel_for_nn",
                nearest_mode="floor",
            )
        ],
        X,
        [constant("s", [1, 1, 2, 2], FLOAT)],
        "resize-tf-nearest",
    ),
    "scales": ([node("Resize", ["x", "", "s"], ["y"])], [*X, value("s", FLOAT, [4])], [], "resize-scales"),
    "pad mode": (
        [node("Pad", ["x", "p"], ["y"], mode="wrap")],
        X,
        [constant("p", [0] * 8)],
        "pad-mode",
    ),
    "slice axes": (
        [node("Slice", ["x", "a", "b", "k"], ["y"])],
        [*X, *LONGS],
        [constant("a", [0]), constant("b", [1])],
        "slice-axes",
    ),
    "squeeze axes": ([node("Squeeze", ["x", "k"], ["y"])], [*X, *LONGS], [], "squeeze-axes"),
    "unsqueeze axes": ([node("Unsqueeze", ["x", "k"], ["y"])], [*X, *LONGS], [], "unsqueeze-axes"),
    "clip": ([node("Clip", ["x", "lo"], ["y"])], [*X, value("lo", FLOAT, [])], [], "clip-bounds"),
    "top k": ([node("TopK", ["x", "k"], ["y", "i"])], [*X, *LONGS], [], "topk-k"),
    "instance norm": (
        [node("InstanceNormalization", ["x", "s", "b"], ["y"])],
        [*X, value("s", FLOAT, [8])],
        [weight("b", [8])],
        "instance-norm-weights",
    ),
    "indices": (
        [node("MaxPool", ["x"], ["y", "i"], kernel_shape=[2, 2]), node("Shape", ["i"], ["s"])],
        X,
        [],
        "max-pool-indices",
    ),
    "integers": (
        [node("Cast", ["x"], ["a"], to=TensorProto.INT32), node("ArgMax", ["a"], ["y"])],
        X,
        [],
        "type",
    ),
    "booleans": (
        [node("Cast", ["x"], ["a"], to=TensorProto.BOOL), node("Gather", ["a", "k"], ["y"])],
        X,
        [constant("k", [0])],
        "type",
    ),
    "sequence": ([node("SequenceConstruct", ["x"], ["s"]), node("Relu", ["x"], ["y"])], X, [], "operator"),
    "dilated pooling": (
        [node("MaxPool", ["x"], ["y"], kernel_shape=[2, 2], dilations=[2, 2])],
        X,
        [],
        "pool-dilations",
    ),
    "zero point": (
        [node("QuantizeLinear", ["x", "s", "z"], ["q"]), node("DequantizeLinear", ["q", "s", "z"], ["y"])],
        X,
        [
            helper.make_tensor("s", FLOAT, [], [0.1]),
            helper.make_tensor("z", TensorProto.INT8, [], [3]),
        ],
        "quantize-zero-point",
    ),
}


@pytest.mark.parametrize("name", RESTRICTED)
def test_a_restriction_of_8_2_is_an_error_at_its_node(tmp_path, name):
    nodes, inputs, weights, rule = RESTRICTED[name]
    kind = {"ArgMax": INT64, "Gather": TensorProto.BOOL}.get(nodes[-1].op_type, FLOAT)
    path = save(tmp_path / "m.onnx", nodes, inputs, weights, [value("y", kind, None)])
    report = check_model(path, target(precisions=("fp32", "fp16", "int8")))
    assert set(rules(report, "error")) - {"shapes-fit"} == {rule}  # negative padding fits no shape either
    assert all(f.node is not None for f in report.findings if f.severity == "error")


def test_what_is_constant_by_a_node_is_as_good_as_an_initializer(tmp_path):
    nodes = [
        node("Constant", [], ["s"], value=constant("s", [1.0, 1.0, 2.0, 2.0], FLOAT)),
        node("Resize", ["x", "", "s"], ["a"]),
        node("QuantizeLinear", ["w", "one", "zero"], ["wq"]),
        node("DequantizeLinear", ["wq", "one", "zero"], ["wd"]),
        node("Conv", ["a", "wd"], ["y"]),
    ]
    zero = helper.make_tensor("zero", TensorProto.INT8, [], [0])
    path = save(tmp_path / "m.onnx", nodes, weights=[W, helper.make_tensor("one", FLOAT, [], [1.0]), zero])
    report = check_model(path, target(precisions=("fp32", "int8")), "int8")
    assert rules(report, "error") == []


def test_instance_normalisation_is_a_plugin_on_8_2_and_says_so(tmp_path):
    path = save(
        tmp_path / "m.onnx",
        [node("InstanceNormalization", ["x", "s", "b"], ["y"])],
        weights=[weight("s", [8]), weight("b", [8])],
    )
    report = check_model(path, target())
    assert report.ok
    assert "plugin" in the(report, "instance-norm-plugin").reason
    assert check_model(path, target("10.3.0")).findings == ()


@pytest.mark.parametrize(
    ("shape", "rule", "severity"),
    [
        (["n", 8, 4, 4], "dynamic-batch", "error"),
        ([1, 8, "h", "w"], "dynamic-shape", "error"),
        (["n", 8, "h", 4], "dynamic-shape", "error"),
        (None, "dynamic-shape", "error"),
    ],
)
def test_free_dimensions(tmp_path, shape, rule, severity):
    path = save(tmp_path / "m.onnx", [CONV], [value("x", FLOAT, shape)], [W])
    finding = the(check_model(path, target()), rule)
    assert finding.severity == severity
    assert "fixed sizes" in finding.remedy
    assert rules(check_model(path, target(None))) == []


def test_inputs_that_tensorrt_does_not_have(tmp_path):
    ends = [[value(name, TensorProto.STRING, [1])] for name in "xy"]
    path = save(tmp_path / "m.onnx", [node("StringNormalizer", ["x"], ["y"])], ends[0], outputs=ends[1])
    assert rules(check_model(path, target())) == ["input-type", "operator"]
    bytes_in = save(
        tmp_path / "u.onnx", [node("Cast", ["x"], ["y"], to=FLOAT)], [value("x", TensorProto.UINT8, [1, 3])]
    )
    assert not check_model(bytes_in, target()).ok
    assert check_model(bytes_in, target("8.5.2")).ok


def test_64_bit_inputs_become_32_bits(tmp_path):
    nodes = [node("Cast", ["x"], ["y"], to=FLOAT)]
    path = save(tmp_path / "m.onnx", nodes, [value("x", INT64, [1, 8])])
    report = check_model(path, target())
    assert report.ok
    assert "INT32" in the(report, "narrowed").reason
    assert check_model(path, target("10.3.0")).findings == ()
    double = save(tmp_path / "d.onnx", [node("Relu", ["x"], ["y"])], [value("x", TensorProto.DOUBLE, [1, 8])])
    assert "FP32" in the(check_model(double, target("10.3.0")), "narrowed").reason


@pytest.mark.parametrize("count", [1, 1000])
def test_integers_beyond_32_bits_matter_where_they_are_data_and_not_where_they_mean_the_end(tmp_path, count):
    far = constant("far", [2**40] * count)
    data = [
        node("Cast", ["x"], ["a"], to=INT64),
        node("Add", ["a", "far"], ["b"]),
        node("Cast", ["b"], ["y"], to=FLOAT),
    ]
    path = save(tmp_path / "m.onnx", data, [value("x", FLOAT, [count])], [far])
    finding = the(check_model(path, target()), "int64-range")
    assert (finding.severity, finding.operator) == ("error", "Add")
    assert check_model(path, target("10.3.0")).ok
    cut = save(
        tmp_path / "s.onnx",
        [node("Slice", ["x", "a", "b", "c"], ["y"])],
        weights=[constant("a", [1]), constant("b", [2**63 - 1]), constant("c", [2])],
    )
    assert check_model(cut, target()).findings == ()


def test_int8_of_a_gpu_without_it_is_refused_with_the_reason(tmp_path):
    path = save(tmp_path / "m.onnx", [CONV], weights=[W])
    finding = the(check_model(path, target(), "int8"), "precision")
    assert "int8 was asked for, and a GPU of compute capability 6.2 has no INT8 arithmetic" in finding.reason
    assert finding.remedy == "use fp32 or fp16"
    other = the(check_model(path, target("10.3.0", name="mine", compute_capability="8.7"), "int8"), "precision")
    assert "mine computes in fp32, fp16" in other.reason
    assert check_model(path, target(precisions=("fp32", "int8")), "int8").ok


def test_a_quantised_file_needs_int8_whatever_is_asked(tmp_path):
    scale, zero = helper.make_tensor("s", FLOAT, [], [0.1]), helper.make_tensor("z", TensorProto.INT8, [], [0])
    nodes = [node("QuantizeLinear", ["x", "s", "z"], ["q"]), node("DequantizeLinear", ["q", "s", "z"], ["y"])]
    path = save(tmp_path / "m.onnx", nodes, weights=[scale, zero])
    assert "it is quantised" in the(check_model(path, target(), "fp16"), "precision").reason
    assert check_model(path, target(precisions=("fp32", "fp16", "int8")), "int8").ok


def test_tensorrt_11_takes_the_precision_from_the_file(tmp_path):
    board = target("11.5.0", precisions=("fp32", "fp16", "int8"), compute_capability="8.7")
    path = save(tmp_path / "m.onnx", [CONV], weights=[W])
    assert "weights are FP32" in the(check_model(path, board, "fp16"), "precision-in-file").reason
    assert "not quantised" in the(check_model(path, board, "int8"), "precision-in-file").reason
    half = save(
        tmp_path / "h.onnx",
        [CONV],
        [value("x", TensorProto.FLOAT16, [1, 8, 4, 4])],
        [weight("w", [8, 8, 3, 3], dtype=np.float16)],
        [value("y", TensorProto.FLOAT16, None)],
    )
    assert check_model(half, board, "fp16").ok


def test_another_domain_needs_a_plugin(tmp_path):
    path = save(tmp_path / "m.onnx", [node("Swish", ["x"], ["y"], domain="com.example")])
    finding = the(check_model(path, target()), "custom-domain")
    assert finding.operator == "com.example::Swish"
    assert "plugin" in finding.remedy
    assert rules(check_model(path, target(None)), "error") == ["custom-domain"]


def test_a_plugin_of_tensorrt_itself_is_a_warning(tmp_path):
    for domain in ("", "com.example"):
        path = save(tmp_path / "m.onnx", [node("EfficientNMS_TRT", ["x"], ["y"], domain=domain)])
        report = check_model(path, target())
        assert report.ok
        assert rules(report) == ["plugin"]


def test_a_node_that_onnx_forbids_is_named(tmp_path):
    path = save(tmp_path / "m.onnx", [node("Conv", ["x"], ["y"], name="alone")])
    finding = the(check_model(path, target()), "onnx-valid")
    assert (finding.node, finding.severity) == ("alone", "error")
    assert "input size 1" in finding.reason
    assert rules(check_model(path, target(None)), "error") == ["onnx-valid"]


def branch(name, output):
    return helper.make_graph([node("NonZero", ["x"], [output])], name, [], [value(output, INT64, None)])


def test_the_nodes_within_branches_are_looked_at_too(tmp_path):
    choice = node("If", ["c"], ["i"], name="choice", then_branch=branch("t", "a"), else_branch=branch("e", "b"))
    nodes = [choice, node("Cast", ["i"], ["y"], to=FLOAT)]
    inputs = [*X, value("c", TensorProto.BOOL, [])]
    report = check_model(save(tmp_path / "m.onnx", nodes, inputs), target())
    assert [f.node for f in report.findings if f.rule == "operator"] == [
        "choice/then_branch/NonZero_0",
        "choice/else_branch/NonZero_0",
    ]
    same = node("If", ["c"], ["i"], name="choice", then_branch=branch("t", "a"), else_branch=branch("e", "a"))
    report = check_model(save(tmp_path / "n.onnx", [same, nodes[1]], inputs), target("8.5.2"))
    assert "if-names" in rules(report, "error")


def test_local_functions_are_put_in_place_where_the_version_knows_none(tmp_path):
    body = [node("NonZero", ["a"], ["b"], name="inside")]
    function = helper.make_function("com.example", "Odd", ["a"], ["b"], body, [helper.make_opsetid("", 13)])
    nodes = [node("Odd", ["x"], ["i"], domain="com.example"), node("Cast", ["i"], ["y"], to=FLOAT)]
    path = save(tmp_path / "m.onnx", nodes, functions=[function])
    assert rules(check_model(path, target())) == ["local-functions", "operator"]
    assert check_model(path, target("10.3.0")).ok


def test_nodes_out_of_order_are_a_warning(tmp_path):
    nodes = [node("Relu", ["a"], ["y"]), node("Sigmoid", ["x"], ["a"])]
    report = check_model(save(tmp_path / "m.onnx", nodes), target())
    assert rules(report) == ["node-order"]
    assert report.memory.total_mib is not None


def test_weights_in_another_file_are_an_error_for_the_agent_takes_one_file(tmp_path):
    path = save(tmp_path / "m.onnx", [CONV], weights=[W])
    model = onnx.load(path)
    onnx.save(model, path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    for board in (target(), target(None)):
        report = check_model(path, board)
        finding = the(report, "external-data")
        assert rules(report, "error") == ["external-data"]
        assert "1 tensor is in another file ('w')" in finding.reason
        assert "onnx.save" in finding.remedy


def test_unusual_channels_are_a_warning_with_their_cost(tmp_path):
    nodes = [
        node("Conv", ["x", "a"], ["p"], name="in"),  # its inputs are the task's
        node("Conv", ["p", "b"], ["q"], name="middle"),
        node("Conv", ["q", "c"], ["y"], name="out"),
    ]
    weights = [weight("a", [12, 3, 1, 1]), weight("b", [20, 12, 1, 1]), weight("c", [10, 20, 1, 1])]
    path = save(tmp_path / "m.onnx", nodes, [value("x", FLOAT, [1, 3, 4, 4])], weights)
    report = check_model(path, target("10.3.0", compute_capability="8.7"), "fp16")
    assert report.ok
    costs = {f.node: f.reason for f in report.findings if f.rule == "channels"}
    assert "12 out as 16" in costs["in"]
    assert "33% more" in costs["in"]
    assert "12 in as 16, 20 out as 24" in costs["middle"]
    assert "60% more" in costs["middle"]
    assert "20 in as 24" in costs["out"]
    assert check_model(path, target(), "fp16").findings == ()  # pairs are enough without tensor cores
    assert check_model(path, target("10.3.0", compute_capability="8.7"), "fp32").findings == ()


def test_depthwise_channels_are_not_padded_on_both_sides(tmp_path):
    nodes = [node("Relu", ["x"], ["r"]), node("Conv", ["r", "a"], ["p"], group=12), node("Relu", ["p"], ["y"])]
    path = save(tmp_path / "m.onnx", nodes, [value("x", FLOAT, [1, 12, 4, 4])], [weight("a", [12, 1, 3, 3])])
    report = check_model(path, target("10.3.0", compute_capability="8.7"), "fp16")
    assert "33% more" in the(report, "channels").reason


def test_memory_is_weights_and_the_most_that_is_alive_at_once(tmp_path):
    nodes = [
        node("Conv", ["x", "w"], ["a"]),
        node("Relu", ["a"], ["b"]),
        node("Sigmoid", ["b"], ["c"]),
        node("Add", ["a", "c"], ["y"]),
    ]
    shape = [1, 64, 128, 128]  # 4 MiB in FP32
    path = save(tmp_path / "m.onnx", nodes, [value("x", FLOAT, shape)], [weight("w", [64, 64, 1, 1])])
    memory = check_model(path, target(), "fp32").memory
    assert memory.weights_mib == 64 * 64 * 4 / 2**20
    assert memory.activations_mib == 3 * 4  # a, b and c
    assert memory.total_mib == pytest.approx(memory.weights_mib + 12 + memory.workspace_mib)
    half = check_model(path, target(), "fp16").memory
    assert half.activations_mib == 6
    assert memory.available_mib == target().memory_mib


@pytest.mark.parametrize(("memory_mib", "severity"), [(100, "error"), (400, "warning"), (8000, None), (None, None)])
def test_a_board_that_is_too_small(tmp_path, memory_mib, severity):
    report = check_model(save(tmp_path / "m.onnx", [CONV], weights=[W]), target(memory_mib=memory_mib))
    assert [f.severity for f in report.findings if f.rule == "memory"] == ([severity] if severity else [])


def test_memory_is_unknown_where_a_size_is(tmp_path):
    nodes = [node("Odd", ["x"], ["a"], domain="com.example"), node("Relu", ["a"], ["y"])]
    report = check_model(save(tmp_path / "m.onnx", nodes), target())
    assert report.memory.total_mib is None
    assert report.memory.reason == "the size of 'a' is not known"
    assert "memory   unknown: the size of 'a' is not known" in list(report.lines())


def test_a_version_without_a_table_says_so(tmp_path):
    finding = the(check_model(save(tmp_path / "m.onnx", [CONV], weights=[W]), target("10.9.0")), "table")
    assert "no table for TensorRT 10.9.0" in finding.reason
    assert "10.3" in finding.reason


def test_onnx_runtime_is_asked_by_the_same_machinery(tmp_path):
    nodes = [node("NonZero", ["x"], ["i"]), node("Cast", ["i"], ["y"], to=FLOAT)]
    report = check_model(save(tmp_path / "m.onnx", nodes), target(None, opset=13))
    assert report.ok
    assert (report.runtime, report.tensorrt) == ("ONNX Runtime", None)
    assert rules(check_model(save(tmp_path / "m.onnx", nodes, opset=14), target(None, opset=13))) == ["opset"]
    unknown = save(tmp_path / "u.onnx", [node("Odd", ["x"], ["y"])])
    assert rules(check_model(unknown, target(None))) == ["operator"]


def test_the_document_is_json_and_says_all(tmp_path):
    nodes = [node("NonZero", ["x"], ["i"], name="bad"), node("Cast", ["i"], ["y"], to=FLOAT)]
    path = save(tmp_path / "m.onnx", nodes)
    document = json.loads(json.dumps(check_model(path, target(), "fp16").document()))
    assert document["schema"] == "edgesynth.check/1"
    assert document["verdict"] == "refused"
    assert {"file", "sha256", "target", "tensorrt", "opset", "precision", "memory"} <= document.keys()
    (finding,) = document["findings"]
    assert finding.keys() == {"severity", "rule", "node", "index", "operator", "reason", "remedy", "source"}
    assert document["memory"]["reason"]


def test_the_lines_group_nodes_and_cannot_steer_a_terminal(tmp_path):
    nodes = [node("NonZero", ["x"], [f"i{n}"], name=f"n{n}\x1b[31m\n") for n in range(7)]
    path = save(tmp_path / "m.onnx", [*nodes, node("Relu", ["x"], ["y"])])
    lines = list(check_model(path, target()).lines())
    assert lines[0] == "m.onnx on board (TensorRT 8.2.1, opset 13, fp32): refused, 7 errors"
    assert sum("NonZero: is not supported" in line for line in lines) == 1
    assert any(line.startswith("  nodes  n0?[31m?, ") and line.endswith(", and 3 more") for line in lines)
    assert all(line.isprintable() for line in lines)
