"""Scoring a candidate cheaply: sliced shared weights, batch norm measured anew, one look at the scoring split."""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgesynth_exporters.export import export_onnx
from edgesynth_exporters.targets import find_target
from torch import Tensor

from edgesynth.data.source import Split
from edgesynth.devices import Oracle
from edgesynth.records import Genome, Measurement, Record
from edgesynth.requirements import ON_TARGET, Requirement
from edgesynth.space.cost import count
from edgesynth.space.genome import digest
from edgesynth.space.surgery import Ranking, materialise
from edgesynth.space.trace import Space
from edgesynth.synthesis.probe import Responses, probe
from edgesynth.synthesis.training import outputs, recalibrate
from edgesynth.tasks import Task

__all__ = ["Score", "Scorer", "measured_value"]

STIMULI = 128
RECALIBRATION = 512


class Score(Record):
    """What is known of a candidate without training it. `metric` is that of sliced shared weights on the scoring
    split; `on_target` holds what requirements ask of targets, by key (`latency_ms@host`), None where unknown."""

    digest: str
    genome: Genome
    metric: float
    params: int
    macs: int
    on_target: dict[str, float | None]
    responses: Responses


@dataclass(frozen=True)
class Scorer:
    """Everything a score depends on. The scoring split is part of the training split, held out from training."""

    space: Space
    ranking: Ranking
    shared: Mapping[str, Tensor]
    task: Task
    train: Split
    scoring: Split
    requirements: Sequence[Requirement]
    screens: Mapping[str, Oracle]

    def __call__(self, genome: Genome) -> Score:
        """Score one genome; deterministic but for what a real device measures."""
        network = materialise(self.space, genome, self.ranking, self.shared)
        recalibrate(network, self.train.images[:RECALIBRATION])
        metric = self.task.evaluate(outputs(network, self.scoring.images), self.scoring.targets)
        stimuli = Split(self.scoring.images[:STIMULI], self.scoring.targets[:STIMULI])
        responses = probe(network, genome, self.space.groups, self.space.blocks, self.task, stimuli)
        costs = count(network, self.space.example)
        return Score(
            digest=digest(genome),
            genome=genome,
            metric=metric,
            params=costs.params,
            macs=costs.macs,
            on_target=self._on_target(network),
            responses=responses,
        )

    def _on_target(self, network: object) -> dict[str, float | None]:
        wanted = {r.key: r for r in self.requirements if r.quantity in ON_TARGET}
        if not wanted:
            return {}
        with tempfile.TemporaryDirectory(prefix="edgesynth-") as folder:
            path = Path(folder) / "candidate.onnx"
            measurements = {}
            for target in sorted({r.target for r in wanted.values() if r.target is not None}):
                export_onnx(network, self.space.example, path, find_target(target).opset)  # type: ignore[arg-type]
                measurements[target] = self.screens[target].measure(path)
        return {key: measured_value(r.quantity, measurements[r.target or ""]) for key, r in wanted.items()}


def measured_value(quantity: str, measurement: Measurement) -> float | None:
    """The figure of a measurement that a requirement speaks of; None where it is unknown."""
    if quantity == "latency_ms":
        return None if measurement.latency_ms is None else measurement.latency_ms.mean
    if quantity == "energy_mj":
        return measurement.energy_mj
    return measurement.inferences_per_joule
