"""Trial surgery: before a search, find out which groups can really be pruned and which blocks dropped.

torch-pruning guesses from gradients how channels run through a network. Reshapes, shuffles and chunks can mislead it,
and sizes written as numbers break what it makes. So small networks are made and judged, rather than believed.
"""

import contextlib
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

import torch
from edgesynth_exporters.outputs import named_outputs
from torch import Tensor, fx, nn

from edgesynth.errors import PrototypeError
from edgesynth.records import BlockInfo, Genome, GroupInfo
from edgesynth.space.cost import CostModel, Costs, count, layer_positions
from edgesynth.space.genome import allowed_widths, canonical
from edgesynth.space.groups import called_modules, is_in, is_torchs, kept_whole
from edgesynth.space.surgery import Ranking, identity_ranking, materialise, source_indices
from edgesynth.space.trace import Space, first_line

__all__ = ["trial_surgery"]

Part = TypeVar("Part", GroupInfo, BlockInfo)
Choice = TypeVar("Choice", int, bool)


def trial_surgery(space: Space) -> Space:
    """The space without the groups that cannot be pruned and the blocks that cannot be dropped; `whole` names them,
    with the reason. The same space where all is well.

    Raises PrototypeError where no group is left.
    """
    if _fault(space) is None:
        return space
    whole = dict(space.whole)

    def keep_group(group: GroupInfo, fault: str) -> None:
        whole.update(kept_whole(space.module, group.layers, group.name, f"pruning it {fault}"))

    def keep_block(block: BlockInfo, fault: str) -> None:
        reason = f"dropping it {fault}"
        whole[block.name] = f"{whole[block.name]}; {reason}" if block.name in whole else reason

    without = replace(space, groups=(), blocks=())
    groups = _sound(space.groups, lambda some: _fault(replace(without, groups=some)), keep_group)
    if not groups:
        raise PrototypeError(
            f"the prototype does not survive pruning: it {_fault(replace(space, blocks=()))}; look for sizes written "
            "as numbers in forward() (use flatten(1) or x.shape), or freeze the module that holds them with --freeze"
        )
    blocks = _sound(space.blocks, lambda some: _fault(replace(space, groups=groups, blocks=some)), keep_block)
    return replace(space, groups=groups, blocks=blocks, whole=whole)


def _sound(
    parts: tuple[Part, ...],
    fault_of: Callable[[tuple[Part, ...]], str | None],
    reject: Callable[[Part, str], None],
    accepted: tuple[Part, ...] = (),
) -> tuple[Part, ...]:
    """The accepted parts and those of the others that go together with them, found by halving."""
    fault = fault_of(accepted + parts) if parts else None
    if fault is None:
        return accepted + parts
    if len(parts) == 1:
        reject(parts[0], fault)
        return accepted
    middle = len(parts) // 2
    return _sound(parts[middle:], fault_of, reject, _sound(parts[:middle], fault_of, reject, accepted))


def _fault(space: Space) -> str | None:
    """What goes wrong in some small networks of a space, as the end of a sentence; None where nothing does."""
    try:
        # A graph module prints its own account of a failure to stderr; ours is one line.
        with torch.no_grad(), contextlib.redirect_stderr(io.StringIO()):
            costs, weights, images = CostModel.from_space(space), _unlike(space.module), _random_images(space)
            for genome, ranking in _samples(space):
                fault = _fault_of(space, genome, ranking, costs, weights, images)
                if fault is not None:
                    return fault
    except Exception as error:
        return f"breaks the network: {first_line(error)}"
    return None


def _samples(space: Space) -> Iterator[tuple[Genome, Ranking]]:
    """The smallest networks, of the first and of the last channels, with and without blocks; and one of all sorts."""
    random = torch.Generator().manual_seed(0)
    first = identity_ranking(space.groups)
    last = {name: order[::-1] for name, order in first.items()}
    shuffled = {g.name: torch.randperm(g.channels, generator=random).tolist() for g in space.groups}
    least = {g.name: allowed_widths(g.channels)[0] for g in space.groups}
    mixed = {g.name: _any_of(allowed_widths(g.channels), random) for g in space.groups}
    yield canonical(least, {b.name: True for b in space.blocks}, space.groups, space.blocks), first
    yield canonical(least, {b.name: False for b in space.blocks}, space.groups, space.blocks), last
    kept = {b.name: _any_of([True, False], random) for b in space.blocks}
    yield canonical(mixed, kept, space.groups, space.blocks), shuffled


def _fault_of(
    space: Space, genome: Genome, ranking: Ranking, costs: CostModel, weights: Mapping[str, Tensor], images: Tensor
) -> str | None:
    network = materialise(space, genome, ranking, weights)
    expected, actual = (named_outputs(module(space.example)) for module in (space.module, network))
    for name in expected:
        if name not in actual or actual[name].shape != expected[name].shape:
            found = tuple(actual[name].shape) if name in actual else "nothing"
            return f"changes the {name.replace('_', ' ')} from {tuple(expected[name].shape)} to {found}"
    foretold, counted = costs.of(genome), count(network, space.example)
    untraced = _untraced_macs(network, space.example) - _untraced_macs(space.module, space.example)
    if counted != Costs(foretold.params, foretold.macs + untraced):
        return "removes other weights than those that belong to it"
    answers, masked = (
        named_outputs(_without_statistics(module.double())(images))
        for module in (network, _masked(space, genome, ranking, weights))
    )
    if not all(_same(answers[name], masked[name]) for name in masked):
        return "changes what the other channels mean"
    return None


def _untraced_macs(network: fx.GraphModule, example: Tensor) -> int:
    """What modules that were not traced spend: which of their layers run may depend on what they are fed."""
    untraced = [name for name in called_modules(network) if not is_torchs(network.get_submodule(name))]
    positions = layer_positions(network, example)
    inside = {name: layer for name, layer in network.named_modules() if name in positions and is_in(name, untraced)}
    return sum(positions[name] * layer.weight.numel() for name, layer in inside.items())


def _masked(space: Space, genome: Genome, ranking: Ranking, weights: Mapping[str, Tensor]) -> fx.GraphModule:
    """The network of a genome in another way: at full width, every weight 0 that surgery would remove."""
    alive = {g.name: g.channels for g in space.groups}
    network = materialise(space, canonical(alive, genome.blocks, space.groups, space.blocks), ranking, weights)
    indices = source_indices(space, genome, ranking)
    for name, parameter in network.named_parameters():
        mask = torch.zeros(parameter.numel())
        if name in indices:
            mask[indices[name].flatten()] = 1.0
        parameter.mul_(mask.view(parameter.shape))
    return network


def _unlike(module: nn.Module) -> dict[str, Tensor]:
    """The module's weights, disturbed: a weight that starts at 0 or is the same in every channel would hide faults."""
    random = torch.Generator().manual_seed(0)
    state = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    for name, parameter in module.named_parameters():
        scale = (parameter.numel() / len(parameter)) ** -0.5 if parameter.dim() > 1 else 0.1
        state[name] += scale * torch.randn(parameter.shape, generator=random)
    return state


def _random_images(space: Space) -> Tensor:
    random = torch.Generator().manual_seed(0)
    return torch.randn(space.example.shape, generator=random, dtype=torch.float64)


def _without_statistics(network: fx.GraphModule) -> fx.GraphModule:
    """Its layer and group norms only scale and shift: a mean over fewer channels is another one, and rightly so."""
    for layer in network.modules():
        if isinstance(layer, nn.LayerNorm | nn.GroupNorm):
            layer.forward = _affine(layer)  # type: ignore[method-assign, assignment]
    return network


def _affine(layer: nn.LayerNorm | nn.GroupNorm) -> Callable[[Tensor], Tensor]:
    def forward(x: Tensor) -> Tensor:
        shape = [1, -1, *[1] * (x.dim() - 2)] if isinstance(layer, nn.GroupNorm) else layer.normalized_shape
        weight, bias = (1.0 if p is None else p.view(*shape) for p in (layer.weight, layer.bias))
        return x * weight + bias if layer.weight is not None else x

    return forward


def _same(one: Tensor, other: Tensor) -> bool:
    if one.shape != other.shape or not one.is_floating_point():
        return torch.equal(one, other)
    scale = float(other.abs().nan_to_num().max()) if other.numel() else 0.0
    return torch.allclose(one, other, rtol=1e-6, atol=1e-6 * scale, equal_nan=True)


def _any_of(choices: Sequence[Choice], random: torch.Generator) -> Choice:
    return choices[int(torch.randint(len(choices), (1,), generator=random))]
