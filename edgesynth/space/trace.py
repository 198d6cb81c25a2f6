"""From any `nn.Module` to the space of its FermiNets: coupled channel groups and droppable blocks."""

import contextlib
import copy
import io
from dataclasses import dataclass
from typing import Any

import torch
from edgesynth_exporters.outputs import named_outputs
from torch import Tensor, fx, nn
from torch.fx.passes.shape_prop import ShapeProp

from edgesynth.errors import PrototypeError
from edgesynth.records import BlockInfo, GroupInfo
from edgesynth.space.blocks import find_blocks
from edgesynth.space.groups import find_groups, in_words, is_in
from edgesynth.space.resolution import LEAST_SIDE, Resolution, possible_resolutions

__all__ = ["Space", "first_line", "trace"]


@dataclass(frozen=True)
class Space:
    """All networks that can be made from one prototype.

    `module` is a copy of the prototype as a traced graph, in eval mode, on the CPU.
    A group is named after the layer that it is pruned from, the first in forward order. `whole` says of every other
    layer with weights, and of every frozen module, why it keeps all its channels. `resolutions` are the heights and
    widths that a network may resize its input to, the prototype's own first.
    """

    module: fx.GraphModule
    example: Tensor
    groups: tuple[GroupInfo, ...]
    blocks: tuple[BlockInfo, ...]
    whole: dict[str, str]
    resolutions: tuple[Resolution, ...]


def trace(prototype: nn.Module, example: Tensor, frozen: tuple[str, ...] = (), least_side: int = LEAST_SIDE) -> Space:
    """Trace a copy of the prototype with one example batch (1, C, H, W).

    A module that cannot be traced is frozen as the `frozen` ones are: it stays as it is, as one step of the graph.
    Raises PrototypeError where that does not help, or nothing is left to prune.
    """
    # A copy: neither tracing nor surgery nor training must reach into the user's own module.
    prototype = copy.deepcopy(prototype).cpu().eval()
    example = example.cpu()
    known = dict(prototype.named_modules())
    for name in frozen:
        if name not in known:
            raise PrototypeError(f"cannot freeze '{name}': the prototype has no module of that name")
    module, kept = _symbolic(prototype, dict.fromkeys(frozen, "frozen by --freeze"))
    try:
        # It prints a traceback of its own, and hides the cause behind the node's name.
        with contextlib.redirect_stderr(io.StringIO()), torch.no_grad():
            ShapeProp(module).propagate(example)
            named_outputs(module(example))
    except Exception as error:
        raise PrototypeError(
            f"the prototype fails on an input of shape {tuple(example.shape)}: {first_line(error.__cause__ or error)}"
        ) from error
    groups, whole = find_groups(module, example, kept)
    if not groups:
        raise PrototypeError(f"found no channels that could be pruned: {in_words(kept | whole)}")
    blocks = [b for b in find_blocks(module) if not any(is_in(layer, kept) for layer in b.layers)]
    return Space(
        module, example, tuple(groups), tuple(blocks), kept | whole, possible_resolutions(module, example, least_side)
    )


class _Tracer(fx.Tracer):
    """Symbolic tracer that treats frozen modules as one step and remembers where it failed."""

    def __init__(self, frozen: tuple[str, ...] = ()) -> None:
        # Without arguments torch makes one when it unpickles the graph; then every module is one step.
        super().__init__()
        self.frozen = frozen
        self.failed_in: str | None = None

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return module_qualified_name in self.frozen or super().is_leaf_module(m, module_qualified_name)

    def call_module(self, m: nn.Module, forward: Any, args: Any, kwargs: Any) -> Any:
        try:
            return super().call_module(m, forward, args, kwargs)
        except Exception:
            if self.failed_in is None:
                self.failed_in = self.path_of_module(m)
            raise


def _symbolic(prototype: nn.Module, frozen: dict[str, str]) -> tuple[fx.GraphModule, dict[str, str]]:
    """The traced prototype, and `frozen` with what else had to be kept as one step for it."""
    failed: dict[str, str] = {}
    while True:
        tracer = _Tracer(tuple(frozen | failed))
        try:
            graph = tracer.trace(prototype)
            break
        except Exception as error:
            name = tracer.failed_in
            if name is None or name in frozen | failed:
                raise _untraceable(prototype, failed, error) from error
            # Where a module fails for what it gets from another, only the outer one need be kept.
            failed = {inner: reason for inner, reason in failed.items() if not is_in(inner, [name])}
            failed[name] = f"cannot be traced: {first_line(error)}"
    module = fx.GraphModule(prototype, graph).eval()
    # torch-pruning follows autograd, so a parameter that the user froze for training would hide its layer.
    return module.requires_grad_(True), frozen | failed


def _untraceable(prototype: nn.Module, failed: dict[str, str], error: Exception) -> PrototypeError:
    where = f"{first_line(error)}, in {type(prototype).__name__}.forward itself"
    if not failed:
        return PrototypeError(
            f"cannot trace the prototype: {where}; move that part into a sub-module, which can then be frozen"
        )
    name, reason = next(iter(failed.items()))
    kind = type(prototype.get_submodule(name)).__name__
    return PrototypeError(
        f"module '{name}' ({kind}) {reason}; with it kept as it is, the prototype still cannot be traced: {where}; "
        f"rewrite it without data-dependent control flow, or freeze a module around it with --freeze"
    )


def first_line(error: BaseException) -> str:
    """What an error says, in one line."""
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__
