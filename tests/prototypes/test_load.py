import shlex
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from edgesynth.errors import PrototypeError
from edgesynth.prototypes import PROTOTYPES, load_prototype, resnet8

CODE = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, num_classes, width=4):
        super().__init__()
        self.layer = nn.Linear(width, num_classes)

def both(in_channels, *, num_classes, extra=1):
    return nn.Linear(in_channels, num_classes)

def neither(**rest):
    assert rest == {}
    return nn.Linear(2, 3)

def needy(depth, num_classes): pass
def raises(): raise KeyError("no such\\nthing")
def leaves(): raise SystemExit(3)
def text(): return "a network"
def later():
    import sibling
    return sibling.make()
def tied():
    net = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    net[1].weight = net[0].weight
    return net
number = 3
"""


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current directory is the user's project, with modules in it."""
    (tmp_path / "user_nets.py").write_text(CODE)
    (tmp_path / "sibling.py").write_text("from torch import nn\ndef make(): return nn.Linear(1, 1)\n")
    (tmp_path / "user_broken.py").write_text("x = 1\nx.y\n")
    (tmp_path / "user_syntax.py").write_text("def f(:\n")
    (tmp_path / "user_needs.py").write_text("import no_such_package_anywhere\n")
    (tmp_path / "user_package").mkdir()
    (tmp_path / "user_package" / "nets.py").write_text(CODE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [each for each in sys.path if each])
    yield tmp_path
    for name in list(sys.modules):
        if name.startswith(("user_", "sibling")):
            del sys.modules[name]


@pytest.mark.parametrize("name", PROTOTYPES)
def test_a_builtin_by_name(name: str) -> None:
    assert load_prototype(name, 3, 5)(torch.zeros(2, 3, 8, 8)).shape == (2, 5)


def test_a_function_gets_what_its_signature_names() -> None:
    both = load_prototype("user_nets:both", 5, 7)
    assert (both.in_features, both.out_features) == (5, 7)
    neither = load_prototype("user_nets:neither", 5, 7)
    assert (neither.in_features, neither.out_features) == (2, 3)


def test_a_class_in_a_package() -> None:
    assert load_prototype("user_package.nets:Net", 5, 7).layer.out_features == 7


def test_a_function_may_import_its_neighbours_when_called() -> None:
    before = list(sys.path)
    assert isinstance(load_prototype("user_nets:later", 1, 2), nn.Linear)
    assert sys.path == before


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("resnet21", "it may be mobilenetv2-tiny, resnet20, resnet8, or package.module:function"),
        ("user_nets", "package.module:function"),
        (":both", "package.module:function"),
        ("user_nets:", "package.module:function"),
        ("user_nowhere:f", "cannot import user_nowhere: ModuleNotFoundError: No module named 'user_nowhere'"),
        ("user_package.nowhere:f", "No module named 'user_package.nowhere'"),
        ("user_needs:f", "No module named 'no_such_package_anywhere' (/.*/user_needs.py, line 1)"),
        ("user_broken:f", "AttributeError: 'int' object has no attribute 'y' (/.*/user_broken.py, line 2)"),
        ("user_syntax:f", "cannot import user_syntax: SyntaxError: .*user_syntax.py, line 1"),
        (".relative:f", "cannot import .relative"),
        ("user_nets:missing", "user_nets (/.*/user_nets.py) has no 'missing'"),
        ("user_nets:number", "number is int, not a function"),
        ("user_nets:needy", "'depth' has no default, and only in_channels and num_classes are given"),
        ("user_nets:raises", "user_nets:raises raised KeyError: 'no such"),
        ("user_nets:leaves", "raised SystemExit: 3 (/.*/user_nets.py, line 19)"),
        ("user_nets:text", "returned str, not a torch.nn.Module"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(spec: str, message: str) -> None:
    pattern = message.replace("(", r"\(").replace(")", r"\)")
    with pytest.raises(PrototypeError, match=pattern) as caught:
        load_prototype(spec, 1, 2)
    assert "\n" not in str(caught.value)


def test_an_interruption_is_not_an_error_of_the_prototype(project: Path) -> None:
    (project / "user_stop.py").write_text("raise KeyboardInterrupt\n")
    with pytest.raises(KeyboardInterrupt):
        load_prototype("user_stop:f", 1, 2)


def save(model: nn.Module, path: Path, **changes: torch.Tensor | None) -> Path:
    """The weights of a model, with some tensors replaced, or left out where they are None."""
    state = {**model.state_dict(), **{key.replace("__", "."): value for key, value in changes.items()}}
    save_file({key: value for key, value in state.items() if value is not None}, path)
    return path


def test_weights_are_loaded(project: Path) -> None:
    torch.manual_seed(0)
    trained = resnet8(1, 10)
    loaded = load_prototype("resnet8", 1, 10, save(trained, project / "w.safetensors"))
    assert all(torch.equal(value, loaded.state_dict()[key]) for key, value in trained.state_dict().items())


def test_half_precision_weights_are_cast(project: Path) -> None:
    trained = resnet8(1, 10).half()
    loaded = load_prototype("resnet8", 1, 10, save(trained, project / "w.safetensors"))
    assert loaded.head.weight.dtype == torch.float32
    assert torch.equal(loaded.head.weight, trained.head.weight.float())


def test_tied_weights_may_be_in_the_file_once(project: Path) -> None:
    state = {"0.weight": torch.ones(3, 3), "0.bias": torch.ones(3), "1.bias": torch.zeros(3)}
    save_file(state, project / "w.safetensors")
    loaded = load_prototype("user_nets:tied", 1, 2, project / "w.safetensors")
    assert loaded[1].weight.eq(1).all()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"head__weight": torch.zeros(5, 64)},
            "head.weight is 5x64 float32 in the file but 10x64 float32 in the network",
        ),
        ({"head__bias": None}, "head.bias is missing from the file (the network has 10 float32)"),
        ({"tail__bias": torch.zeros(2)}, "tail.bias (2 float32) is not in the network"),
        ({"head__bias": torch.zeros(10, dtype=torch.int8)}, "head.bias is 10 int8 in the file but 10 float32"),
    ],
)
def test_tensors_that_do_not_fit_are_named(
    project: Path, changes: dict[str, torch.Tensor | None], message: str
) -> None:
    path = save(resnet8(1, 10), project / "w.safetensors", **changes)
    with pytest.raises(PrototypeError) as caught:
        load_prototype("resnet8", 1, 10, path)
    assert message in str(caught.value)
    assert str(path) in str(caught.value)


def test_only_the_first_of_many_are_named(project: Path) -> None:
    path = save(load_prototype("resnet20", 1, 10), project / "w.safetensors")
    with pytest.raises(PrototypeError, match=r"; and \d+ more$") as caught:
        load_prototype("resnet8", 1, 10, path)
    assert str(caught.value).count("is not in the network") == 3


def test_a_pickle_is_refused_with_a_command_that_converts_it(project: Path) -> None:
    torch.manual_seed(0)
    trained = resnet8(1, 10)
    torch.save(trained.state_dict(), project / "old.pt")
    with pytest.raises(PrototypeError, match="may be a pickle") as caught:
        load_prototype("resnet8", 1, 10, Path("old.pt"))
    python, flag, code = shlex.split(str(caught.value).partition("Convert a file that you trust with: ")[2])
    assert (python, flag) == ("python", "-c")
    exec(code, {})
    loaded = load_prototype("resnet8", 1, 10, Path("old.safetensors"))
    assert torch.equal(loaded.head.weight, trained.head.weight)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("w.safetensors", None, "there is no weights file"),
        ("w.safetensors", b"", "cannot be read as a safetensors file"),
        ("w.safetensors", b"\xff" * 100, "cannot be read as a safetensors file"),
        ("w.npz", b"", "not a .safetensors file"),
        ("w.pth", None, "may be a pickle"),
    ],
)
def test_a_file_that_cannot_be_read(project: Path, name: str, content: bytes | None, message: str) -> None:
    if content is not None:
        (project / name).write_bytes(content)
    with pytest.raises(PrototypeError, match=message):
        load_prototype("resnet8", 1, 10, project / name)


def test_a_folder_is_no_weights_file(project: Path) -> None:
    (project / "w.safetensors").mkdir()
    with pytest.raises(PrototypeError, match="cannot be read"):
        load_prototype("resnet8", 1, 10, project / "w.safetensors")


def test_a_network_is_unchanged_where_the_weights_do_not_fit(project: Path) -> None:
    from edgesynth.prototypes.weights import load_weights

    path = save(resnet8(1, 10), project / "w.safetensors", head__bias=None)
    model = resnet8(1, 10)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with pytest.raises(PrototypeError):
        load_weights(model, path)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
