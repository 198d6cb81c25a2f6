"""Latency and energy on a modelled target of any genome of a space, differentiable in its channel counts.

The same formulas as `edgesynth.energy.model`, over kernels whose sizes are affine functions of the group widths. They
are exact at whole genomes as long as dropping a block does not change what else fuses, but for traffic, where a kernel
that reads several tensors counts all of them as growing like the first.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from edgesynth.energy.constants import Calibration
from edgesynth.energy.kernels import BYTES, Kernel, kernels_of
from edgesynth.energy.model import Load
from edgesynth.records import Genome
from edgesynth.space.channels import Channels
from edgesynth.space.cost import CostModel
from edgesynth.space.operators import operators_of
from edgesynth.space.resolution import Resolution, resized
from edgesynth.space.trace import Space

__all__ = ["TargetCost"]


@dataclass(frozen=True)
class TargetCost:
    """Latency and energy of genomes of one space on one target.

    Over K kernels in the order of launch: `launch_ms` (K,), each scaled by whether it is there: `membership` (K, B)
    says in which droppable blocks, `only_resized` (K,) whether in resized networks alone. Columns and depth of its
    matrix product, and the channels that it reads and writes, are affine in the M group widths, (K, M + 1), with the
    constant part last; `rows`, `read`, `written` (R, K) are its rows and its bytes per channel at each resolution.
    `weights` (K,) is the bytes of its parameters per channel read and channel written.
    """

    known: Calibration
    fp16: bool
    launch_ms: Tensor
    membership: Tensor
    only_resized: Tensor
    is_matrix: Tensor
    rows: Tensor
    columns: Tensor
    depth: Tensor
    read: Tensor
    written: Tensor
    channels_read: Tensor
    channels_written: Tensor
    weights: Tensor
    resolutions: tuple[Resolution, ...]

    def __call__(self, widths: Tensor, kept: Tensor, resolution: Tensor) -> tuple[Tensor, Tensor | None]:
        """(latency in ms, energy in mJ), each (…,), the latter None where the model knows no joules; for widths (…, M)
        in channels, kept blocks (…, B) in [0, 1] and the share (…, R) of each resolution."""
        c = self.known.constants
        sizes = torch.cat([widths, torch.ones_like(widths[..., :1])], dim=-1)
        alive = torch.where(self.membership > 0, kept[..., None, :], torch.ones_like(self.membership)).prod(dim=-1)
        alive = alive * (1 - self.only_resized * resolution[..., :1])
        rows, columns, depth = resolution @ self.rows, sizes @ self.columns.T, sizes @ self.depth.T
        read, written = sizes @ self.channels_read.T, sizes @ self.channels_written.T
        padded = rows * (columns + c.half_channels) * (depth + c.half_channels)
        macs = rows * columns * depth
        efficiency = 2 * c.efficiency_fp16 if self.fp16 else c.efficiency_fp32
        arithmetic_ms = torch.where(self.is_matrix, padded, macs) / (c.gpu_cores * c.gpu_clock_mhz * 1e3 * efficiency)
        moved = (resolution @ self.read) * read + (resolution @ self.written) * written + self.weights * read * written
        memory_ms = moved / (c.memory_clock_mhz * 1e3 * c.memory_bytes_per_clock)
        busy_ms = alive * torch.maximum(arithmetic_ms, memory_ms)
        launched_ms = (alive * self.launch_ms).cumsum(dim=-1)
        waited_ms = (launched_ms - (busy_ms.cumsum(dim=-1) - busy_ms)).cummax(dim=-1).values[..., -1]
        latency_ms = c.overhead_ms + waited_ms + busy_ms.sum(dim=-1)
        power = self.known.power
        if power is None:
            return latency_ms, None
        ratio = power.fp16_energy_ratio if self.fp16 else 1.0
        return latency_ms, (
            (power.idle_power_w + power.active_power_w) * latency_ms
            + ratio * power.fp32_pj_per_mac * 1e-9 * (alive * macs).sum(dim=-1)
            + power.memory_pj_per_byte * 1e-9 * (alive * moved).sum(dim=-1)
        )

    def of(self, genomes: Sequence[Genome]) -> tuple[Tensor, Tensor | None]:
        """(N,) latencies and energies of whole genomes."""
        return self(*self.code(genomes))

    def code(self, genomes: Sequence[Genome]) -> tuple[Tensor, Tensor, Tensor]:
        """Whole genomes as arguments of a call."""
        widths = torch.tensor([list(genome.widths.values()) for genome in genomes], dtype=torch.float64)
        kept = torch.tensor([list(genome.blocks.values()) for genome in genomes], dtype=torch.float64)
        sizes = self.resolutions
        chosen = [[float(size == (genome.resolution or sizes[0])) for size in sizes] for genome in genomes]
        return widths, kept.reshape(len(genomes), -1), torch.tensor(chosen, dtype=torch.float64)

    @classmethod
    def from_space(
        cls, space: Space, costs: CostModel, known: Calibration, precision: Literal["fp32", "fp16"] = "fp16"
    ) -> "TargetCost":
        """`costs` are those of the space: they know how every layer depends on every group."""
        graphs = [operators_of(space.module, resized(space.example, size)) for size in space.resolutions]
        variants = [kernels_of(graph, precision)[0] for graph in graphs]
        kernels, channels = variants[0], Channels(space, costs)
        load, size, c = Load.of(kernels, precision), BYTES[precision], known.constants
        launch_us = load.launches * c.launch_us + load.pools * c.pooling_us + load.sums * c.sum_us
        sizes = [channels.of(kernel) for kernel in kernels]
        full = channels.full

        def per_channel(vector: Tensor, amounts: list[int]) -> list[float]:
            return [amount / float(vector @ full) for amount in amounts]

        read = [
            per_channel(each.read, [v[i].bytes_read - size * v[i].params for v in variants])
            for i, each in enumerate(sizes)
        ]
        written = [per_channel(each.written, [v[i].bytes_written for v in variants]) for i, each in enumerate(sizes)]
        rows = [[_rows(kernel) for kernel in variant] for variant in variants]
        found = cls(
            known=known,
            fp16=precision == "fp16",
            launch_ms=torch.from_numpy(launch_us / 1e3),
            membership=channels.membership([kernel.name for kernel in kernels]),
            only_resized=torch.zeros(len(kernels), dtype=torch.float64),
            is_matrix=torch.from_numpy(load.is_matrix),
            rows=torch.tensor(rows, dtype=torch.float64),
            columns=torch.stack([each.columns for each in sizes]),
            depth=torch.stack([each.depth for each in sizes]),
            read=torch.tensor(read, dtype=torch.float64).T,
            written=torch.tensor(written, dtype=torch.float64).T,
            channels_read=torch.stack([each.read for each in sizes]),
            channels_written=torch.stack([each.written for each in sizes]),
            weights=torch.tensor([size * each.weights for each in sizes], dtype=torch.float64),
            resolutions=space.resolutions,
        )
        return found if len(space.resolutions) == 1 else _with_resize(found, space, size)


def _rows(kernel: Kernel) -> float:
    """A depthwise kernel has one column for each of its groups, so those are not among its rows."""
    return float(kernel.rows * (1 if kernel.kind == "depthwise" else kernel.groups))


def _with_resize(cost: TargetCost, space: Space, size: int) -> TargetCost:
    """With the kernel that resizes the input, the first."""
    constant = torch.zeros(1, cost.columns.shape[1], dtype=torch.float64)
    constant[:, -1] = space.example.shape[1]
    areas = [float(size * height * width) for height, width in cost.resolutions]
    zero = torch.zeros(1, dtype=torch.float64)
    nothing = torch.zeros(len(areas), 1, dtype=torch.float64)

    def first(name: str, value: Tensor, dim: int = 0) -> Tensor:
        return torch.cat([value, getattr(cost, name)], dim=dim)

    return replace(
        cost,
        launch_ms=first("launch_ms", torch.full((1,), cost.known.constants.launch_us / 1e3, dtype=torch.float64)),
        membership=first("membership", torch.zeros(1, cost.membership.shape[1], dtype=torch.float64)),
        only_resized=first("only_resized", torch.ones(1, dtype=torch.float64)),
        is_matrix=first("is_matrix", torch.zeros(1, dtype=torch.bool)),
        rows=first("rows", nothing, 1),
        columns=first("columns", 0 * constant),
        depth=first("depth", 0 * constant),
        read=first("read", torch.full_like(nothing, areas[0]), 1),
        written=first("written", torch.tensor(areas, dtype=torch.float64)[:, None], 1),
        channels_read=first("channels_read", constant),
        channels_written=first("channels_written", constant),
        weights=first("weights", zero),
    )
