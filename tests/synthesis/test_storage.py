import json
from pathlib import Path

import pytest
import torch

from edgesynth.errors import StorageError
from edgesynth.synthesis.storage import (
    digest_of,
    from_bytes,
    load_checkpoint,
    load_weights,
    save_checkpoint,
    save_weights,
    to_bytes,
    write_file,
    write_json,
)
from tests.networks import Residual, make

TENSORS = {
    "b": torch.arange(6, dtype=torch.float32).view(2, 3),
    "a": torch.tensor(7),
    "laid out otherwise": torch.randn(2, 3, 4, 4).contiguous(memory_format=torch.channels_last),
    "empty": torch.zeros(0, 3),
    "needs gradients": torch.ones(2, requires_grad=True),
}


def equal(one, other):
    assert one.keys() == other.keys()
    return all(torch.equal(one[name], other[name]) and one[name].dtype == other[name].dtype for name in one)


def test_tensors_survive_bytes():
    assert equal(from_bytes(to_bytes(TENSORS)), {name: tensor.detach() for name, tensor in TENSORS.items()})


def test_weights_survive_a_file(tmp_path):
    network = make(Residual)
    save_weights(tmp_path / "deep" / "weights", network)
    assert equal(load_weights(tmp_path / "deep" / "weights"), network.state_dict())


def test_a_digest_sees_names_shapes_types_and_values_and_not_the_order_or_the_layout():
    base = {"a": torch.tensor([[1.0, 2.0], [3.0, 4.0]]), "b": torch.tensor([1])}
    same = {"b": base["b"].clone(), "a": torch.tensor([[1.0, 3.0], [2.0, 4.0]]).T}
    others = [
        {**base, "b": torch.tensor([2])},
        {**base, "b": torch.tensor([1], dtype=torch.int32)},
        {**base, "a": base["a"].view(4)},
        {"a": base["a"], "c": base["b"]},
        {"a": base["a"]},
    ]
    digests = [digest_of(tensors) for tensors in (base, *others)]
    assert digest_of(same) == digests[0]
    assert len(set(digests)) == len(digests)
    assert all(len(digest) == 16 and int(digest, 16) >= 0 for digest in digests)


def test_json_is_for_people_and_refuses_what_json_lacks(tmp_path):
    path = tmp_path / "deep" / "x.json"
    write_json(path, {"a": [1, None]})
    assert path.read_text() == '{\n  "a": [\n    1,\n    null\n  ]\n}\n'
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(path, {"a": float("nan")})
    assert json.loads(path.read_text()) == {"a": [1, None]}


def test_a_disk_that_refuses_is_a_storage_error_and_the_old_file_stays(tmp_path, monkeypatch):
    path = tmp_path / "x"
    write_file(path, b"old")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(StorageError, match=r"cannot write .*x: No space left on device; free some space and go on"):
        write_file(path, b"new")
    assert path.read_bytes() == b"old"


def test_a_folder_that_cannot_be_made_is_a_storage_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match=r"cannot write .*file/x: (Not a directory|File exists)"):
        write_file(tmp_path / "file" / "x", b"")


@pytest.mark.parametrize(
    ("content", "what"),
    [(None, "No such file"), (b"", "it is damaged"), (b"not safetensors at all", "it is damaged")],
    ids=["missing", "empty", "garbage"],
)
def test_weights_that_cannot_be_read_are_one_line(tmp_path, content, what):
    path = tmp_path / "weights"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(StorageError, match=rf"^cannot read .*weights: {what}") as error:
        load_weights(path)
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize("stepped", [True, False], ids=["with momentum", "before the first step"])
def test_a_checkpoint_holds_weights_statistics_momentum_and_epochs(tmp_path, stepped):
    def start(seed):
        network = make(Residual, seed).train()
        return network, torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)

    network, optimizer = start(0)
    if stepped:
        network(torch.randn(4, 1, 8, 8)).square().sum().backward()
        optimizer.step()
    save_checkpoint(tmp_path / "c", network, optimizer, 3, (7, 8))
    other, other_optimizer = start(1)
    assert load_checkpoint(tmp_path / "c", other, other_optimizer, (7, 9)) == 0
    assert load_checkpoint(tmp_path / "c", other, other_optimizer, (7, 8)) == 3
    assert equal(network.state_dict(), other.state_dict())
    for one, two in zip(network.parameters(), other.parameters(), strict=True):
        was, kept = optimizer.state[one].get("momentum_buffer"), other_optimizer.state[two].get("momentum_buffer")
        assert torch.equal(was, kept) if stepped else was is kept is None


def test_without_a_checkpoint_training_starts_at_the_beginning(tmp_path):
    network = make(Residual)
    assert load_checkpoint(tmp_path / "missing", network, torch.optim.SGD(network.parameters(), lr=0.1), (7, 8)) == 0
