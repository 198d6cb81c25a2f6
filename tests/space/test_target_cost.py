"""The differentiable cost of genomes against the estimate of their files."""

import random
from pathlib import Path
from typing import Any

import pytest
import torch
from edgesynth_exporters.export import export_onnx
from edgesynth_exporters.onnx_graph import read_graph
from torch import Tensor, nn

from edgesynth.energy.constants import calibration_of
from edgesynth.energy.estimate import estimate
from edgesynth.energy.kernels import kernels_of
from edgesynth.prototypes.mobilenet import mobilenetv2_tiny
from edgesynth.prototypes.resnet import resnet8
from edgesynth.records import Genome
from edgesynth.space.cost import CostModel
from edgesynth.space.genome import allowed_widths, canonical, full_genome
from edgesynth.space.operators import operators_of
from edgesynth.space.surgery import identity_ranking, materialise
from edgesynth.space.target_cost import TargetCost
from edgesynth.space.trace import Space, trace


class Branched(nn.Module):
    """Concatenation, a gate, a swish, pooling of both kinds."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Conv2d(3, 8, 1), nn.Conv2d(3, 16, 3, padding=1)
        self.gate = nn.Conv2d(24, 24, 1)
        self.swish, self.pool = nn.SiLU(), nn.MaxPool2d(2)
        self.head = nn.Linear(24, 10)

    def forward(self, x: Tensor) -> Any:
        x = torch.cat([self.swish(self.left(x)), torch.relu(self.right(x))], dim=1)
        x = self.pool(x * torch.sigmoid(self.gate(x)))
        return self.head(torch.flatten(nn.functional.adaptive_avg_pool2d(x, 1), 1))


NETWORKS = {
    "resnet8": (resnet8(1, 10), torch.zeros(1, 1, 28, 28)),
    "resnet8, resized": (resnet8(3, 10), torch.zeros(1, 3, 64, 64)),
    "mobilenet": (mobilenetv2_tiny(3, 10), torch.zeros(1, 3, 32, 32)),
    "branched": (Branched(), torch.zeros(1, 3, 32, 32)),
}


@pytest.fixture(scope="module", params=NETWORKS)
def traced(request: pytest.FixtureRequest) -> tuple[Space, TargetCost]:
    module, example = NETWORKS[request.param]
    space = trace(module, example)
    return space, TargetCost.from_space(space, CostModel.from_space(space), calibration_of("tx2-sim"), "fp32")


def some(space: Space, count: int) -> list[Genome]:
    rolled = random.Random(1)
    found = [full_genome(space.groups, space.blocks)]
    for _ in range(count):
        widths = {group.name: rolled.choice(allowed_widths(group.channels)) for group in space.groups}
        kept = {block.name: rolled.random() < 0.6 for block in space.blocks}
        size = rolled.choice([None, *space.resolutions[1:]])
        found.append(canonical(widths, kept, space.groups, space.blocks, size))
    return found


def test_a_genome_costs_what_its_file_is_estimated_at(traced: tuple[Space, TargetCost], tmp_path: Path) -> None:
    space, cost = traced
    genomes = some(space, 2)
    latencies, energies = cost.of(genomes)
    assert energies is not None
    for genome, latency_ms, energy_mj in zip(genomes, latencies.tolist(), energies.tolist(), strict=True):
        network = materialise(space, genome, identity_ranking(space.groups))
        export_onnx(network, space.example, tmp_path / "net.onnx", 13)
        record = estimate(tmp_path / "net.onnx", "tx2-sim", "fp32")
        assert record.latency_ms is not None
        assert latency_ms == pytest.approx(record.latency_ms.mean, rel=5e-3)
        assert energy_mj == pytest.approx(record.energy_mj, rel=1e-2)


def test_the_traced_graph_has_the_kernels_of_the_file(tmp_path: Path) -> None:
    for module, example in NETWORKS.values():
        space = trace(module, example)
        export_onnx(space.module, example, tmp_path / "net.onnx", 13)
        traced, unknown = kernels_of(operators_of(space.module, example), "fp16")
        filed, _ = kernels_of(read_graph(tmp_path / "net.onnx"), "fp16")
        assert not unknown
        assert [(k.kind, k.macs, k.sums) for k in traced] == [(k.kind, k.macs, k.sums) for k in filed]


def test_more_of_anything_costs_more_energy_and_the_gradient_says_so(traced: tuple[Space, TargetCost]) -> None:
    space, cost = traced
    widths = torch.tensor([[float(group.channels) for group in space.groups]], dtype=torch.float64, requires_grad=True)
    kept = torch.full((1, len(space.blocks)), 0.7, dtype=torch.float64, requires_grad=True)
    resolution = torch.zeros(1, len(space.resolutions), dtype=torch.float64)
    resolution[0, 0] = 1.0
    latency, energy = cost(widths, kept, resolution)
    assert energy is not None
    (energy.sum() + latency.sum()).backward()  # type: ignore[no-untyped-call]
    assert widths.grad is not None and (widths.grad > 0).all()
    if space.blocks:
        assert kept.grad is not None and (kept.grad > 0).all()
    step = 1e-3
    more, _ = cost(widths.detach(), kept.detach() + step, resolution)
    less, _ = cost(widths.detach(), kept.detach() - step, resolution)
    found = float((more - less).sum()) / (2 * step)
    slope = torch.autograd.grad(cost(widths, kept, resolution)[0].sum(), kept, allow_unused=True)[0]
    assert float(0.0 if slope is None else slope.sum()) == pytest.approx(found, rel=1e-3, abs=1e-9)


def test_a_model_without_joules_has_a_latency_alone() -> None:
    module, example = NETWORKS["resnet8"]
    space = trace(module, example)
    cost = TargetCost.from_space(space, CostModel.from_space(space), calibration_of("nano-sim"))
    latency, energy = cost.of(some(space, 1))
    assert latency.shape == (2,) and energy is None
