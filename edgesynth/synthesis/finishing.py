"""From a candidate to a FermiNet: inherit weights, distil, export, check against PyTorch, measure, judge."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from torch import Tensor

from edgesynth.data.source import Split
from edgesynth.errors import DeviceError, ExportError
from edgesynth.performance import LEAST_METRIC, netscore
from edgesynth.records import Measurement, Network, Parity
from edgesynth.space.surgery import materialise
from edgesynth.synthesis.delivery import PARITY_IMAGES, deliver
from edgesynth.synthesis.finetuning import Finetuned, Finetuning, Unusable, checkpoint_files, name_of
from edgesynth.synthesis.judging import judged, recorded_network
from edgesynth.synthesis.prototype import Prototype
from edgesynth.synthesis.scoring import RECALIBRATION, Score
from edgesynth.synthesis.selection import Candidate
from edgesynth.synthesis.storage import digest_of, from_bytes, load_weights, write_file, write_json
from edgesynth.synthesis.training import outputs
from edgesynth.synthesis.workshop import Workshop

__all__ = ["Finisher", "read_test_metric"]


@dataclass(frozen=True)
class Finisher:
    """Finishes networks of one run. `epochs` of 0 leave the inherited weights as they are.

    Training goes through the workshop's executor; export, parity and measurements are this machine's.
    """

    workshop: Workshop
    prototype: Prototype
    shared: Mapping[str, Tensor]
    epochs: int

    def __call__(self, candidate: Candidate, cycle: int | None = None) -> Network | None:
        """Finish one candidate as `many` does."""
        (network,) = self.many([candidate], cycle)
        return network

    def many(self, candidates: Sequence[Candidate], cycle: int | None = None) -> Iterator[Network | None]:
        """Finish candidates, in their order: each G(seed), of the generator before `cycle` or the learned one.

        None for one that cannot be finished, which is a fact of the run like any other. What is on record is not done
        again. Deterministic on one CPU and for one number of threads, but for what devices measure.
        """
        training = self._trained([c.score for c in candidates if not self._is_trained(c.score)])
        if self.workshop.executor.place != "process":
            # A measurement beside other processes that train would be of no use.
            for _ in training:
                pass
        for candidate in candidates:
            if not self._is_trained(candidate.score):
                next(training)
            yield self._delivered(candidate, cycle)

    def _is_trained(self, score: Score) -> bool:
        keys = [("network", score.digest), ("failed", score.digest), ("trained", self._key(score))]
        return any(self.workshop.journal.get(*key) is not None for key in keys)

    def _trained(self, scores: Sequence[Score]) -> Iterator[None]:
        """Train one after the other, and record each as soon as it is known."""
        workshop = self.workshop
        outcomes = workshop.executor.map(self._finetuning, self._announced(scores))
        for score, outcome in zip(scores, outcomes, strict=True):
            if isinstance(outcome, Unusable):
                self._fail(score, outcome.reason)
            else:
                self._record(score, outcome)
            for path in checkpoint_files(workshop.run / "checkpoints", name_of(score), self.epochs):
                path.unlink(missing_ok=True)
            yield

    def _announced(self, scores: Sequence[Score]) -> Iterator[Score]:
        for score in scores:
            if self.epochs > 0:
                self.workshop.progress.stage(
                    f"finishing {name_of(score)}: {score.macs:,} MACs, {score.params:,} parameters"
                )
            yield score

    def _record(self, score: Score, trained: Finetuned) -> None:
        workshop = self.workshop
        write_file(workshop.run / "networks" / name_of(score) / "weights.safetensors", trained.weights)
        fact = {"digest": digest_of(from_bytes(trained.weights)), "metric": trained.metric, "scores": trained.scores}
        workshop.journal.put("trained", self._key(score), fact)
        if workshop.executor.place != "process" and self.epochs > 0:
            workshop.progress.note(f"{name_of(score)}: trained, {trained.metric:.2%} on validation")

    def _delivered(self, candidate: Candidate, cycle: int | None) -> Network | None:
        journal, score = self.workshop.journal, candidate.score
        recorded = recorded_network(journal, score.digest, self.prototype.proven)
        if recorded is not None:
            return recorded
        if journal.get("failed", score.digest) is None:
            try:
                network = self._describe(candidate, cycle)
            except (ExportError, DeviceError) as error:
                if isinstance(error, DeviceError) and not self._devices_are_well():
                    raise
                self._fail(score, str(error))
            else:
                journal.put("network", score.digest, network.model_dump(mode="json"))
                return network
        reason = journal.get("failed", score.digest)
        self.workshop.progress.note(f"{name_of(score)} cannot be finished and is passed over: {reason}")
        return None

    def _describe(self, candidate: Candidate, cycle: int | None) -> Network:
        workshop, score = self.workshop, candidate.score
        name = name_of(score)
        folder = workshop.run / "networks" / name
        trained = workshop.journal.get("trained", self._key(score)) or {}
        metric = trained["metric"]
        parity, measurements = self._deliver(score, trained["digest"])
        write_json(folder / "genome.json", score.genome.model_dump())
        network = Network(
            name=name,
            seed=candidate.seed,
            cycle=cycle,
            epochs=self.epochs,
            genome=score.genome,
            genome_digest=score.digest,
            val_metric=metric,
            test_metric=None,
            params=score.params,
            macs=score.macs,
            netscore=netscore(max(metric, LEAST_METRIC), score.params, score.macs),
            scores={**trained["scores"], "predicted": candidate.predicted},
            onnx=f"networks/{name}/model.onnx",
            parity=parity,
            measurements=measurements,
            satisfied=False,
            requirements=dict.fromkeys(requirement.text for requirement in workshop.requirements),
        )
        return judged(network, self.prototype.proven)

    def _deliver(self, score: Score, digest: str) -> tuple[Parity, list[Measurement]]:
        workshop = self.workshop
        folder = workshop.run / "networks" / name_of(score)
        module = materialise(workshop.space, score.genome, self.prototype.ranking)
        module.load_state_dict(load_weights(folder / "weights.safetensors", digest))
        answers = outputs(module, workshop.data.val.images[:PARITY_IMAGES])
        return deliver(workshop, module, folder / "model.onnx", answers)

    def _devices_are_well(self) -> bool:
        """Whether every target still answers about the prototype, as it has done before: then the network is to blame
        for what a device cannot do."""
        try:
            for oracle in self.workshop.oracles.values():
                oracle.measure(self.workshop.run / (self.prototype.info.onnx or ""))
        except DeviceError:
            return False
        return True

    def _fail(self, score: Score, reason: str) -> None:
        self.workshop.journal.put("failed", score.digest, reason)

    def _key(self, score: Score) -> str:
        return f"{score.digest} {self.epochs} epochs"

    @cached_property
    def _finetuning(self) -> Finetuning:
        workshop = self.workshop
        return Finetuning(
            space=workshop.space,
            ranking=self.prototype.ranking,
            shared=self.shared,
            task=workshop.task,
            train=workshop.train,
            # A part of a tensor is pickled with the whole of it, a copy is not.
            calibration=workshop.train.images[:RECALIBRATION].clone(),
            scoring=Split(workshop.scoring.images.clone(), workshop.scoring.targets.clone()),
            val=workshop.data.val,
            teacher=self.prototype.teacher,
            mirror=workshop.data.mirror,
            epochs=self.epochs,
            seed=workshop.seed(4),
            checkpoints=None if workshop.executor.place == "cluster" else workshop.run / "checkpoints",
            on_epoch=lambda name, done, loss: workshop.progress.epoch(name, done, self.epochs, loss),
        )


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
