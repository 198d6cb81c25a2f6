import io

import onnx
import pytest
import torch
from edgesynth_exporters.errors import ExportError
from edgesynth_exporters.export import export_onnx
from torch import nn

from tests.networks import Dense, Mobile, Residual, conv, example, make
from tests.user_networks import NamedHeads, TwoHeads

real_export = torch.onnx.export


class Folding(nn.Module):
    """Calls something that no ONNX operator stands for."""

    def forward(self, x):
        return torch.fft.fft(x).real.mean(dim=(2, 3))


@pytest.fixture
def tampered(monkeypatch):
    """Let the exporter hand back what `change` makes of its file, or be called with other options."""

    def tamper(change=lambda model: model, **other):
        def export(module, arguments, file, **options):
            buffer = io.BytesIO()
            real_export(module, arguments, buffer, **{**options, **other})
            file.write(change(onnx.load_from_string(buffer.getvalue())).SerializeToString())

        monkeypatch.setattr(torch.onnx, "export", export)

    return tamper


def shape(value):
    return [dim.dim_value for dim in value.type.tensor_type.shape.dim]


@pytest.mark.parametrize("kind", [Residual, Dense, Mobile])
@pytest.mark.parametrize("batch", [1, 3])
def test_the_file_is_static_folded_and_of_the_opset_asked_for(tmp_path, kind, batch):
    export_onnx(make(kind), example(batch), tmp_path / "m.onnx", 13)
    model = onnx.load(tmp_path / "m.onnx")
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", 13)]
    assert [(v.name, shape(v)) for v in model.graph.input] == [("input", [batch, 1, 8, 8])]
    assert [(v.name, shape(v)) for v in model.graph.output] == [("output", [batch, 4])]
    norms = [node for node in model.graph.node if node.op_type == "BatchNormalization"]
    # Behind a concatenation there is no convolution to fold into.
    assert len(norms) == (1 if kind is Dense else 0)


@pytest.mark.parametrize(
    ("kind", "outputs"),
    [
        (TwoHeads, [("output_0", [1, 4]), ("output_1", [1, 2])]),
        (
            NamedHeads,
            [("output_classes", [1, 4]), ("output_mask", [1, 1, 8, 8]), ("output_features", [1, 12, 4, 4])],
        ),
    ],
)
def test_every_output_has_a_name_and_static_sizes(tmp_path, kind, outputs):
    export_onnx(make(kind), example(), tmp_path / "m.onnx", 13)
    model = onnx.load(tmp_path / "m.onnx")
    assert [(v.name, shape(v)) for v in model.graph.output] == outputs
    assert not any(node.op_type == "BatchNormalization" for node in model.graph.node)


class Forked(nn.Module):
    """What its convolution makes goes to batch norm, and past it."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm = conv(1, 4)

    def forward(self, x):
        x = self.conv(x)
        return self.norm(x) + torch.tanh(x)


def test_batch_norm_stays_where_the_convolution_in_front_of_it_feeds_others_too(tmp_path):
    export_onnx(make(Forked), example(), tmp_path / "m.onnx", 13)
    assert [n.op_type for n in onnx.load(tmp_path / "m.onnx").graph.node].count("BatchNormalization") == 1


def test_an_answer_that_is_no_tensor_is_one_line(tmp_path):
    class Text(nn.Module):
        def forward(self, x):
            return [x, "cat"]

    with pytest.raises(ExportError, match="cannot export Text at opset 13: the network answers with str, not with ten"):
        export_onnx(Text(), example(), tmp_path / "m.onnx", 13)


def test_the_network_is_left_as_it_was(tmp_path):
    network = make(Residual).train()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    export_onnx(network, example(), tmp_path / "m.onnx", 13)
    assert network.training
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())


def test_the_same_network_gives_the_same_bytes(tmp_path):
    for name in ("one", "two"):
        export_onnx(make(Residual), example(), tmp_path / name, 13)
    export_onnx(make(Residual, seed=1), example(), tmp_path / "other", 13)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    assert (tmp_path / "one").read_bytes() != (tmp_path / "other").read_bytes()


def with_opset_18(model):
    model.opset_import[0].version = 18
    return model


def with_dynamic_batch(value):
    def change(model):
        getattr(model.graph, value)[0].type.tensor_type.shape.dim[0].dim_param = "batch"
        return model

    return change


def damaged(model):
    model.graph.node[0].input[0] = "nowhere"
    return model


TAMPERED = [
    pytest.param({"opset_version": 17}, r"asked for ONNX opset 13, the exporter wrote \{'': 17\}", id="opset"),
    pytest.param({"change": with_opset_18}, r"wrote \{'': 18\}: refusing", id="opset-18"),
    pytest.param(
        {"training": torch.onnx.TrainingMode.PRESERVE, "do_constant_folding": False},
        r"batch norm '.*' was not folded into convolution '.*'",
        id="batch-norm",
    ),
    pytest.param(
        {"dynamic_axes": {"input": {0: "batch"}}}, "'input' has a dynamic shape; a TensorRT engine", id="dynamic-axes"
    ),
    pytest.param({"change": with_dynamic_batch("output")}, "'output' has a dynamic shape", id="dynamic-output"),
    pytest.param({"change": damaged}, r"cannot export Residual at opset 13: .*nowhere", id="damaged"),
]


@pytest.mark.parametrize(("how", "what"), TAMPERED)
def test_a_file_that_is_not_as_asked_is_refused_and_not_written(tmp_path, tampered, how, what):
    path = tmp_path / "m.onnx"
    path.write_bytes(b"an older one")
    tampered(**how)
    with pytest.raises(ExportError, match=what) as error:
        export_onnx(make(Residual), example(), path, 13)
    assert len(str(error.value).splitlines()) == 1
    assert error.value.exit_code == 3
    assert path.read_bytes() == b"an older one"
    assert list(tmp_path.iterdir()) == [path]


def test_an_operator_that_onnx_lacks_is_one_line_and_no_file(tmp_path, capfd):
    with pytest.raises(ExportError, match=r"cannot export Folding at opset 13: .*fft") as error:
        export_onnx(Folding(), example(), tmp_path / "m.onnx", 13)
    assert len(str(error.value).splitlines()) == 1
    assert list(tmp_path.iterdir()) == []
    assert capfd.readouterr() == ("", "")


def test_a_wrong_example_is_one_line(tmp_path):
    with pytest.raises(ExportError, match="cannot export Residual at opset 13: ") as error:
        export_onnx(make(Residual), torch.zeros(1, 3, 8, 8), tmp_path / "m.onnx", 13)
    assert len(str(error.value).splitlines()) == 1


def test_a_folder_that_is_not_there_is_one_line(tmp_path):
    with pytest.raises(ExportError, match=r"cannot write .*missing/m\.onnx: No such file or directory"):
        export_onnx(make(Residual), example(), tmp_path / "missing" / "m.onnx", 13)


def test_a_network_that_ends_the_process_is_one_line(tmp_path):
    class Ends(nn.Module):
        def forward(self, x):
            raise SystemExit(7)

    with pytest.raises(ExportError, match="cannot export Ends at opset 13: 7"):
        export_onnx(Ends(), example(), tmp_path / "m.onnx", 13)


def test_the_example_is_left_as_it_was(tmp_path):
    class Overwriting(nn.Module):
        def forward(self, x):
            return x.mul_(2).flatten(1)

    given = example()
    before = given.clone()
    assert export_onnx(Overwriting(), given, tmp_path / "m.onnx", 13) == []
    assert torch.equal(given, before)
