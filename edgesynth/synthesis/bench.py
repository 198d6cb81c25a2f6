"""What the later stages of a run share: the prepared prototype, the scorer, the learner, and what is known so far."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from edgesynth.records import Genome, Network
from edgesynth.space.genome import digest
from edgesynth.synthesis.conditions import Conditions
from edgesynth.synthesis.generator import Generator
from edgesynth.synthesis.inquisitor import Evidence, Inquisitor
from edgesynth.synthesis.journal import Journal
from edgesynth.synthesis.judging import recorded_networks
from edgesynth.synthesis.loop import Learner, spread_genomes
from edgesynth.synthesis.modelled import modelled_targets
from edgesynth.synthesis.objective import Objective
from edgesynth.synthesis.prototype import Prototype, prepare_prototype
from edgesynth.synthesis.scoring import Adaptation, Score, Scorer
from edgesynth.synthesis.selection import transfer_factor
from edgesynth.synthesis.settling import Order, settled, settles
from edgesynth.synthesis.shared import train_shared
from edgesynth.synthesis.storage import digest_of, load_weights, to_bytes, write_file
from edgesynth.synthesis.workshop import Workshop, smallest

__all__ = ["Bench", "known_score", "least", "networks_of", "prepare", "transfer_of"]

POOL = 32
"""Networks that shared weights are trained through."""


@dataclass
class Bench:
    """What the later stages share."""

    workshop: Workshop
    prototype: Prototype
    shared: dict[str, Tensor]
    scorer: Scorer
    learner: Learner

    def score(self, genomes: Sequence[Genome]) -> list[Score]:
        """Scores from the journal where it has them, else worked out and recorded one by one."""
        journal, progress = self.workshop.journal, self.workshop.progress
        unique = {digest(genome): genome for genome in genomes}
        missing = [genome for key, genome in unique.items() if journal.get("score", key) is None]
        progress.scored(0, len(missing))
        for done, score in enumerate(self.scorer.scores(missing, self.workshop.executor), start=1):
            journal.put("score", score.digest, score.model_dump(mode="json"))
            if score.failure is not None:
                progress.note(f"network {score.digest} cannot be scored and is passed over: {score.failure}")
            progress.scored(done, len(missing))
        return [Score.model_validate(journal.get("score", digest(genome))) for genome in genomes]

    def settle(self, batch: str, count: int, first_seed: int, scores: Sequence[Score], order: Order) -> list[Score]:
        """Scores with what boards say of the `count` that the order would put first. Recorded: a batch that was
        interrupted chooses by the same figures again."""
        if not settles(self.scorer):
            return list(scores)
        journal, name = self.workshop.journal, f"{batch} from {first_seed}"
        known = journal.get("settled", name)
        if known is None:
            known = {score.digest: score.on_target for score in settled(self.scorer, scores, order, count)}
            journal.put("settled", name, known)
        return [s.model_copy(update={"on_target": known.get(s.digest, s.on_target)}) for s in scores]


def prepare(workshop: Workshop) -> Bench:
    """All of it: trains the prototype and the shared weights where the journal has none."""
    workshop.progress.work("prototype")
    prototype = prepare_prototype(workshop)
    space, costs = workshop.space, workshop.costs
    conditions = Conditions(workshop.question.parsed(), prototype.values, least(workshop))
    generator = Generator(space.groups, space.blocks, costs, conditions, workshop.seed(2))
    evidence = Evidence(space.groups, space.blocks, prototype.ranking)
    inquisitor = Inquisitor(space.groups, space.blocks, costs, evidence, workshop.seed(3))
    objective = Objective(
        demand=workshop.requirements,
        prototype=prototype.values,
        prototype_scored=prototype.scored,
        prototype_finished=prototype.info.val_metric,
        costs=costs,
        conditions=conditions,
        performance=workshop.question.performance,
        modelled=modelled_targets(space, costs, workshop.requirements, prototype.values, workshop.progress.note),
    )
    learner = Learner(generator, inquisitor, objective, workshop.seed(5))
    shared = _shared_weights(workshop, prototype, generator)
    adaptation = Adaptation.of(workshop.task, workshop.train, prototype.teacher, workshop.data.mirror, workshop.seed(8))
    scorer = Scorer(
        space=space,
        ranking=prototype.ranking,
        shared=shared,
        task=workshop.task,
        adaptation=adaptation,
        scoring=workshop.scoring,
        requirements=workshop.requirements,
        screens=workshop.screens,
    )
    return Bench(workshop, prototype, shared, scorer, learner)


def _shared_weights(workshop: Workshop, prototype: Prototype, untrained: Generator) -> dict[str, Tensor]:
    path = workshop.run / "shared.safetensors"
    trained = workshop.journal.get("shared", "trained")
    if trained is not None:
        return load_weights(path, trained["digest"])
    epochs = workshop.question.epochs
    workshop.progress.work("shared")
    workshop.progress.stage("training weights that all candidates share")
    shared = train_shared(
        workshop.space,
        prototype.ranking,
        _pool(workshop, untrained),
        workshop.task,
        workshop.train,
        prototype.teacher,
        epochs=epochs,
        seed=workshop.seed(6),
        mirror=workshop.data.mirror,
        on_epoch=lambda done, loss: workshop.progress.epoch("shared weights", done, epochs, loss),
    )
    write_file(path, to_bytes(shared))
    workshop.journal.put("shared", "trained", {"digest": digest_of(shared)})
    return shared


def _pool(workshop: Workshop, untrained: Generator) -> list[Genome]:
    """Genomes over the sizes that the requirements leave open: training larger ones would be time lost."""
    genomes = spread_genomes(untrained, workshop.seed(7), 6 * POOL)
    caps = [requirement for requirement in workshop.requirements if requirement.operator == "<="]
    roomy = [g for g in genomes if untrained.conditions.fits(caps, workshop.costs.of(g), slack=1.5)]
    by_size = sorted(roomy or genomes, key=lambda g: workshop.costs.of(g).macs, reverse=True)
    last = len(by_size) - 1
    return [by_size[round(i * last / (POOL - 1))] for i in range(POOL)] if last >= POOL else by_size


def least(workshop: Workshop) -> dict[str, float]:
    """The sizes of the smallest network of the space, by requirement key."""
    costs = smallest(workshop.space, workshop.costs)
    return {"macs": float(costs.macs), "params": float(costs.params)}


def networks_of(bench: Bench) -> list[Network]:
    """All that were finished, with what boards have said of them since."""
    return recorded_networks(bench.workshop.journal, bench.prototype.proven)


def known_score(journal: Journal, key: str) -> Score:
    """The score of a genome that was scored, by its digest."""
    return Score.model_validate(journal.get("score", key))


def transfer_of(bench: Bench, networks: Sequence[Network]) -> float:
    """How much of a fall in score is left after finishing, by the networks that were finished in full."""
    unique = {network.genome_digest: network for network in networks}
    # One that was finished by another recipe, or not at all, says nothing about this one.
    epochs = bench.workshop.question.epochs
    pairs = [
        (known_score(bench.workshop.journal, key), network)
        for key, network in unique.items()
        if network.epochs == epochs
    ]
    return transfer_factor(pairs, bench.prototype.scored, bench.prototype.info.val_metric)
