"""Files made to do harm, or that state what no exporter writes: one line or a finding, and never too much work."""

import onnx
import pytest
from edgesynth_exporters import check, onnx_wire
from edgesynth_exporters.check import check_model
from edgesynth_exporters.errors import ModelFileError
from onnx import AttributeProto

from tests.exporters.models import FLOAT, node, save, target, value, weight


def refused(path, says):
    with pytest.raises(ModelFileError) as error:
        check_model(path, target())
    text = str(error.value)
    assert says in text
    assert text.startswith(f"{path}: ")
    assert text.isprintable()


def found(path):
    return [(f.rule, f.node) for f in check_model(path, target()).findings if f.severity == "error"]


@pytest.mark.parametrize(
    ("kind", "dims", "says"),
    [
        (FLOAT, [0, 2**62, 2**62], "tensor 'w' has dimensions beyond any memory"),
        (FLOAT, [0, -1], "tensor 'w' has a negative dimension"),
        (77, [0], "tensor 'w' is of type 77, which is no type of weights"),
        (0, [0], "tensor 'w' is of type 0, which is no type of weights"),
    ],
)
def test_an_empty_tensor_of_no_form(tmp_path, kind, dims, says):
    tensor = onnx.TensorProto(name="w", data_type=kind, dims=dims)
    refused(save(tmp_path / "m.onnx", [node("Add", ["x", "w"], ["y"])], weights=[tensor]), says)


def borrowing(operator, inputs, output, name, kind):
    """A node whose attribute is one of the function around it."""
    made = node(operator, inputs, [output], name="n")
    made.attribute.add(name=name, ref_attr_name="outer", type=kind)
    return made


def test_an_attribute_of_a_function_outside_of_any(tmp_path):
    constant = borrowing("Constant", [], "w", "value_float", AttributeProto.FLOAT)
    path = save(tmp_path / "m.onnx", [constant, node("Add", ["x", "w"], ["y"])])
    assert found(path) == [("onnx-valid", "n")]
    resize = borrowing("Resize", ["x", "", "s"], "y", "mode", AttributeProto.STRING)
    scales = onnx.helper.make_tensor("s", FLOAT, [4], [1, 1, 2, 2])
    assert found(save(tmp_path / "n.onnx", [resize], weights=[scales])) == [("onnx-valid", "n")]


@pytest.mark.parametrize("opset", [13, 99])
@pytest.mark.parametrize(
    ("made", "weights"),
    [
        (node("ConvTranspose", ["x", "w"], ["y"], pads="abcd"), [weight("w", [8, 8, 3, 3])]),
        (node("AveragePool", ["x"], ["y"], kernel_shape=[2, 2], pads=["a", "b", "c", "d"]), []),
        (node("Einsum", ["x"], ["y"], equation=3), []),
    ],
    ids=["text", "texts", "number"],
)
def test_attributes_of_another_type(tmp_path, made, weights, opset):
    """At an opset that ONNX does not know yet, nobody has said that they are wrong."""
    assert found(save(tmp_path / "m.onnx", [made], weights=weights, opset=opset))


def test_an_attribute_of_no_type_at_an_unknown_opset(tmp_path):
    resize = node("Resize", ["x", "", "s"], ["y"])
    resize.attribute.add(name="mode", type=AttributeProto.UNDEFINED)
    scales = onnx.helper.make_tensor("s", FLOAT, [4], [1, 1, 2, 2])
    assert ("opset", None) in found(save(tmp_path / "m.onnx", [resize], weights=[scales], opset=99))


@pytest.mark.parametrize("rank", [3, 20, 100])
def test_a_shape_beyond_any_machine(tmp_path, rank):
    path = save(tmp_path / "m.onnx", [node("Relu", ["x"], ["y"])], [value("x", FLOAT, [2**62] * rank)])
    report = check_model(path, target())
    (finding,) = (f for f in report.findings if f.rule == "memory")
    assert finding.severity == "error"
    assert "about 10^" in finding.reason
    assert "the board's memory: " in finding.source
    assert max(map(len, report.lines())) < 300


def test_what_nobody_foresaw_is_one_line_too(tmp_path, monkeypatch):
    def fail(*_):
        raise KeyError("\x1b[31mred")

    monkeypatch.setattr(check, "open_scope", fail)
    path = save(tmp_path / "m.onnx", [node("Relu", ["x"], ["y"])])
    refused(path, "cannot be understood: KeyError: '")


def test_nodes_of_one_name_keep_their_own_reasons(tmp_path):
    nodes = [
        node("Relu", ["x"], ["a"], name="n"),
        node("Relu", ["a"], ["b"], name="n", foo=3),
        node("GridSample", ["b", "b"], ["y"], name="n"),
    ]
    report = check_model(save(tmp_path / "m.onnx", nodes), target())
    reasons = {(f.index, f.rule): f.reason for f in report.findings}
    assert set(reasons) == {(1, "onnx-valid"), (2, "onnx-valid"), (2, "operator")}
    assert "foo" in reasons[1, "onnx-valid"]


@pytest.mark.parametrize("operator", ["GridSample", "HardSwish", "LayerNormalization"])
def test_an_operator_of_a_later_opset_is_one_that_the_version_does_not_have(tmp_path, operator):
    inputs = ["x"] if operator == "HardSwish" else ["x", "x"]
    report = check_model(save(tmp_path / "m.onnx", [node(operator, inputs, ["y"])]), target())
    advice = {f.rule: f.remedy for f in report.findings}
    assert set(advice) == {"onnx-valid", "operator"}
    assert "outside of the network" in advice["operator"] or "where it is written as" in advice["operator"]
    assert {f.rule for f in check_model(tmp_path / "m.onnx", target(None)).findings} == {"onnx-valid"}


def field(number, content):
    """A length-delimited field of protobuf."""
    return varint(number << 3 | 2) + varint(len(content)) + content


def varint(number):
    digits = []
    while number >= 0x80:
        digits.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*digits, number])


def model_of(graph):
    opset = onnx.OperatorSetIdProto(version=13).SerializeToString()
    return onnx.ModelProto(ir_version=8).SerializeToString() + field(8, opset) + field(7, graph)


EMPTY = {
    # Small parts that are large once they are parsed, within messages that are small themselves.
    "attributes": field(1, field(4, b"Relu") + field(5, b"") * 1000),
    "types": field(11, field(1, b"x") + field(2, field(1, field(2, field(1, b"") * 1000)))),
    "external data": field(5, field(8, b"w") + field(13, b"") * 1000),
    "annotations": field(14, field(2, b"") * 1000),
    "metadata": field(1, field(9, b"") * 1000),
    "a graph": field(1, field(5, field(6, field(1, b"") * 1000))),
}


@pytest.mark.parametrize("name", EMPTY)
def test_empty_parts_are_counted_before_they_are_made(tmp_path, monkeypatch, name):
    monkeypatch.setattr(onnx_wire, "MOST_MESSAGES", 5000)
    path = tmp_path / "m.onnx"
    path.write_bytes(model_of(EMPTY[name] * 4))
    with pytest.raises(ModelFileError) as few:
        check_model(path, target())
    assert "more than 5,000" not in str(few.value)
    path.write_bytes(model_of(EMPTY[name] * 6))
    refused(path, "it has more than 5,000 nodes, attributes and other parts")


def test_fields_are_counted_in_small_messages_too(tmp_path, monkeypatch):
    monkeypatch.setattr(onnx_wire, "MOST_FIELDS", 5000)
    path = tmp_path / "m.onnx"
    path.write_bytes(model_of(field(1, field(1, b"") * 1000) * 6))
    refused(path, "it has more than 5,000 fields")
