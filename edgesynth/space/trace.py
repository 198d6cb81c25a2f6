"""From any `nn.Module` to the space of its FermiNets: coupled channel groups and droppable blocks."""

import contextlib
import copy
import io
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch_pruning as tp
from torch import Tensor, fx, nn
from torch.fx.passes.shape_prop import ShapeProp

from edgesynth.errors import PrototypeError
from edgesynth.records import BlockInfo, GroupInfo
from edgesynth.space.blocks import find_blocks
from edgesynth.space.resolution import Resolution, possible_resolutions

__all__ = ["Space", "dependency_graph", "trace"]


@dataclass(frozen=True)
class Space:
    """All networks that can be made from one prototype.

    `module` is a copy of the prototype as a traced graph, in eval mode, on the CPU.
    A group is named after the layer that it is pruned from, the first in forward order. `frozen` modules stay whole.
    `resolutions` are the heights and widths that a network may resize its input to, the prototype's own first.
    """

    module: fx.GraphModule
    example: Tensor
    groups: tuple[GroupInfo, ...]
    blocks: tuple[BlockInfo, ...]
    frozen: tuple[str, ...]
    resolutions: tuple[Resolution, ...]


def trace(prototype: nn.Module, example: Tensor, frozen: tuple[str, ...] = ()) -> Space:
    """Trace a copy of the prototype with one example batch (1, C, H, W).

    Raises PrototypeError that names the module which cannot be traced and how to freeze it.
    """
    # A copy: neither tracing nor surgery nor training must reach into the user's own module.
    prototype = copy.deepcopy(prototype).cpu().eval()
    example = example.cpu()
    known = dict(prototype.named_modules())
    for name in frozen:
        if name not in known:
            raise PrototypeError(f"cannot freeze '{name}': the prototype has no module of that name")
    module = _symbolic(prototype, frozen)
    try:
        # It prints a traceback of its own, and hides the cause behind the node's name.
        with contextlib.redirect_stderr(io.StringIO()):
            ShapeProp(module).propagate(example)
    except Exception as error:
        raise PrototypeError(
            f"the prototype fails on an input of shape {tuple(example.shape)}: {_first_line(error.__cause__ or error)}"
        ) from error
    groups = _find_groups(module, example, frozen)
    inside_frozen = tuple(f"{name}." for name in frozen)
    blocks = [b for b in find_blocks(module) if not any(_is_in(x, frozen, inside_frozen) for x in b.layers)]
    return Space(module, example, tuple(groups), tuple(blocks), frozen, possible_resolutions(module, example))


def dependency_graph(module: nn.Module, example: Tensor) -> Any:
    """torch-pruning's graph of which layers' channels depend on which."""
    with warnings.catch_warnings(), torch.enable_grad():
        # It warns of parameters outside layers; such a prototype is caught by the trial surgery instead.
        warnings.simplefilter("ignore")
        # By a function of ours: its own way to call a module swallows every exception once, Ctrl-C among them.
        return tp.DependencyGraph().build_dependency(
            module, example_inputs=example, forward_fn=lambda network, images: network(images), verbose=False
        )


class _Tracer(fx.Tracer):
    """Symbolic tracer that treats frozen modules as one step and remembers where it failed."""

    def __init__(self, frozen: tuple[str, ...]) -> None:
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


def _symbolic(prototype: nn.Module, frozen: tuple[str, ...]) -> fx.GraphModule:
    tracer = _Tracer(frozen)
    try:
        graph = tracer.trace(prototype)
    except Exception as error:
        name = tracer.failed_in
        if name is None:
            raise PrototypeError(
                f"cannot trace the prototype: {_first_line(error)}, in {type(prototype).__name__}.forward itself; "
                "move that part into a sub-module, which can then be frozen"
            ) from error
        kind = type(prototype.get_submodule(name)).__name__
        raise PrototypeError(
            f"cannot trace module '{name}' ({kind}): {_first_line(error)}; "
            f"keep it as it is with --freeze {name}, or rewrite it without data-dependent control flow"
        ) from error
    module = fx.GraphModule(prototype, graph).eval()
    # torch-pruning follows autograd, so a parameter that the user froze for training would hide its layer.
    return module.requires_grad_(True)


def _find_groups(module: fx.GraphModule, example: Tensor, frozen: tuple[str, ...]) -> list[GroupInfo]:
    graph = dependency_graph(module, example)
    names = {m: name for name, m in module.named_modules()}
    inside_frozen = tuple(f"{name}." for name in frozen)
    untouchable = [m for m, name in names.items() if _is_in(name, frozen, inside_frozen)]
    # The network's outputs are not ours to change, nor is what a frozen module is fed: it may count on its shape.
    ends = [n for n in module.graph.nodes if n.op == "output" or (n.op == "call_module" and n.target in frozen)]
    untouchable += list(_feeding(module, ends))
    order = {str(n.target): i for i, n in enumerate(module.graph.nodes) if n.op == "call_module"}
    groups: list[GroupInfo] = []
    visited: set[str] = set()
    # Forward order, and never from a depthwise layer: behind a concatenation that one couples what can be kept apart.
    for root in sorted(names.values(), key=lambda name: order.get(name, len(order))):
        layer = module.get_submodule(root)
        if root in visited or layer in untouchable or not _may_be_root(layer):
            continue
        channels = int(graph.get_out_channels(layer))
        pruner = graph.get_pruner_of_module(layer).prune_out_channels
        group = graph.get_pruning_group(layer, pruner, list(range(channels)))
        members = sorted(_members(group, names, graph), key=lambda name: order.get(name, len(order)))
        visited.update(members)
        touched = {names[dep.target.module] for dep, _ in group if dep.target.module in names}
        if any(_is_in(name, frozen, inside_frozen) for name in touched) or _has_odd_convolution(module, touched):
            continue
        if any(module.get_submodule(name) in untouchable for name in members):
            continue
        groups.append(GroupInfo(name=root, channels=channels, layers=members))
    if not groups:
        raise PrototypeError("found no channels that could be pruned: every layer is frozen, or leads to the output")
    return groups


def _may_be_root(layer: nn.Module) -> bool:
    if isinstance(layer, nn.modules.conv._ConvNd):
        return layer.groups == 1
    return isinstance(layer, nn.Linear)


def _members(group: Any, names: dict[nn.Module, str], graph: Any) -> Iterator[str]:
    """Names of the layers whose outputs make up a group."""
    seen = set()
    for dep, _ in group:
        module = dep.target.module
        if module in names and graph.is_out_channel_pruning_fn(dep.handler) and names[module] not in seen:
            seen.add(names[module])
            yield names[module]


def _feeding(module: fx.GraphModule, ends: Iterable[fx.Node]) -> Iterator[nn.Module]:
    """The layers with weights whose channels arrive at these nodes, or pass through one of them."""
    pending, seen = [node for end in ends for node in end.all_input_nodes], set()
    while pending:
        node = pending.pop()
        if node in seen:
            continue
        seen.add(node)
        layer = module.get_submodule(str(node.target)) if node.op == "call_module" else None
        if isinstance(layer, nn.Linear | nn.modules.conv._ConvNd):
            yield layer
        else:
            pending.extend(node.all_input_nodes)


def _has_odd_convolution(module: fx.GraphModule, names: set[str]) -> bool:
    """Grouped convolutions that are not depthwise constrain channels in ways the genome does not express."""
    layers = [module.get_submodule(name) for name in names]
    return any(
        isinstance(layer, nn.modules.conv._ConvNd)
        and layer.groups > 1
        and not layer.groups == layer.in_channels == layer.out_channels
        for layer in layers
    )


def _is_in(name: str, frozen: tuple[str, ...], inside_frozen: tuple[str, ...]) -> bool:
    return name in frozen or name.startswith(inside_frozen)


def _first_line(error: BaseException) -> str:
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__
