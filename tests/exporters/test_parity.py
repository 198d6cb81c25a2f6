import numpy as np
import onnx
import pytest
import torch
from edgesynth_exporters.errors import ModelFileError, ParityError
from edgesynth_exporters.export import export_onnx
from edgesynth_exporters.outputs import named_outputs
from edgesynth_exporters.parity import check_parity, run_onnx, run_onnx_outputs
from onnx import numpy_helper

from tests.networks import TOYS, Residual, example, make
from tests.user_networks import NamedHeads

IMAGES = 12


@pytest.fixture
def exported(tmp_path):
    """A file, images, and what PyTorch answers to them."""

    def export(kind=Residual, batch=1):
        network, images = make(kind), example(IMAGES)
        export_onnx(network, example(batch), tmp_path / "m.onnx", 13)
        with torch.no_grad():
            return tmp_path / "m.onnx", images.numpy(), network(images).numpy()

    return export


def perturb(path, change):
    """Change the bias of the last layer."""
    model = onnx.load(path)
    bias = next(tensor for tensor in model.graph.initializer if tensor.name.endswith("head.2.bias"))
    values = numpy_helper.to_array(bias).copy()
    change(values)
    bias.CopyFrom(numpy_helper.from_array(values, bias.name))
    onnx.save(model, path)


@pytest.mark.parametrize("kind", TOYS.values(), ids=TOYS)
def test_what_was_exported_computes_the_same(exported, kind):
    result = check_parity(*exported(kind))
    assert result.images == IMAGES
    assert 0 <= result.max_abs_error < 1e-4
    assert result.argmax_agreement == 1.0


def test_batches_change_nothing(exported):
    path, images, expected = exported(batch=4)
    assert check_parity(path, images, expected).images == IMAGES
    with pytest.raises(ModelFileError, match="10 images do not fill batches of 4"):
        run_onnx(path, images[:10])


def test_a_changed_weight_is_found_and_the_worst_output_named(exported):
    path, images, expected = exported()

    def change(bias):
        bias[2] += 0.5

    perturb(path, change)
    worst = np.abs(run_onnx(path, images) - expected)[:, 2].argmax()
    value = expected[worst, 2]
    with pytest.raises(ParityError) as error:
        check_parity(path, images, expected)
    message = str(error.value)
    assert message.startswith(f"{path}: differs from PyTorch; worst is image {worst}, output (2,): ")
    assert f" instead of {value:.6g} (greatest error 0.5, same answer on " in message
    assert error.value.exit_code == 3


def test_an_error_within_tolerance_is_reported_and_passes(exported):
    path, images, expected = exported()
    result = check_parity(path, images, expected + np.float32(5e-4))
    assert result.max_abs_error == pytest.approx(5e-4, rel=0.01)


def test_the_tolerance_grows_with_the_outputs(exported):
    path, images, expected = exported()
    with pytest.raises(ParityError, match=r"greatest error 0\.00"):
        check_parity(path, images, expected + np.float32(5e-3))
    perturb(path, lambda bias: np.add(bias, 100, out=bias))
    assert check_parity(path, images, expected + np.float32(100 + 5e-3)).max_abs_error > 4e-3


def test_other_answers_are_found_even_where_the_values_are_close(exported):
    path, images, _ = exported()
    perturb(path, lambda bias: bias.fill(0))
    near_ties = run_onnx(path, images)
    best = near_ties.argmax(axis=1)
    near_ties[np.arange(IMAGES), (best + 1) % 4] = near_ties.max(axis=1) + np.float32(1e-4)
    model_answers = run_onnx(path, images)
    assert (near_ties.argmax(axis=1) != model_answers.argmax(axis=1)).all()
    with pytest.raises(ParityError, match=r"same answer on 0\.0% of 12 images"):
        check_parity(path, images, near_ties)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("side", ["file", "pytorch", "both"])
def test_an_output_that_is_no_number_never_passes(exported, value, side):
    path, images, expected = exported()
    if side != "pytorch":
        perturb(path, lambda bias: bias.__setitem__(1, value))
    if side != "file":
        expected[:, 1] = value
    with pytest.raises(ParityError, match=r"worst is image 0, output \(1,\): .* \(greatest error inf, "):
        check_parity(path, images, expected)


def test_another_shape_is_named(exported):
    path, images, expected = exported()
    with pytest.raises(ParityError, match=r"output shape \(12, 4\), PyTorch gave \(12, 3\)"):
        check_parity(path, images, expected[:, :3])


@pytest.mark.parametrize("shape", [(2, 3, 8, 8), (2, 1, 9, 9), (2, 64)])
def test_images_that_do_not_fit_the_file_are_one_line(exported, shape):
    path, _, _ = exported()
    with pytest.raises(ModelFileError, match="ONNX Runtime cannot run it") as error:
        run_onnx(path, np.zeros(shape, np.float32))
    assert len(str(error.value).splitlines()) == 1


def test_no_images_prove_nothing(exported):
    path, images, expected = exported()
    with pytest.raises(ModelFileError, match="0 images"):
        check_parity(path, images[:0], expected[:0])


@pytest.mark.parametrize(
    "content", [None, b"", b"not a model", b"\x00" * 64], ids=["missing", "empty", "text", "zeros"]
)
def test_a_file_that_does_not_load_is_one_line(tmp_path, content, capfd):
    path = tmp_path / "m.onnx"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ModelFileError, match=r"m\.onnx: ONNX Runtime cannot load it: ") as error:
        check_parity(path, np.zeros((1, 1, 8, 8), np.float32), np.zeros((1, 4), np.float32))
    assert len(str(error.value).splitlines()) == 1
    assert error.value.exit_code == 2
    assert capfd.readouterr() == ("", "")


@pytest.fixture
def several(tmp_path):
    """A file with three outputs, images, and what PyTorch answers to them, by name."""
    network, images = make(NamedHeads), example(IMAGES)
    export_onnx(network, example(), tmp_path / "m.onnx", 13)
    with torch.no_grad():
        expected = {name: tensor.numpy().copy() for name, tensor in named_outputs(network(images)).items()}
    return tmp_path / "m.onnx", images.numpy(), expected


def test_every_output_is_compared(several):
    path, images, expected = several
    result = check_parity(path, images, expected)
    assert (result.images, result.argmax_agreement) == (IMAGES, 1.0)
    assert result.max_abs_error < 1e-4
    expected["output_mask"][5] += 5e-4
    assert check_parity(path, images, expected).max_abs_error == pytest.approx(5e-4, rel=0.01)
    first = run_onnx_outputs(path, images)["output_classes"]
    assert np.array_equal(run_onnx(path, images), first)


@pytest.mark.parametrize(
    ("name", "at"), [("output_classes", (3, 2)), ("output_mask", (3, 0, 1, 7)), ("output_features", (3, 11, 3, 0))]
)
def test_a_fault_in_any_output_is_found_and_the_output_named(several, name, at):
    path, images, expected = several
    expected[name][at] += 0.5
    with pytest.raises(ParityError) as error:
        check_parity(path, images, expected)
    assert f"worst is image 3, output '{name}' ({', '.join(map(str, at[1:]))}{',' * (len(at) == 2)}): " in str(
        error.value
    )


def test_outputs_that_are_missing_or_of_another_shape_are_named(several):
    path, images, expected = several
    mask = expected.pop("output_mask")
    with pytest.raises(
        ParityError, match="outputs output_classes, output_mask, output_features, PyTorch gave output_c"
    ):
        check_parity(path, images, expected)
    with pytest.raises(ParityError, match=r"output 'output_mask' shape \(12, 1, 8, 8\), PyTorch gave \(12, 1, 8, 7\)"):
        check_parity(path, images, expected | {"output_mask": mask[..., :7]})


@pytest.mark.parametrize(
    ("answers", "names"),
    [
        (torch.zeros(1), ["output"]),
        ((torch.zeros(1), None, [torch.zeros(2)]), ["output_0", "output_2_0"]),
        ({"mask": torch.zeros(1), "boxes": (torch.zeros(1),)}, ["output_mask", "output_boxes_0"]),
        ([torch.zeros(1)], ["output_0"]),
    ],
)
def test_outputs_have_names_after_their_places(answers, names):
    assert list(named_outputs(answers)) == names


def test_two_outputs_with_one_name_are_refused():
    with pytest.raises(TypeError, match="would have the same name: output_a_b, output_a_b"):
        named_outputs({"a_b": torch.zeros(1), "a": {"b": torch.zeros(1)}})
