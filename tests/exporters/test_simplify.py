import onnx
import onnxslim
import pytest
import torch
from edgesynth_exporters.comparison import compare
from edgesynth_exporters.errors import ExportError
from edgesynth_exporters.export import export_onnx
from edgesynth_exporters.outputs import named_outputs
from edgesynth_exporters.parity import run_onnx_outputs
from edgesynth_exporters.simplify import simplify

from tests.networks import TOYS, Residual, example, make
from tests.user_networks import USERS

KINDS = TOYS | USERS


def exported(kind, path, opset=13):
    export_onnx(make(kind), example(), path, opset)
    return onnx.load(path)


@pytest.mark.parametrize("name", KINDS)
def test_it_computes_the_same_at_the_same_opset_with_no_more_nodes(name, tmp_path):
    model = exported(KINDS[name], tmp_path / "before.onnx")
    before = model.SerializeToString()
    slim = simplify(model)
    assert model.SerializeToString() == before
    assert [(entry.domain, entry.version) for entry in slim.opset_import] == [("", 13)]
    assert len(slim.graph.node) <= len(model.graph.node)
    assert list(slim.graph.input) == list(model.graph.input)
    onnx.save(slim, tmp_path / "after.onnx")
    images = example(12)
    with torch.no_grad():
        expected = {key: tensor.numpy() for key, tensor in named_outputs(make(KINDS[name])(images)).items()}
    found = compare(run_onnx_outputs(tmp_path / "after.onnx", images.numpy()), expected)
    assert all(comparison.passed for comparison in found.values())


def test_what_does_not_depend_on_the_input_is_folded(tmp_path):
    """Sizes that a network reads from its input are numbers in a static graph."""
    model = exported(USERS["shuffled"], tmp_path / "m.onnx")
    slim = simplify(model)
    kinds = {node.op_type for node in slim.graph.node}
    assert len(slim.graph.node) < len(model.graph.node)
    assert not kinds & {"Shape", "Constant", "ConstantOfShape"}


def test_the_same_graph_gives_the_same_bytes(tmp_path):
    model = exported(USERS["attending"], tmp_path / "m.onnx")
    one, two = (simplify(model).SerializeToString(deterministic=True) for _ in range(2))
    assert one == two


def test_it_says_nothing(tmp_path, capfd):
    simplify(exported(Residual, tmp_path / "m.onnx"))
    assert capfd.readouterr() == ("", "")


def _rename(model):
    model.graph.output[0].name = "other"
    return model


def _raise_opset(model):
    model.opset_import[0].version = 18
    return model


@pytest.mark.parametrize(("change", "what"), [(_rename, "output 'other'|outputs"), (_raise_opset, "the opset")])
def test_a_graph_that_comes_back_as_another_is_refused(tmp_path, monkeypatch, change, what):
    model = exported(Residual, tmp_path / "m.onnx")
    monkeypatch.setattr(onnxslim, "slim", change)
    with pytest.raises(ExportError, match=what) as error:
        simplify(model)
    assert len(str(error.value).splitlines()) == 1


def test_its_failure_is_one_line(tmp_path, monkeypatch):
    def fail(model):
        raise IndexError("list index\nout of range")

    monkeypatch.setattr(onnxslim, "slim", fail)
    with pytest.raises(ExportError, match=r"^onnxslim [\d.]+ cannot simplify the graph: list index$"):
        simplify(exported(Residual, tmp_path / "m.onnx"))
