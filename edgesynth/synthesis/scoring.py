"""Scoring a candidate cheaply: sliced shared weights, a few steps of training, one look at the scoring split."""

import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path

import torch
from edgesynth_exporters.export import export_onnx
from edgesynth_exporters.targets import TARGETS, all_targets, find_target
from pydantic import ValidationError
from torch import Tensor, fx, nn

from edgesynth.data.source import Split
from edgesynth.devices import Oracle
from edgesynth.errors import DeviceError, ExportError
from edgesynth.records import Genome, Measurement, Record
from edgesynth.requirements import ON_TARGET, Requirement
from edgesynth.space.cost import count
from edgesynth.space.genome import digest
from edgesynth.space.surgery import Ranking, materialise
from edgesynth.space.trace import Space
from edgesynth.synthesis.executors import Executor
from edgesynth.synthesis.probe import Responses, probe
from edgesynth.synthesis.training import Recipe, Teacher, outputs, recalibrate, train
from edgesynth.tasks import Task

__all__ = ["Adaptation", "Score", "Scorer", "is_proof", "measured_value", "network_file"]

STIMULI = 128
RECALIBRATION = 512
ADAPTATION_SHARE, LEAST_ADAPTATION, ADAPTATION_LR = 1 / 8, 2048, 0.05
"""Candidates are trained on this part of the training images, or so many, once, before they are judged."""


class Score(Record):
    """What is known of a candidate without a whole training.

    `metric` is that of sliced shared weights after a short adaptation, on the scoring split; `on_target` holds what
    requirements ask of targets, by key (`latency_ms@host`), None where unknown.

    `failure` says why a network could not be scored. Such a one is worth nothing: its metric is 0, and nobody learns
    from its figures.
    """

    digest: str
    genome: Genome
    metric: float
    params: int
    macs: int
    on_target: dict[str, float | None]
    responses: Responses
    failure: str | None = None


@dataclass(frozen=True)
class Scored:
    """A score without figures of targets, and for each opset that is wanted the network as an ONNX file."""

    score: Score
    files: dict[int, bytes]


@dataclass(frozen=True)
class Adaptation:
    """A few steps of distillation, in place, that a sliced network is given before it is judged.

    Weights that many networks share suit none of them; how badly they suit one says little of what it can learn. The
    same images in the same order for every network, so that comparisons are paired. `calibration` are the images that
    batch norm is measured on afterwards.
    """

    task: Task
    split: Split
    teacher: Teacher
    mirror: bool
    seed: int
    calibration: Tensor

    @classmethod
    def of(cls, task: Task, train: Split, teacher: Teacher, mirror: bool, seed: int) -> "Adaptation":
        # A part of a tensor is pickled with the whole of it, a copy is not.
        count = min(len(train), max(LEAST_ADAPTATION, round(ADAPTATION_SHARE * len(train))))
        images = Split(train.images[:count].clone(), train.targets[:count].clone())
        return cls(task, images, teacher.first(count), mirror, seed, train.images[:RECALIBRATION].clone())

    def __call__(self, network: nn.Module) -> None:
        recipe = Recipe(epochs=1, peak_lr=ADAPTATION_LR)
        train(network, self.task, self.split, recipe, seed=self.seed, mirror=self.mirror, teacher=self.teacher)
        recalibrate(network, self.calibration)


@dataclass(frozen=True)
class CheapScoring:
    """The part of scoring that any machine can do, a pure function of a genome. `opsets` are those of the targets to
    be asked about the network."""

    space: Space
    ranking: Ranking
    shared: Mapping[str, Tensor]
    task: Task
    adaptation: Adaptation
    scoring: Split
    opsets: frozenset[int]

    def __call__(self, genome: Genome) -> Scored:
        network = materialise(self.space, genome, self.ranking, self.shared)
        self.adaptation(network)
        costs = count(network, self.space.example)
        score = Score(
            digest=digest(genome),
            genome=genome,
            metric=0.0,
            params=costs.params,
            macs=costs.macs,
            on_target={},
            responses=Responses(groups={}, blocks={}),
        )
        answers = outputs(network, self.scoring.images)
        if not torch.isfinite(answers).all():
            return _failed(score, "its answers are not finite")
        metric = self.task.evaluate(answers, self.scoring.targets)
        stimuli = Split(self.scoring.images[:STIMULI], self.scoring.targets[:STIMULI])
        try:
            responses = probe(network, genome, self.space.groups, self.space.blocks, self.task, stimuli)
        except ValidationError:  # of a record that takes only finite numbers
            return _failed(score, "its responses to stimuli are not finite")
        try:
            files = {opset: network_file(network, self.space.example, opset) for opset in sorted(self.opsets)}
        except ExportError as error:
            return _failed(score, str(error))
        return Scored(score.model_copy(update={"metric": metric, "responses": responses}), files)


@dataclass(frozen=True)
class Scorer:
    """Everything a score depends on. The scoring split is part of the training split, held out from training."""

    space: Space
    ranking: Ranking
    shared: Mapping[str, Tensor]
    task: Task
    adaptation: Adaptation
    scoring: Split
    requirements: Sequence[Requirement]
    screens: Mapping[str, Oracle]

    def scores(self, genomes: Iterable[Genome], executor: Executor) -> Iterator[Score]:
        """Score genomes, in their order; deterministic but for what a real device measures.

        Targets are asked here, when the executor has handed back as many networks as are best asked about together;
        where other processes would compute beside a measurement, when it has handed back all.
        """
        outcomes = executor.map(self._cheap, genomes)
        if self.wanted and executor.place != "process":
            outcomes = iter(list(outcomes))
        at_once = max((self.screens[target].at_once for target in self.wanted.values()), default=1)
        while some := list(islice(outcomes, at_once)):
            for scored, on_target in zip(some, self._on_targets(some), strict=True):
                yield scored.score.model_copy(update={"on_target": on_target})

    @cached_property
    def _cheap(self) -> CheapScoring:
        return CheapScoring(
            space=self.space,
            ranking=self.ranking,
            shared=self.shared,
            task=self.task,
            adaptation=self.adaptation,
            # A part of a tensor is pickled with the whole of it, a copy is not.
            scoring=Split(self.scoring.images.clone(), self.scoring.targets.clone()),
            opsets=frozenset(find_target(target).opset for target in self.wanted.values()),
        )

    @cached_property
    def wanted(self) -> dict[str, str]:
        """The targets that requirements speak of, by requirement key."""
        return {r.key: r.target for r in self.requirements if r.quantity in ON_TARGET and r.target is not None}

    def _on_targets(self, some: Sequence[Scored]) -> list[dict[str, float | None]]:
        """What requirements ask of targets, for each network; None for one that has no file."""
        values: list[dict[str, float | None]] = [dict.fromkeys(self.wanted) for _ in some]
        there = [index for index, scored in enumerate(some) if scored.files]
        quantities = {r.key: r.quantity for r in self.requirements}
        for target in sorted(set(self.wanted.values())) if there else ():
            opset = find_target(target).opset
            answers = self._ask(target, [some[index].files[opset] for index in there])
            for index, answer in zip(there, answers, strict=True):
                for key, asked in self.wanted.items():
                    if asked == target:
                        values[index][key] = measured_value(quantities[key], answer)
        return values

    def _ask(self, target: str, files: Sequence[bytes]) -> list[Measurement]:
        with tempfile.TemporaryDirectory(prefix="edgesynth-") as folder:
            paths = [Path(folder) / f"candidate-{index}.onnx" for index in range(len(files))]
            for path, content in zip(paths, files, strict=True):
                path.write_bytes(content)
            answers = self.screens[target].try_many(paths)
        for answer in answers:
            if isinstance(answer, DeviceError):
                raise answer
        return [answer for answer in answers if isinstance(answer, Measurement)]


def _failed(score: Score, why: str) -> Scored:
    return Scored(score.model_copy(update={"failure": why}), {})


def network_file(network: fx.GraphModule, example: Tensor, opset: int) -> bytes:
    """The content of its ONNX file. Raises ExportError."""
    with tempfile.TemporaryDirectory(prefix="edgesynth-") as folder:
        path = Path(folder) / "candidate.onnx"
        export_onnx(network, example, path, opset)
        return path.read_bytes()


def measured_value(quantity: str, measurement: Measurement) -> float | None:
    """The figure of a measurement that a requirement speaks of; None where it is unknown."""
    if quantity == "latency_ms":
        return None if measurement.latency_ms is None else measurement.latency_ms.mean
    if quantity == "energy_mj":
        return measurement.energy_mj
    return measurement.inferences_per_joule


def is_proof(measurement: Measurement) -> bool:
    """Whether its figures may decide about a requirement: on a board only those that the board gave."""
    if measurement.source != "estimated":
        return True
    # A run has looked all its boards up before. So one that is gone is a model of the user's that stood beside a board.
    target = TARGETS.get(measurement.target) or all_targets().get(measurement.target)
    return target is None or target.kind != "board"
