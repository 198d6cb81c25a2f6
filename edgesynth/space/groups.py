"""Which layers' channels hang together, and which layers keep all of theirs, with the reason."""

import warnings
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
import torch_pruning as tp
from edgesynth_exporters.outputs import named_outputs
from torch import Tensor, fx, nn

from edgesynth.records import GroupInfo
from edgesynth.space.genome import allowed_widths

__all__ = ["called_modules", "dependency_graph", "find_groups", "in_words", "is_in", "is_torchs", "kept_whole"]

COUPLED = "coupled with"


def dependency_graph(module: nn.Module, example: Tensor) -> Any:
    """torch-pruning's graph of which layers' channels depend on which."""
    with warnings.catch_warnings(), torch.enable_grad():
        # It warns of parameters outside layers; such a prototype is caught by the trial surgery instead.
        warnings.simplefilter("ignore")
        # By a function of ours: its own way to call a module swallows every exception once, Ctrl-C among them.
        return tp.DependencyGraph().build_dependency(
            module, example_inputs=example, forward_fn=_differentiable_outputs, verbose=False
        )


def find_groups(
    module: fx.GraphModule, example: Tensor, frozen: Mapping[str, str]
) -> tuple[list[GroupInfo], dict[str, str]]:
    """The groups that may be pruned, and by layer why all others stay whole.

    `frozen` modules stay as they are, and so does what they are fed: they may count on its shape.
    """
    graph = dependency_graph(module, example)
    names = {layer: name for name, layer in module.named_modules()}
    order = {str(n.target): i for i, n in enumerate(module.graph.nodes) if n.op == "call_module"}
    free = [name for name, layer in module.named_modules() if has_channels(layer) and not is_in(name, frozen)]
    free.sort(key=lambda name: order.get(name, len(order)))
    fixed = _fixed(module, frozen)
    groups: list[GroupInfo] = []
    whole: dict[str, str] = {}
    visited: set[str] = set()
    # Forward order, and never from a depthwise layer: behind a concatenation that one couples what can be kept apart.
    for root in free:
        layer = module.get_submodule(root)
        if root in visited or not _may_be_root(layer):
            continue
        if layer not in graph.module2node:
            whole[root] = "no gradient flows through it"
            continue
        channels = int(graph.get_out_channels(layer))
        group = graph.get_pruning_group(layer, graph.get_pruner_of_module(layer).prune_out_channels, [*range(channels)])
        members = sorted(_members(group, names, graph), key=lambda name: order.get(name, len(order)))
        touched = [names[dep.target.module] for dep, _ in group if dep.target.module in names]
        visited.update(members)
        culprit, reason = _obstacle(module, root, channels, members, touched, frozen, fixed)
        if reason:
            whole |= kept_whole(module, members, culprit, reason)
        else:
            groups.append(GroupInfo(name=root, channels=channels, layers=members))
    for name in free:
        if name not in visited and name not in whole:
            whole[name] = fixed.get(name) or _grouped(module.get_submodule(name)) or "its own input is not pruned"
    return groups, whole


def kept_whole(module: nn.Module, members: Iterable[str], culprit: str, reason: str) -> dict[str, str]:
    """Reasons for the layers of one group: `reason` is the culprit's, the others only hang together with it."""
    layers = [name for name in members if has_channels(module.get_submodule(name))]
    return {name: reason if name == culprit else f"{COUPLED} '{culprit}': {reason}" for name in layers}


def in_words(whole: Mapping[str, str]) -> str:
    """One line: "head (its channels are an output of the network), …", layers with one reason together."""
    by_reason: dict[str, list[str]] = {}
    for name, reason in whole.items():
        by_reason.setdefault(reason.partition("': ")[2] if reason.startswith("coupled with") else reason, []).append(
            name
        )
    return "; ".join(f"{', '.join(names)} ({reason})" for reason, names in by_reason.items())


def has_channels(layer: nn.Module) -> bool:
    """Whether a layer makes channels of its own, rather than passing on what it is fed."""
    return isinstance(layer, nn.Linear | nn.modules.conv._ConvNd)


def is_in(name: str, modules: Iterable[str]) -> bool:
    """Whether a module is one of these, or inside one."""
    return any(name == module or name.startswith(f"{module}.") for module in modules)


def called_modules(network: fx.GraphModule) -> list[str]:
    """Names of the modules that are steps of a graph."""
    return list(dict.fromkeys(str(node.target) for node in network.graph.nodes if node.op == "call_module"))


def is_torchs(module: nn.Module) -> bool:
    """Whether a module is one of torch's own; as a step of a graph, any other was not traced."""
    return type(module).__module__.startswith("torch.")


def _differentiable_outputs(network: nn.Module, images: Tensor) -> list[Tensor]:
    """torch-pruning follows gradients; an output without any (an argmax, say) leads it nowhere."""
    return [tensor for tensor in named_outputs(network(images)).values() if tensor.grad_fn is not None]


def _fixed(module: fx.GraphModule, frozen: Mapping[str, str]) -> dict[str, str]:
    """The layers that something outside the network, or a frozen module, sees the channels of."""
    fixed: dict[str, str] = {}
    for node in module.graph.nodes:
        if node.op == "output":
            fixed |= dict.fromkeys(_feeding(module, node), "its channels are an output of the network")
        elif node.op == "call_module" and node.target in frozen:
            for name in _feeding(module, node):
                fixed.setdefault(name, f"feeds the frozen module '{node.target}'")
    return fixed


def _feeding(module: fx.GraphModule, end: fx.Node) -> Iterator[str]:
    """The layers whose channels arrive at this node, or pass through one that does."""
    pending, seen = list(end.all_input_nodes), set()
    while pending:
        node = pending.pop()
        if node in seen:
            continue
        seen.add(node)
        if node.op == "call_module" and has_channels(module.get_submodule(str(node.target))):
            yield str(node.target)
        else:
            pending.extend(node.all_input_nodes)


def _obstacle(
    module: nn.Module,
    root: str,
    channels: int,
    members: list[str],
    touched: list[str],
    frozen: Mapping[str, str],
    fixed: Mapping[str, str],
) -> tuple[str, str]:
    """What forbids pruning a group: the layer that is to blame, and why. Two empty words where nothing does."""
    for name in members:
        if name in fixed:
            return name, fixed[name]
    for name in touched:
        if is_in(name, frozen):
            return root, f"leads into the frozen module '{name}'"
    for name in touched:
        layer = module.get_submodule(name)
        if grouped := _grouped(layer):
            return (name, grouped) if name in members else (root, f"feeds '{name}', a {grouped}")
        if isinstance(layer, nn.GroupNorm) and any(width % layer.num_groups for width in allowed_widths(channels)):
            return root, f"'{name}' normalises its channels in {layer.num_groups} groups"
    return "", ""


def _grouped(layer: nn.Module) -> str:
    """Grouped convolutions that are not depthwise constrain channels in ways that a genome does not express."""
    if not isinstance(layer, nn.modules.conv._ConvNd) or layer.groups == 1:
        return ""
    depthwise = layer.groups == layer.in_channels == layer.out_channels
    return "" if depthwise else f"grouped convolution: {layer.groups} groups"


def _may_be_root(layer: nn.Module) -> bool:
    return not isinstance(layer, nn.modules.conv._ConvNd) or layer.groups == 1


def _members(group: Any, names: Mapping[nn.Module, str], graph: Any) -> set[str]:
    """Names of the layers whose outputs make up a group."""
    return {
        names[dep.target.module]
        for dep, _ in group
        if dep.target.module in names and graph.is_out_channel_pruning_fn(dep.handler)
    }
