"""How networks are computed while they are trained: on which device, in which memory layout, with which precision."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from math import prod
from typing import Any

import torch
from torch import Tensor, fx, nn

from edgesynth.space.groups import called_modules, is_torchs

__all__ = ["as_float32", "autocast", "device", "layout_of", "place", "precision", "randomness"]

WIDEST_VECTOR = {torch.float32: 16, torch.bfloat16: 32}
"""Numbers in the widest vector register that a CPU has (AVX-512)."""


def device() -> torch.device:
    """A GPU where torch finds one, else the CPU."""
    # Convolutions of 10-bit mantissas would fail the comparison with ONNX Runtime.
    torch.backends.cudnn.allow_tf32 = False
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def precision(where: torch.device) -> torch.dtype:
    """What networks are run in while they are trained; weights, optimiser and losses are float32 all the same.

    bfloat16 on a CPU with matrix units for it (AMX), where a step takes up to a quarter less time; without them it
    gains nothing (docs/decisions/0009). What is judged, exported or probed runs in float32 everywhere.
    """
    # A torch from before 2026 cannot tell.
    capabilities = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return torch.bfloat16 if where.type == "cpu" and capabilities.get("amx_bf16") else torch.float32


def autocast(where: torch.device) -> torch.autocast:
    """A context in which modules run in the precision of training. Their answers are made float32
    afterwards (`as_float32`)."""
    return torch.autocast(where.type, dtype=torch.bfloat16, enabled=precision(where) is torch.bfloat16)


def as_float32(answers: Any) -> Any:
    """A network's answers, a tensor or several in tuples, lists and dicts, as float32."""
    if isinstance(answers, Tensor):
        return answers.float()
    if isinstance(answers, Mapping):
        return {name: as_float32(answer) for name, answer in answers.items()}
    return tuple(map(as_float32, answers))


def layout_of(module: nn.Module, dtype: torch.dtype = torch.float32) -> torch.memory_format:
    """The memory layout to train a module in: channels-last, a fifth faster on a CPU, wherever it is safe.

    oneDNN's weight gradient of a strided 1x1 convolution in channels-last layout writes past its buffer when there are
    fewer input channels than a vector holds, 8 under AVX2 and 16 under AVX-512: wrong gradients, or a hang
    (https://github.com/uxlfoundation/oneDNN/issues/6035; seen with torch 2.13 on four input channels). And `view`
    refuses a map that is laid out so.
    """
    unsafe = any(
        isinstance(layer, nn.Conv2d)
        and layer.kernel_size == (1, 1)
        and layer.stride != (1, 1)
        and layer.in_channels < WIDEST_VECTOR[dtype]
        for layer in module.modules()
    )
    return torch.contiguous_format if unsafe or _views_maps(module) else torch.channels_last


def place(module: nn.Module, where: torch.device, layout: torch.memory_format) -> None:
    """Move a module, its convolution weights laid out as given."""
    module.to(where, memory_format=layout)  # type: ignore[call-overload]  # a documented form, not annotated


@contextmanager
def randomness(seed: int, where: torch.device) -> Iterator[None]:
    """Seed torch's global generators, which dropout draws from, and leave them afterwards as they were."""
    with torch.random.fork_rng([where] if where.type == "cuda" else []):
        torch.manual_seed(seed)
        yield


def _views_maps(module: nn.Module) -> bool:
    """Whether a traced network calls `view` on a map, or may do so in a module that was not traced."""
    if not isinstance(module, fx.GraphModule):
        return False
    if not all(is_torchs(module.get_submodule(name)) for name in called_modules(module)):
        return True
    for node in module.graph.nodes:
        if node.op == "call_method" and node.target == "view":
            shape = getattr(node.args[0].meta.get("tensor_meta"), "shape", None)
            if shape is None or prod(shape[2:]) > 1:
                return True
    return False
