"""Weights from safetensors files, and from nothing else: reading other formats may run code from the file."""

from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from edgesynth.errors import PrototypeError

__all__ = ["load_weights"]

SHOWN = 3
"""How many mismatching tensors an error names."""
PICKLED = frozenset({".bin", ".ckpt", ".pickle", ".pkl", ".pt", ".pth", ".tar"})
CONVERT = (
    'python -c "import torch, safetensors.torch as s; s.save_file(torch.load({old!r}, weights_only=True), {new!r})"'
)


def load_weights(model: nn.Module, path: Path) -> None:
    """Copy the tensors of a safetensors file into `model`, cast to its own floating-point types.

    Every parameter and buffer of the model must be in the file, under the same name and of the same shape,
    and nothing else; a tensor that the model holds under several names may be in the file under one of them.

    Raises PrototypeError, naming the first tensors that do not fit; `model` is then unchanged.
    """
    found = _read(path)
    wanted = model.state_dict()
    present = {wanted[name].data_ptr() for name in found.keys() & wanted.keys()}
    wrong = [
        f"{name} is missing from the file (the network has {_describe(tensor)})"
        for name, tensor in wanted.items()
        if name not in found and (tensor.numel() == 0 or tensor.data_ptr() not in present)
    ]
    wrong += [
        f"{name} is {_describe(found[name])} in the file but {_describe(tensor)} in the network"
        for name, tensor in wanted.items()
        if name in found and not _fits(found[name], tensor)
    ]
    wrong += [
        f"{name} ({_describe(tensor)}) is not in the network" for name, tensor in found.items() if name not in wanted
    ]
    if wrong:
        more = f"; and {len(wrong) - SHOWN} more" if len(wrong) > SHOWN else ""
        raise PrototypeError(f"{path} does not fit the network: {'; '.join(wrong[:SHOWN])}{more}")
    model.load_state_dict(found, strict=False)


def _read(path: Path) -> dict[str, Tensor]:
    if path.suffix.lower() in PICKLED:
        command = CONVERT.format(old=str(path), new=str(path.with_suffix(".safetensors")))
        raise PrototypeError(
            f"{path} may be a pickle, and loading one can run code from it. "
            f"Convert a file that you trust with: {command}"
        )
    if path.suffix.lower() != ".safetensors":
        raise PrototypeError(f"{path} is not a .safetensors file, the only kind of weights that is read")
    try:
        return load_file(path)
    except FileNotFoundError as error:
        raise PrototypeError(f"there is no weights file {path}") from error
    except (OSError, SafetensorError) as error:
        raise PrototypeError(f"{path} cannot be read as a safetensors file: {error}") from error


def _fits(found: Tensor, wanted: Tensor) -> bool:
    return found.shape == wanted.shape and found.is_floating_point() == wanted.is_floating_point()


def _describe(tensor: Tensor) -> str:
    """Shape and type, as in "16x3x3x3 float32"."""
    shape = "x".join(str(size) for size in tensor.shape) or "scalar"
    return f"{shape} {str(tensor.dtype).removeprefix('torch.')}"
