"""From a candidate to a FermiNet: inherit weights, distil, export, check against PyTorch, measure, judge."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, fx

from edgesynth.performance import LEAST_METRIC, netscore
from edgesynth.records import Measurement, Network
from edgesynth.requirements import METRICS, Requirement
from edgesynth.space.surgery import materialise
from edgesynth.synthesis.delivery import deliver
from edgesynth.synthesis.prototype import Prototype
from edgesynth.synthesis.scoring import RECALIBRATION, Score, measured_value
from edgesynth.synthesis.storage import load_weights, save_weights, write_json
from edgesynth.synthesis.training import Recipe, outputs, recalibrate, seed_of, train
from edgesynth.synthesis.workshop import Workshop

__all__ = ["Finisher", "read_test_metric"]


@dataclass(frozen=True)
class Finisher:
    """Finishes networks of one run. `epochs` of 0 leave the inherited weights as they are."""

    workshop: Workshop
    prototype: Prototype
    shared: Mapping[str, Tensor]
    epochs: int

    def __call__(self, score: Score, seed: int, cycle: int | None = None) -> Network:
        """Finish the candidate G(seed), of the generator before `cycle` or the learned one, unless it is on record.

        Deterministic on one CPU, but for what devices measure.
        """
        journal = self.workshop.journal
        recorded = journal.get("network", score.digest)
        if recorded is not None:
            return Network.model_validate(recorded)
        name = f"fermi-{score.digest[:6]}"
        module = self._train(score, name)
        network = self._describe(score, seed, cycle, name, module)
        journal.put("network", score.digest, network.model_dump(mode="json"))
        self._checkpoint(name).unlink(missing_ok=True)
        return network

    def _train(self, score: Score, name: str) -> fx.GraphModule:
        workshop = self.workshop
        module = materialise(workshop.space, score.genome, self.prototype.ranking, self.shared)
        recalibrate(module, workshop.train.images[:RECALIBRATION])
        if self.epochs > 0:
            workshop.progress.stage(f"finishing {name}: {score.macs:,} MACs, {score.params:,} parameters")
            train(
                module,
                workshop.task,
                workshop.train,
                Recipe(self.epochs),
                seed=seed_of(workshop.seed(4), int(score.digest, 16)),
                mirror=workshop.data.mirror,
                teacher=self.prototype.teacher,
                checkpoint=self._checkpoint(name),
                on_epoch=lambda done, loss: workshop.progress.epoch(name, done, self.epochs, loss),
            )
        return module

    def _describe(self, score: Score, seed: int, cycle: int | None, name: str, module: fx.GraphModule) -> Network:
        workshop = self.workshop
        folder = workshop.run / "networks" / name
        answers = outputs(module, workshop.data.val.images)
        metric = workshop.task.evaluate(answers, workshop.data.val.targets)
        save_weights(folder / "weights.safetensors", module)
        write_json(folder / "genome.json", score.genome.model_dump())
        parity, measurements = deliver(workshop, module, folder / "model.onnx", answers)
        values = _values(metric, score, measurements, workshop.requirements)
        verdicts = {r.text: r.met(values.get(r.key), self.prototype.values.get(r.key)) for r in workshop.requirements}
        return Network(
            name=name,
            seed=seed,
            cycle=cycle,
            epochs=self.epochs,
            genome=score.genome,
            genome_digest=score.digest,
            val_metric=metric,
            test_metric=None,
            params=score.params,
            macs=score.macs,
            netscore=netscore(max(metric, LEAST_METRIC), score.params, score.macs),
            onnx=f"networks/{name}/model.onnx",
            parity=parity,
            measurements=measurements,
            satisfied=all(verdict is True for verdict in verdicts.values()),
            requirements=verdicts,
        )

    def _checkpoint(self, name: str) -> Path:
        return self.workshop.run / "checkpoints" / f"{name}-{self.epochs}-epochs.safetensors"


def _values(
    metric: float, score: Score, measurements: Sequence[Measurement], requirements: Sequence[Requirement]
) -> dict[str, float | None]:
    """A finished network's figures by requirement key; what a target could not tell is None."""
    by_target = {measurement.target: measurement for measurement in measurements}
    values: dict[str, float | None] = dict.fromkeys(METRICS, metric)
    values |= {"macs": float(score.macs), "params": float(score.params)}
    for requirement in requirements:
        if requirement.target is not None:
            values[requirement.key] = measured_value(requirement.quantity, by_target[requirement.target])
    return values


def read_test_metric(workshop: Workshop, network: Network, prototype: Prototype) -> float:
    """The metric on the test split, read once per network and kept in the journal."""
    recorded = workshop.journal.get("test", network.genome_digest)
    if recorded is None:
        module = materialise(workshop.space, network.genome, prototype.ranking)
        module.load_state_dict(load_weights(workshop.run / "networks" / network.name / "weights.safetensors"))
        test = workshop.data.test
        recorded = workshop.task.evaluate(outputs(module, test.images), test.targets)
        workshop.journal.put("test", network.genome_digest, recorded)
    return float(recorded)
