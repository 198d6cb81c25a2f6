"""Candidates that searches have looked at: networks of ResNet-20's space at 28x28, as ONNX files, each with a score."""

import json
import math
import random
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import torch
from edgesynth_exporters.export import export_onnx

from benchmarks.energy.provenance import HERE
from edgesynth.prototypes.resnet import resnet20
from edgesynth.records import Genome
from edgesynth.space.cost import CostModel
from edgesynth.space.genome import allowed_widths, canonical
from edgesynth.space.surgery import identity_ranking, materialise
from edgesynth.space.trace import Space, trace

__all__ = ["Candidates", "candidates_of", "names", "save"]

DRAWN = "drawn"
DRAWN_COUNT, LEAST_SIDE = 300, 8


@dataclass(frozen=True)
class Candidates:
    """In the order in which a search looked at them. `scores` are accuracies as its journal has them, or what
    `score_is` says."""

    name: str
    source: str
    score_is: str
    space: Space
    genomes: list[Genome]
    scores: list[float]


def names() -> list[str]:
    return [*_recorded()["runs"], DRAWN]


def candidates_of(name: str) -> Candidates:
    """Those of a recorded run, or `drawn`: at random over widths, blocks and resolutions, with no accuracy."""
    return _drawn() if name == DRAWN else _of_run(name)


def save(candidates: Candidates, folder: Path, count: int | None = None) -> list[Path]:
    """Their files, or those of the first `count`. Weights are those of an untrained prototype: no figure of a network
    depends on them."""
    ranking = identity_ranking(candidates.space.groups)
    paths = []
    for number, genome in enumerate(candidates.genomes[:count]):
        paths.append(folder / f"{number}.onnx")
        module = materialise(candidates.space, genome, ranking)
        export_onnx(module, candidates.space.example, paths[-1], 13)
    return paths


@cache
def _recorded() -> dict[str, Any]:
    """`candidates.json`, from the journals of three runs: their facts "score", in order."""
    document: dict[str, Any] = json.loads((HERE / "candidates.json").read_text(encoding="utf-8"))
    return document


@cache
def _space() -> Space:
    return trace(resnet20(1, 10).eval(), torch.zeros(1, 1, 28, 28), least_side=LEAST_SIDE)


def _of_run(name: str) -> Candidates:
    document = _recorded()
    run = document["runs"][name]
    genomes = [
        Genome(
            widths=dict(zip(document["groups"], widths, strict=True)),
            blocks={block: bit == "1" for block, bit in zip(document["blocks"], bits, strict=True)},
        )
        for widths, bits, _ in run["candidates"]
    ]
    space = replace(_space(), resolutions=_space().resolutions[:1])
    return Candidates(name, run["source"], "accuracy as scored", space, genomes, [row[2] for row in run["candidates"]])


def _drawn() -> Candidates:
    space, chance = _space(), random.Random(0)
    costs = CostModel.from_space(space)
    genomes: list[Genome] = []
    for _ in range(DRAWN_COUNT):
        share, keep = chance.uniform(0.1, 1.0), chance.uniform(0.2, 1.0)
        widths = {}
        for group in space.groups:
            most = share * chance.uniform(0.5, 1.5) * group.channels
            allowed = [w for w in allowed_widths(group.channels) if w <= most]
            widths[group.name] = max(allowed, default=min(allowed_widths(group.channels)))
        kept = {block.name: chance.random() < keep for block in space.blocks}
        size = chance.choice([None, *space.resolutions[1:]])
        genomes.append(canonical(widths, kept, space.groups, space.blocks, size))
    scores = [math.log(costs.of(genome).macs) for genome in genomes]
    source = f"{DRAWN_COUNT} genomes at random over widths, blocks and resolutions"
    return Candidates(DRAWN, source, "no accuracy: the logarithm of MACs in its place", space, genomes, scores)
