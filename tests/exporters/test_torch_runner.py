import numpy as np
import pytest
import torch
from edgesynth_exporters.errors import EdgesynthError
from edgesynth_exporters.torch_runner import refuse_bad_weights, torch_runner
from torch import nn

from tests.networks import Residual, example, make
from tests.user_networks import NamedHeads

IMAGES = example(5).numpy()


class One(nn.Module):
    """Takes one image at a time, and says so with an error, or in the shape of what it answers."""

    def __init__(self, way):
        super().__init__()
        self.way = way

    def forward(self, x):
        if self.way == "raises" and len(x) > 1:
            raise ValueError("one image, please")
        return x.reshape(1, -1)[:, :3] if self.way == "raises" else x.reshape(1, -1, 3)[:, 0]


def test_answers_are_pytorchs_by_name():
    network = make(NamedHeads)
    with torch.no_grad():
        expected = network(torch.from_numpy(IMAGES))
    found = torch_runner("net", network)(IMAGES)
    assert list(found) == ["output_classes", "output_mask", "output_features"]
    assert all(np.array_equal(found[f"output_{name}"], expected[name].numpy()) for name in expected)


def test_it_runs_in_eval_mode():
    network = make(Residual).train()
    run = torch_runner("net", network)
    assert np.array_equal(run(IMAGES)["output"], run(IMAGES)["output"])
    assert not network.training


def test_a_network_for_one_image_gets_one_after_the_other():
    run = torch_runner("net", One("raises"))
    assert np.array_equal(run(IMAGES)["output"], IMAGES.reshape(5, -1)[:, :3])
    assert np.array_equal(run(IMAGES[:1])["output"], IMAGES[:1].reshape(1, -1)[:, :3])


def test_one_answer_to_several_images_is_not_taken_for_theirs():
    class Mean(nn.Module):
        def forward(self, x):
            return x.mean(dim=(0, 2, 3), keepdim=False)[None].repeat(1, 2)

    assert torch_runner("net", Mean())(IMAGES)["output"].shape == (5, 2)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_answers_that_are_no_numbers_are_refused(bad):
    class Bad(nn.Module):
        def forward(self, x):
            return torch.where(x.flatten(1)[:, :2] > 0, bad, 0.0)

    with pytest.raises(EdgesynthError, match="net: PyTorch itself answers with NaN or infinity, in 'output'") as error:
        torch_runner("net", Bad())(IMAGES)
    assert error.value.exit_code == 2


def test_what_fails_on_one_image_is_one_line():
    with pytest.raises(EdgesynthError, match=r"net fails on an input of shape \(1, 3, 8, 8\): ") as error:
        torch_runner("net", make(Residual))(np.zeros((2, 3, 8, 8), np.float32))
    assert len(str(error.value).splitlines()) == 1

    class Number(nn.Module):
        def forward(self, x):
            return x.mean()

    with pytest.raises(EdgesynthError, match="answers with a number, 'output', where one for each image is wanted"):
        torch_runner("net", Number())(IMAGES)


@pytest.mark.parametrize(("value", "word"), [(float("nan"), "NaN"), (float("-inf"), "an infinity")])
@pytest.mark.parametrize("name", ["stem.0.weight", "stem.1.running_var"])
def test_weights_that_are_no_numbers_are_named(name, value, word):
    network = make(Residual)
    refuse_bad_weights("net", network)
    network.state_dict()[name].view(-1)[0] = value
    with pytest.raises(EdgesynthError, match=f"net: weight '{name}' holds {word}; train it again") as error:
        refuse_bad_weights("net", network)
    assert error.value.exit_code == 2


class InPlace(nn.Module):
    """Writes into its input, and answers with a buffer that it uses again."""

    def __init__(self):
        super().__init__()
        self.register_buffer("kept", torch.zeros(1))

    def forward(self, x):
        self.kept = self.kept.new_empty(len(x), 1) if len(self.kept) != len(x) else self.kept
        return self.kept.copy_(x.mul_(2).mean(dim=(1, 2, 3))[:, None])


def test_what_works_in_place_changes_neither_images_nor_earlier_answers():
    images, run = IMAGES.copy(), torch_runner("net", InPlace())
    first = run(images)["output"]
    assert np.array_equal(images, IMAGES)
    kept = first.copy()
    run(-images)
    assert np.array_equal(first, kept)


@pytest.mark.parametrize("error", [SystemExit(7), SystemExit()])
def test_a_network_that_ends_the_process_is_bad_input(error):
    class Ends(nn.Module):
        def forward(self, x):
            raise error

    with pytest.raises(EdgesynthError, match=r"net ends the process on an input of shape \(1, ") as caught:
        torch_runner("net", Ends())(IMAGES)
    assert caught.value.exit_code == 2


def test_images_are_run_one_by_one_where_that_is_asked_for():
    sizes = []

    class Counting(nn.Module):
        def forward(self, x):
            sizes.append(len(x))
            return x.flatten(1)

    torch_runner("net", Counting(), together=False)(IMAGES)
    assert set(sizes) == {1}
