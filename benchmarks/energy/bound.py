"""What the model says can be saved at all: the cheapest genome of a prototype's space, whatever its accuracy."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

from edgesynth.energy.constants import Calibration, calibration_of
from edgesynth.prototypes.resnet import resnet20
from edgesynth.records import Genome
from edgesynth.space.cost import CostModel
from edgesynth.space.genome import allowed_widths, canonical, full_genome
from edgesynth.space.target_cost import TargetCost
from edgesynth.space.trace import Space, trace

__all__ = ["bounds"]

SIDES = (28, 64, 224)


def bounds(sides: Sequence[int] = SIDES) -> dict[str, Any]:
    """ResNet-20 on tx2-sim at fp16: inferences per joule of the cheapest genomes, as multiples of the prototype's."""
    known = calibration_of("tx2-sim")
    low_ms, high_ms = known.overhead_range_ms
    overheads = {"none": 0.0, "least": low_ms, "assumed": known.constants.overhead_ms, "greatest": high_ms}
    return {
        "prototype": "resnet20",
        "precision": "fp16",
        "overheads_ms": overheads,
        "sizes": [_at(side, known, overheads) for side in sides],
    }


def _at(side: int, known: Calibration, overheads: dict[str, float]) -> dict[str, Any]:
    space = trace(resnet20(1, 10).eval(), torch.zeros(1, 1, side, side))
    space = replace(space, resolutions=space.resolutions[:1])
    costs = CostModel.from_space(space)
    genomes = {
        "prototype": full_genome(space.groups, space.blocks),
        "all channels, no droppable block": _genome(space, narrow=False, blocks=False),
        "fewest channels, all blocks": _genome(space, narrow=True, blocks=True),
        "fewest of both": _genome(space, narrow=True, blocks=False),
    }
    found: dict[str, Any] = {"side": side, "mmacs": round(costs.of(genomes["prototype"]).macs / 1e6, 1), "genomes": {}}
    for name, genome in genomes.items():
        entry: dict[str, Any] = {"kernels": _kernels(space, genome)}
        for label, overhead_ms in overheads.items():
            changed = replace(known, constants=replace(known.constants, overhead_ms=overhead_ms))
            cost = TargetCost.from_space(space, costs, changed)
            latency, energy = cost.of([genomes["prototype"], genome])
            if energy is None:
                raise ValueError("tx2-sim knows joules")
            entry[label] = {
                "ms": round(float(latency[1]), 4),
                "mj": round(float(energy[1]), 4),
                "times_inferences_per_joule": round(float(energy[0] / energy[1]), 3),
            }
        found["genomes"][name] = entry
    return found


def _genome(space: Space, *, narrow: bool, blocks: bool) -> Genome:
    widths = {g.name: min(allowed_widths(g.channels)) if narrow else g.channels for g in space.groups}
    return canonical(widths, {block.name: blocks for block in space.blocks}, space.groups, space.blocks)


def _kernels(space: Space, genome: Genome) -> int:
    """How many kernels are left."""
    from edgesynth.energy.kernels import kernels_of
    from edgesynth.space.operators import operators_of
    from edgesynth.space.surgery import identity_ranking, materialise

    module = materialise(space, genome, identity_ranking(space.groups))
    return len(kernels_of(operators_of(module, space.example), "fp16")[0])
