"""Networks of edgesynth's space, drawn and changed at random, and scored as edgesynth scores them."""

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import nn

from benchmarks.classification.cells import Cell
from benchmarks.classification.contestants.base import ContestantError
from benchmarks.classification.material import Material, Stopwatch
from benchmarks.classification.run_of_edgesynth import Inheritance, inheritance
from edgesynth.records import Genome
from edgesynth.space.cost import CostModel
from edgesynth.space.genome import allowed_widths, canonical, digest
from edgesynth.space.surgery import materialise
from edgesynth.space.trace import Space, trace
from edgesynth.synthesis.scoring import Adaptation
from edgesynth.synthesis.storage import load_weights
from edgesynth.synthesis.training import seed_of

__all__ = ["Genes", "Nursery"]

TRIES = 100_000
"""Draws in a row after which a space is taken to have nothing of the size asked for."""


@dataclass(frozen=True)
class Genes:
    """Every choice of a genome, also those that others make idle: the width of a layer in a dropped block."""

    widths: tuple[int, ...]
    kept: tuple[bool, ...]
    resolution: int


@dataclass(frozen=True)
class Nursery:
    """Draws, changes and scores networks for one cell. `left` is what edgesynth's run of the same seed left."""

    material: Material
    space: Space
    costs: CostModel
    left: Inheritance
    limit: int
    least: int
    scores: "Scores"
    adaptation: Adaptation
    randomness: random.Random

    @classmethod
    def of(cls, material: Material, cell: Cell) -> "Nursery":
        space = trace(material.prototype, material.example)
        limit = material.limit(cell.budget)
        least = int(limit * material.protocol.settings[cell.contestant]["least_of_budget"])
        left = inheritance(material)
        folder = material.places.folder(cell)
        scores = Scores(folder / f"scores-{material.protocol.digest(cell.contestant)}.jsonl")
        stream = random.Random(seed_of(material.seed, 9, cell.budget))
        adaptation = Adaptation.of(
            material.task, material.train, material.teacher(), material.data.mirror, seed_of(material.seed, 8)
        )
        return cls(material, space, CostModel.from_space(space), left, limit, least, scores, adaptation, stream)

    def draw(self) -> Iterator[Genes]:
        """Uniformly at random from the networks whose MACs lie between `least` and `limit`, without end.

        Raises ContestantError where there seem to be none.
        """
        misses = 0
        while misses < TRIES:
            genes = Genes(
                tuple(self.randomness.choice(allowed_widths(group.channels)) for group in self.space.groups),
                tuple(self.randomness.random() < 0.5 for _ in self.space.blocks),
                self.randomness.randrange(len(self.space.resolutions)),
            )
            misses += 1
            if self.least <= self.macs(genes) <= self.limit:
                misses = 0
                yield genes
        raise ContestantError(f"{TRIES:,} draws, and none of {self.least:,} to {self.limit:,} MACs")

    def mutant(self, parent: Genes) -> Genes:
        """The parent with one gene changed, drawn again until the budget is met."""
        while True:
            child = self._changed(parent)
            if self.macs(child) <= self.limit:
                return child

    def genome(self, genes: Genes) -> Genome:
        space = self.space
        return canonical(
            {group.name: width for group, width in zip(space.groups, genes.widths, strict=True)},
            {block.name: kept for block, kept in zip(space.blocks, genes.kept, strict=True)},
            space.groups,
            space.blocks,
            space.resolutions[genes.resolution] if genes.resolution else None,
        )

    def macs(self, genes: Genes) -> int:
        return self.costs.of(self.genome(genes)).macs

    def network(self, genes: Genes) -> nn.Module:
        """With the weights that all networks of the run share."""
        shared = load_weights(self.left.run / "shared.safetensors")
        return materialise(self.space, self.genome(genes), self.left.ranking, shared)

    def key(self, genes: Genes) -> str:
        """The same for genes that make the same network."""
        return digest(self.genome(genes))

    def score(self, genes: Genes) -> float:
        """Accuracy on the scoring images, of shared weights after a short adaptation: edgesynth's own score."""
        key = self.key(genes)
        if key not in self.scores.known:
            network = self.network(genes)
            self.adaptation(network)
            self.scores.add(key, self.material.accuracy(network, self.material.scoring))
        return self.scores.known[key]

    def _changed(self, parent: Genes) -> Genes:
        groups, blocks, sizes = len(self.space.groups), len(self.space.blocks), len(self.space.resolutions)
        gene = self.randomness.randrange(groups + blocks + (1 if sizes > 1 else 0))
        if gene < groups:
            widths = [w for w in allowed_widths(self.space.groups[gene].channels) if w != parent.widths[gene]]
            new = self.randomness.choice(widths or [parent.widths[gene]])
            return replace(parent, widths=(*parent.widths[:gene], new, *parent.widths[gene + 1 :]))
        if gene < groups + blocks:
            block = gene - groups
            turned = not parent.kept[block]
            return replace(parent, kept=(*parent.kept[:block], turned, *parent.kept[block + 1 :]))
        others = [size for size in range(sizes) if size != parent.resolution]
        return replace(parent, resolution=self.randomness.choice(others))


class Scores:
    """Scores by genome digest, each written down at once, so that a search that was stopped repeats itself quickly."""

    def __init__(self, file: Path) -> None:
        self._file = file
        lines = list(_whole_lines(file)) if file.is_file() else []
        self.known: dict[str, float] = {line["genome"]: line["accuracy"] for line in lines}
        self._watch = Stopwatch(lines[-1]["cpu_s"] if lines else 0.0)

    @property
    def cpu_s(self) -> float:
        return self._watch.cpu_s

    def add(self, genome: str, accuracy: float) -> None:
        self.known[genome] = accuracy
        line = json.dumps({"genome": genome, "accuracy": accuracy, "cpu_s": self.cpu_s})
        self._file.parent.mkdir(parents=True, exist_ok=True)
        with self._file.open("a") as file:
            file.write(f"{line}\n")


def _whole_lines(file: Path) -> Iterator[dict[str, Any]]:
    """Of a file whose last line may have been cut off in the writing; such a line is taken out of the file."""
    whole = 0
    for line in file.read_text().splitlines(keepends=True):
        if not line.endswith("\n"):
            with file.open("r+") as torn:
                torn.truncate(whole)
            return
        whole += len(line.encode())
        yield json.loads(line)
