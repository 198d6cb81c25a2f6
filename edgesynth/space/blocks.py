"""Residual blocks that can be dropped, found in a traced graph."""

import operator
from collections import Counter
from collections.abc import Iterator

import torch
from torch import fx, nn

from edgesynth.records import BlockInfo

__all__ = ["drop_block", "find_blocks"]

_ADDITIONS = {operator.add, operator.iadd, torch.add, "add", "add_"}
_RELU = {torch.relu, torch.relu_, nn.functional.relu, nn.functional.relu_, "relu", "relu_"}


def find_blocks(module: fx.GraphModule) -> list[BlockInfo]:
    """Every x + F(x) whose branch F starts at x alone, leaves only through the addition, and keeps x's shape.

    Such an addition can be replaced by x and the network still computes something well-formed. Needs the shapes
    that `torch.fx.passes.shape_prop` leaves in `node.meta`. A block is named after the modules of its branch.
    A branch that shares a module with the rest of the network is none: it could not vanish alone.
    """
    calls = Counter(str(node.target) for node in module.graph.nodes if node.op == "call_module")
    blocks = []
    for node in module.graph.nodes:
        if not _is_addition(node):
            continue
        for shortcut, branch in _sides(module, node):
            inner = _branch(branch, shortcut, node)
            if inner is None or _shape(shortcut) != _shape(node) or _shape(node) is None:
                continue
            layers = sorted({str(n.target) for n in inner if n.op == "call_module"}, key=_forward_order(module))
            if layers and all(calls[layer] == 1 for layer in layers):
                blocks.append((node.name, layers))
                break
    return _named(blocks)


def drop_block(module: fx.GraphModule, block: BlockInfo) -> None:
    """Replace x + F(x) by x, in place, and remove what no longer has a use. The block must be in the graph."""
    # A block inside this one may have gone before it, and taken its layers along.
    inside = set(block.layers).intersection(str(n.target) for n in module.graph.nodes if n.op == "call_module")
    for node in module.graph.nodes:
        if not _is_addition(node):
            continue
        for shortcut, branch in _sides(module, node):
            inner = _branch(branch, shortcut, node)
            if inner is not None and {str(n.target) for n in inner if n.op == "call_module"} == inside:
                _replace(module, node, shortcut)
                return
    raise ValueError(f"block {block.name} is not in this graph")


def _replace(module: fx.GraphModule, addition: fx.Node, shortcut: fx.Node) -> None:
    """Make the shortcut take the addition's place; relu(relu(x)) = relu(x), so a second one goes too.

    Only where nothing else uses the sum: otherwise the second one may open the branch of the next block.
    """
    users = list(addition.users)
    if len(users) == 1 and _is_relu(module, users[0]) and _is_relu(module, shortcut):
        users[0].replace_all_uses_with(shortcut)
        module.graph.erase_node(users[0])
    addition.replace_all_uses_with(shortcut)
    module.graph.eliminate_dead_code()
    module.delete_all_unused_submodules()
    module.recompile()


def _is_addition(node: fx.Node) -> bool:
    return (
        node.op in ("call_function", "call_method")
        and node.target in _ADDITIONS
        and len(node.args) == 2
        and all(isinstance(argument, fx.Node) for argument in node.args)
        and not node.kwargs
    )


def _sides(module: fx.GraphModule, addition: fx.Node) -> Iterator[tuple[fx.Node, fx.Node]]:
    """Both readings of a + b as shortcut + branch; a shortcut may lead through `nn.Identity`."""
    first, second = addition.all_input_nodes if len(addition.all_input_nodes) == 2 else (None, None)
    if first is None or second is None:
        return
    for shortcut, branch in ((first, second), (second, first)):
        origin = shortcut
        while origin.op == "call_module" and isinstance(module.get_submodule(str(origin.target)), nn.Identity):
            origin = origin.all_input_nodes[0]
        yield origin, branch


def _is_relu(module: fx.GraphModule, node: fx.Node) -> bool:
    if node.op == "call_module":
        return isinstance(module.get_submodule(str(node.target)), nn.ReLU)
    return node.op in ("call_function", "call_method") and node.target in _RELU


def _branch(end: fx.Node, start: fx.Node, exit_node: fx.Node) -> set[fx.Node] | None:
    """The nodes on all ways from `start` to `end`, or None if one comes from elsewhere or leads elsewhere."""
    inner: set[fx.Node] = set()
    pending = [end]
    while pending:
        node = pending.pop()
        if node is start or node in inner:
            continue
        if node.op in ("placeholder", "get_attr", "output"):
            return None
        inner.add(node)
        pending.extend(node.all_input_nodes)
    if end is start or any(user not in inner and user is not exit_node for node in inner for user in node.users):
        return None
    return inner


def _shape(node: fx.Node) -> torch.Size | None:
    meta = node.meta.get("tensor_meta")
    return meta.shape if meta is not None and hasattr(meta, "shape") else None


def _forward_order(module: fx.GraphModule) -> "_Order":
    return _Order([str(node.target) for node in module.graph.nodes if node.op == "call_module"])


class _Order:
    """Sort key: position in the forward pass."""

    def __init__(self, names: list[str]) -> None:
        self._position = {name: index for index, name in enumerate(names)}

    def __call__(self, name: str) -> int:
        return self._position[name]


def _named(blocks: list[tuple[str, list[str]]]) -> list[BlockInfo]:
    """Name each block by the longest common module path of its layers; by its addition where that is not unique."""
    prefixes = [_common_path(layers) for _, layers in blocks]
    return [
        BlockInfo(name=prefix if prefix and prefixes.count(prefix) == 1 else addition, layers=layers)
        for (addition, layers), prefix in zip(blocks, prefixes, strict=True)
    ]


def _common_path(layers: list[str]) -> str:
    paths = [layer.split(".")[:-1] if len(layers) > 1 else layer.split(".") for layer in layers]
    return ".".join(_common(paths))


def _common(paths: list[list[str]]) -> Iterator[str]:
    for parts in zip(*paths, strict=False):
        if len(set(parts)) > 1:
            return
        yield parts[0]
