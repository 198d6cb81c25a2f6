"""Input resolution as a part of the genome: a network that resizes what it is given, as its first step.

The resizing is inside the network, so a FermiNet takes the images that its prototype takes, whatever its resolution.
Bilinear, without antialiasing: that is what ONNX can say before opset 18, and TensorRT runs.
"""

import contextlib
import io
from collections.abc import Sequence

import torch
from torch import Tensor, fx, nn
from torch.nn.functional import interpolate

__all__ = ["LEAST_SIDE", "Resolution", "insert_resize", "possible_resolutions", "resized"]

Resolution = tuple[int, int]
"""Height and width."""

SHARES = (7 / 8, 3 / 4, 5 / 8, 1 / 2)
LEAST_SIDE = 32
"""Unless asked, no side is made smaller than this: in pictures so small every pixel tells something
(docs/decisions/0008)."""


def possible_resolutions(module: nn.Module, example: Tensor, least_side: int = LEAST_SIDE) -> tuple[Resolution, ...]:
    """The heights and widths at which the module still answers in the same form, its own first, then falling.

    `example` is (1, C, H, W); no side is made smaller than `least_side`. A module that counts on its input's size (a
    flattening without pooling; an answer for every pixel) has only its own.
    """
    own = (int(example.shape[2]), int(example.shape[3]))
    sizes = dict.fromkeys([own, *(_scaled(own, share) for share in SHARES)])
    expected = _shapes(module, example)
    return tuple(
        size
        for size in sizes
        if size == own or (min(size) >= least_side and _shapes(module, resized(example, size)) == expected)
    )


def resized(images: Tensor, size: Resolution) -> Tensor:
    """Images (N, C, H, W) at another height and width."""
    return interpolate(images, size=size, mode="bilinear", align_corners=False)


def insert_resize(module: fx.GraphModule, size: Resolution) -> None:
    """Make the module resize its first input, in place."""
    first = next(node for node in module.graph.nodes if node.op == "placeholder")
    with module.graph.inserting_after(first):
        smaller = module.graph.call_function(
            interpolate, (first,), {"size": size, "mode": "bilinear", "align_corners": False}
        )
    first.replace_all_uses_with(smaller, delete_user_cb=lambda user: user is not smaller)
    module.recompile()


def _scaled(own: Resolution, share: float) -> Resolution:
    height, width = (max(1, round(side * share / _step(side))) * _step(side) for side in own)
    return height, width


def _step(side: int) -> int:
    """Sides are multiples of this, so that halving them a few times leaves whole numbers."""
    return 32 if side >= 128 else 8 if side >= 64 else 4


def _shapes(module: nn.Module, images: Tensor) -> Sequence[torch.Size] | None:
    """The shapes of what the module answers, None where it cannot."""
    try:
        with torch.no_grad(), contextlib.redirect_stderr(io.StringIO()):
            answers = module(images)
    except Exception:
        return None
    tensors = [answers] if isinstance(answers, Tensor) else torch.utils._pytree.tree_leaves(answers)
    return [tensor.shape for tensor in tensors if isinstance(tensor, Tensor)]
