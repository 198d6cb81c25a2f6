"""Files of a run: weights as safetensors, records as JSON, each written so that it is whole or absent."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from edgesynth_exporters.files import write_atomically
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from edgesynth.errors import StorageError

__all__ = [
    "digest_of",
    "from_bytes",
    "load_checkpoint",
    "load_weights",
    "save_checkpoint",
    "save_weights",
    "to_bytes",
    "under",
    "write_file",
    "write_json",
]


def to_bytes(tensors: Mapping[str, Tensor]) -> bytes:
    """Tensors as the bytes of a safetensors file."""
    return save({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()})


def from_bytes(content: bytes) -> dict[str, Tensor]:
    """The tensors in the bytes of a safetensors file."""
    return load(content)


def under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Those whose names begin with the prefix, by the rest of their names."""
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def write_file(path: Path, content: bytes) -> None:
    """Write atomically. Raises StorageError where the disk refuses, most often because it is full."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, content)
    except OSError as error:
        raise StorageError(f"cannot write {path}: {error.strerror}; free some space and go on with --resume") from error


def write_json(path: Path, document: Any) -> None:
    """One JSON document, readable by people. A number that JSON does not have (inf, NaN) is a ValueError."""
    write_file(path, (json.dumps(document, indent=2, allow_nan=False) + "\n").encode())


def save_weights(path: Path, module: nn.Module) -> None:
    """Parameters and buffers of a module."""
    write_file(path, to_bytes(module.state_dict()))


def load_weights(path: Path, digest: str | None = None) -> dict[str, Tensor]:
    """The state dict in a file that edgesynth wrote. Raises StorageError where it cannot be read, or is not the one
    whose `digest_of` the journal holds."""
    try:
        tensors = from_bytes(path.read_bytes())
    except OSError as error:
        raise StorageError(f"cannot read {path}: {error.strerror}") from error
    except SafetensorError as error:
        raise StorageError(f"cannot read {path}: it is damaged ({error})") from error
    if digest is not None and digest_of(tensors) != digest:
        raise StorageError(f"{path} is not the file that the run wrote: bring it back, or start a new run")
    return tensors


def digest_of(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 over names, shapes and values, 16 hexadecimal digits."""
    state = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        state.update(json.dumps([name, list(tensor.shape), str(tensor.dtype)]).encode())
        state.update(tensor.numpy().tobytes())
    return state.hexdigest()[:16]


def save_checkpoint(
    path: Path, module: nn.Module, optimizer: torch.optim.Optimizer, epochs: int, training: tuple[int, ...]
) -> None:
    """Everything that training needs to go on after `epochs` whole epochs: weights and momentum.

    `training` says which training it is (seed, epochs in all …): a checkpoint of another one is not gone on from.
    """
    tensors = {f"module.{name}": tensor for name, tensor in module.state_dict().items()}
    for index, parameter in enumerate(_parameters(optimizer)):
        buffer = optimizer.state[parameter].get("momentum_buffer")
        if buffer is not None:
            tensors[f"momentum.{index}"] = buffer
    tensors["epochs"], tensors["training"] = torch.tensor(epochs), torch.tensor(training)
    write_file(path, to_bytes(tensors))


def load_checkpoint(path: Path, module: nn.Module, optimizer: torch.optim.Optimizer, training: tuple[int, ...]) -> int:
    """Restore in place; the number of epochs done, 0 if there is no checkpoint of this training."""
    if not path.exists():
        return 0
    tensors = load_weights(path)
    if "training" not in tensors or tuple(tensors["training"].tolist()) != training:
        return 0
    prefix = "module."
    module.load_state_dict({k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)})
    for index, parameter in enumerate(_parameters(optimizer)):
        if f"momentum.{index}" in tensors:
            buffer = torch.empty_like(parameter).copy_(tensors[f"momentum.{index}"])
            optimizer.state[parameter]["momentum_buffer"] = buffer
    return int(tensors["epochs"])


def _parameters(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]
