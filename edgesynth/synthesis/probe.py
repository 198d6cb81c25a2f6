"""Probing a generated network with stimuli X, and reading its responses Y."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from edgesynth.data.source import Split
from edgesynth.records import BlockInfo, Genome, GroupInfo, Record
from edgesynth.tasks import Task

__all__ = ["GroupResponse", "Responses", "probe"]

DEAD = 1e-6
"""A channel whose activations never exceed this in absolute value is dead."""


class GroupResponse(Record):
    """How a group's kept channels react: mean |activation| over the group, share of dead channels, and per kept
    channel the Taylor score, the mean over stimuli of |Σ activation · ∂loss/∂activation| (arXiv 1906.10771)."""

    mean_abs: float
    dead: float
    taylor: list[float]


class Responses(Record):
    """The responses of one network. `blocks`: relative change ‖F(x)‖ / ‖x‖ that each kept block makes to the
    residual stream. Groups and blocks that the network does not have are absent."""

    groups: dict[str, GroupResponse]
    blocks: dict[str, float]


def probe(
    network: nn.Module,
    genome: Genome,
    groups: Sequence[GroupInfo],
    blocks: Sequence[BlockInfo],
    task: Task,
    stimuli: Split,
) -> Responses:
    """Run one batch of stimuli forwards and backwards through the network (in eval mode, weights untouched)."""
    present = dict(network.named_modules())
    watched = {g.name: _watch_point(g, genome.widths[g.name], present) for g in groups if genome.widths[g.name] > 0}
    kept = {b.name: [x for x in b.layers if x in present] for b in blocks if genome.blocks[b.name]}
    activations: dict[str, Tensor] = {}
    streams: dict[str, Tensor] = {}
    changes: dict[str, Tensor] = {}
    handles = [
        *(present[layer].register_forward_hook(_keep_activation(activations, name)) for name, layer in watched.items()),
        *(present[x[0]].register_forward_pre_hook(_keep_norm_of_input(streams, name)) for name, x in kept.items()),
        *(present[x[-1]].register_forward_hook(_keep_norm_of_output(changes, name)) for name, x in kept.items()),
    ]
    network.eval()
    try:
        task.loss(network(stimuli.images), stimuli.targets).backward()  # type: ignore[no-untyped-call]
    finally:
        for handle in handles:
            handle.remove()
        network.zero_grad(set_to_none=True)
    return Responses(
        groups={
            name: _response(activation, len(stimuli), isinstance(present[watched[name]], nn.Linear))
            for name, activation in activations.items()
        },
        blocks={name: float(changes[name] / streams[name].clamp_min(1e-12)) for name in changes},
    )


def _watch_point(group: GroupInfo, width: int, present: Mapping[str, nn.Module]) -> str:
    """The layer whose output shows the group's channels best: its first normalisation, else its first layer.

    One behind a concatenation or a flattening has other channels as well, and does not count.
    """
    layers = [name for name in group.layers if name in present]
    norms = ((name, present[name]) for name in layers)
    fitting = (n for n, x in norms if isinstance(x, nn.modules.batchnorm._BatchNorm) and x.num_features == width)
    return next(fitting, layers[0])


def _keep_activation(store: dict[str, Tensor], name: str):  # type: ignore[no-untyped-def]
    def hook(layer: nn.Module, inputs: object, output: Tensor) -> Tensor:
        output.retain_grad()
        store[name] = output
        # A copy goes on, so that an in-place activation after this layer does not overwrite what was seen.
        return output.clone()

    return hook


def _keep_norm_of_input(store: dict[str, Tensor], name: str):  # type: ignore[no-untyped-def]
    def hook(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        store[name] = inputs[0].detach().norm()

    return hook


def _keep_norm_of_output(store: dict[str, Tensor], name: str):  # type: ignore[no-untyped-def]
    def hook(layer: nn.Module, inputs: object, output: Tensor) -> None:
        store[name] = output.detach().norm()

    return hook


def _response(activation: Tensor, images: int, last: bool) -> GroupResponse:
    """`last`: channels are the last dimension, as a linear layer has them, instead of the second."""
    values, gradient = activation.detach(), activation.grad
    if last:
        values, gradient = values.movedim(-1, 1), None if gradient is None else gradient.movedim(-1, 1)
    by_channel = values.abs().reshape(images, values.shape[1], -1)
    if gradient is None:
        taylor = torch.zeros(values.shape[1])
    else:
        # The loss is a mean over images: times their number, the gradient is that of each image's own loss.
        taylor = (values * gradient * images).reshape(images, values.shape[1], -1).sum(dim=2).abs().mean(dim=0)
    return GroupResponse(
        mean_abs=float(by_channel.mean()),
        dead=float((by_channel.amax(dim=(0, 2)) < DEAD).float().mean()),
        taylor=[float(value) for value in taylor],
    )
