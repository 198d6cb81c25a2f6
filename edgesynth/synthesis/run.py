"""A whole run: prototype → shared weights → learned generator → FermiNets → results."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

from torch import Tensor

import edgesynth
from edgesynth.errors import RunError, ToolError
from edgesynth.records import Cycle, GeneratorInfo, Genome, Insight, Network, Results
from edgesynth.requirements import METRICS
from edgesynth.space.genome import digest
from edgesynth.synthesis.conditions import Conditions, Demand
from edgesynth.synthesis.executors import Executor
from edgesynth.synthesis.finishing import Finisher, read_test_metric
from edgesynth.synthesis.generator import Generator
from edgesynth.synthesis.generator_file import GENERATOR, save_generator
from edgesynth.synthesis.inquisitor import Evidence, Inquisitor
from edgesynth.synthesis.insight import insight
from edgesynth.synthesis.journal import Journal
from edgesynth.synthesis.judging import ask_again, recorded_networks
from edgesynth.synthesis.loop import Learner, spread_genomes
from edgesynth.synthesis.modelled import modelled_targets
from edgesynth.synthesis.objective import SATISFIED, Objective
from edgesynth.synthesis.progress import Progress
from edgesynth.synthesis.prototype import Prototype, prepare_prototype
from edgesynth.synthesis.question import Question, recorded_question
from edgesynth.synthesis.rungs import rungs
from edgesynth.synthesis.scoring import Adaptation, Score, Scorer, is_proof
from edgesynth.synthesis.selection import DRAWN, Candidate, Selection, transfer_factor
from edgesynth.synthesis.shared import train_shared
from edgesynth.synthesis.storage import digest_of, from_bytes, load_weights, to_bytes, write_file, write_json
from edgesynth.synthesis.training import outputs
from edgesynth.synthesis.workshop import WAIT_S, Workshop, open_workshop, smallest

__all__ = ["RESULTS", "generate", "own_networks", "synthesize"]

RESULTS = "results.json"
SYNTHESIS = "synthesis"
"""Name of the batch of networks that `synthesize` finishes."""
POOL = 32
"""Networks that shared weights are trained through."""
FLAT_CYCLES, FLAT_U = 5, 0.1
"""Learning stops early when SATISFIED of the seeds meet everything and mean U rose less than this in so many cycles."""
PILOT_AFTER = 3
"""The pilot network is finished after this part of the cycles: a third."""
ATTEMPTS_A_NETWORK = 2


def synthesize(
    question: Question,
    journal: Journal,
    progress: Progress,
    executor: Executor | None = None,
    wait_s: float = WAIT_S,
) -> Results:
    """Answer the question, or go on answering it, and write results.json.

    Candidates are scored and trained by the executor, which must be entered; in this process where there is none.
    A board that is gone is waited for, `wait_s` at most each time.

    Raises the EdgesynthError of what is wrong; what was found out before is in the journal and not done again.
    """
    with open_workshop(question, journal, progress, executor, wait_s=wait_s) as workshop:
        bench = _prepare(workshop)
        _ask_again(bench)
        cycles = _learn(bench)
        own = _finish(bench, SYNTHESIS, question.seed, question.count, question.epochs)
        _record_finished(journal, own)
        return _write_results(bench, cycles)


def own_networks(journal: Journal, results: Results) -> list[Network]:
    """The networks that `synthesize` finished, without those that `generate` added later."""
    own = journal.get("run", "finished") or []
    return [network for network in results.networks if network.genome_digest in own]


def generate(
    journal: Journal,
    count: int,
    seed: int,
    epochs: int | None,
    asked: Demand | None,
    progress: Progress,
    executor: Executor | None = None,
    wait_s: float = WAIT_S,
) -> list[Network]:
    """More networks from the generator that a run has learned, without learning again; results.json gains them.

    `asked` are the requirements to meet instead of the run's. Raises RunError where the generator has no input for one.
    """
    question = recorded_question(journal)
    if journal.get("run", "finished") is None:
        raise RunError(f"{journal.run} is not finished: go on with edgesynth synth --resume --out {journal.run} first")
    epochs = question.epochs if epochs is None else epochs
    Conditions(question.parsed(), {}, {}).check(asked or ())
    with open_workshop(question, journal, progress, executor, asked, wait_s) as workshop:
        bench = _prepare(workshop)
        _ask_again(bench)
        cycles = _learn(bench)
        texts = "" if asked is None else "".join(f" {requirement.text}" for requirement in asked)
        batch = _finish(bench, f"generate seed={seed} count={count} epochs={epochs}{texts}", seed, count, epochs)
        made = {network.genome_digest for network in batch}
        results = _write_results(bench, cycles)
    return [network for network in results.networks if network.genome_digest in made]


@dataclass
class _Bench:
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


def _record_finished(journal: Journal, own: Sequence[Network]) -> None:
    if journal.get("run", "finished") is None:
        journal.put("run", "finished", [network.genome_digest for network in own])


def _prepare(workshop: Workshop) -> _Bench:
    workshop.progress.work("prototype")
    prototype = prepare_prototype(workshop)
    space, costs = workshop.space, workshop.costs
    conditions = Conditions(workshop.question.parsed(), prototype.values, _least(workshop))
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
    return _Bench(workshop, prototype, shared, scorer, learner)


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


def _learn(bench: _Bench) -> list[Cycle]:
    """Cycles of learning until the budget is spent or nothing more is gained; resumes after the last whole cycle."""
    workshop, learner = bench.workshop, bench.learner
    journal, budget = workshop.journal, workshop.question.cycles
    cycles = [Cycle.model_validate(value["cycle"]) for value in journal.all("cycle")]
    if cycles:
        _restore(bench, str(cycles[-1].cycle))
    if journal.get("generator", "learned") is not None:
        return cycles
    workshop.progress.work("learning")
    workshop.progress.stage(f"learning the generator, {budget} cycles at most")
    while len(cycles) < budget and not _is_flat(cycles):
        number = len(cycles)
        if number == max(2, budget // PILOT_AFTER) and _transfer_matters(workshop):
            _pilot(bench, number)
        cycle = learner.cycle(number, bench.score)
        fact = {"cycle": cycle.model_dump(mode="json"), "known": learner.known}
        journal.put("cycle", str(number), fact, to_bytes(learner.state()))
        cycles.append(cycle)
        workshop.progress.cycle(cycle, budget)
    _save_generator(bench)
    return cycles


def _restore(bench: _Bench, cycle: str) -> None:
    journal = bench.workshop.journal
    fact, state = journal.get("cycle", cycle), journal.data("cycle", cycle)
    if fact is None or state is None:
        raise RunError(f"the journal of {journal.run} lacks the state of cycle {cycle}: it is damaged")
    bench.learner.restore(from_bytes(state), [_known_score(journal, key) for key in fact["known"]])


def _transfer_matters(workshop: Workshop) -> bool:
    """Whether it makes a difference how a fall in score carries over. Where nothing but the metric is to be great, and
    no requirement is a bound on it, the order of networks is the same for any factor."""
    question = workshop.question
    return question.performance != "metric" or any(r.quantity in METRICS for r in question.parsed())


def _pilot(bench: _Bench, cycle: int) -> None:
    """Finish the most promising network early, so that the rest of learning knows what finishing does."""
    workshop = bench.workshop
    workshop.progress.work("pilot")
    workshop.progress.note("a pilot network: finishing it tells how a fall in score carries over")
    finisher = Finisher(workshop, bench.prototype, bench.shared, workshop.question.epochs)
    for candidate in Selection(bench.learner, bench.score, workshop.question.seed, 1):
        network = finisher(candidate, cycle)
        if network is None:
            continue
        bench.learner.objective.transfer = _transfer(bench, [network])
        workshop.progress.network(network, int(network.satisfied), workshop.question.count)
        break
    workshop.progress.work("learning")


def _is_flat(cycles: Sequence[Cycle]) -> bool:
    recent = cycles[-FLAT_CYCLES:]
    if len(cycles) <= FLAT_CYCLES or any(cycle.satisfied_share < SATISFIED for cycle in recent):
        return False
    # Networks that miss a requirement may well have a greater U: they are no measure for those that do not.
    before = [cycle.mean_u for cycle in cycles[:-FLAT_CYCLES] if cycle.satisfied_share >= SATISFIED]
    return bool(before) and max(cycle.mean_u for cycle in recent) - max(before) < FLAT_U


def _save_generator(bench: _Bench) -> None:
    workshop, prototype = bench.workshop, bench.prototype
    least = _least(workshop)
    digest = save_generator(workshop.run, bench.learner.generator, workshop.question.prototype, prototype.values, least)
    workshop.journal.put("generator", "learned", {"digest": digest})


def _least(workshop: Workshop) -> dict[str, float]:
    least = smallest(workshop.space, workshop.costs)
    return {"macs": float(least.macs), "params": float(least.params)}


def _finish(bench: _Bench, batch: str, first_seed: int, count: int, epochs: int) -> list[Network]:
    """Finish candidates until `count` of the batch meet everything, or the attempts are used up; all of the batch.

    A batch that was interrupted goes through the same candidates again and finds what is finished in the journal.
    """
    workshop, learner = bench.workshop, bench.learner
    journal, progress = workshop.journal, workshop.progress
    known_before = journal.get("batch", batch)
    if known_before is None:
        known_before = [network.genome_digest for network in _networks(bench)]
        journal.put("batch", batch, known_before)
    before = [network for network in _networks(bench) if network.genome_digest in known_before]
    # The pilot is a network of the synthesis like any other; those of earlier batches are not this batch's.
    done = list(before) if batch == SYNTHESIS else []
    learner.objective.transfer = _transfer(bench, before)
    selection = Selection(learner, bench.score, first_seed, count, [network.genome for network in before])
    finisher = Finisher(workshop, bench.prototype, bench.shared, epochs)
    fresh = (c for c in selection if not _finished_otherwise(workshop, c, epochs))
    failed = 0
    # Where a board did not answer, more networks would have no verdict either.
    while (wanted := count - sum(False not in network.requirements.values() for network in done)) > 0:
        # In rounds, in which nothing depends on what comes out first: any executor goes through the same candidates.
        progress.work("choosing")
        left = ATTEMPTS_A_NETWORK * count - len(done) - failed
        candidates = list(islice(fresh, min(wanted, left)))
        if not candidates:
            if left > 0:
                progress.note(f"no further network that is small enough and different from seed {first_seed} on")
            break
        progress.work("finishing")
        for network in finisher.many(candidates):
            if network is None:
                failed += 1
                continue
            done.append(network)
            progress.network(network, sum(network.satisfied for network in done), count)
        learner.objective.transfer = _transfer(bench, [*before, *done])
    if failed and not done:
        raise ToolError(f"none of the {failed} networks that were tried could be finished: {journal.all('failed')[-1]}")
    return done


def _finished_otherwise(workshop: Workshop, candidate: Candidate, epochs: int) -> bool:
    """Whether the run has this network already, trained for another number of epochs or judged by other requirements,
    as in a batch that came in between when this one was interrupted."""
    recorded = workshop.journal.get("network", candidate.score.digest)
    texts = {requirement.text for requirement in workshop.requirements}
    return recorded is not None and (recorded["epochs"] != epochs or recorded["requirements"].keys() != texts)


def _networks(bench: _Bench) -> list[Network]:
    return recorded_networks(bench.workshop.journal, bench.prototype.proven)


def _ask_again(bench: _Bench) -> None:
    """Have boards measure what they missed when an earlier process finished it."""
    for network in _networks(bench):
        ask_again(bench.workshop, network.genome_digest, bench.workshop.run / network.onnx, network.measurements)


def _known_score(journal: Journal, key: str) -> Score:
    return Score.model_validate(journal.get("score", key))


def _transfer(bench: _Bench, networks: Sequence[Network]) -> float:
    unique = {network.genome_digest: network for network in networks}
    # One that was finished by another recipe, or not at all, says nothing about this one.
    epochs = bench.workshop.question.epochs
    pairs = [
        (_known_score(bench.workshop.journal, key), network)
        for key, network in unique.items()
        if network.epochs == epochs
    ]
    return transfer_factor(pairs, bench.prototype.scored, bench.prototype.info.val_metric)


def _write_results(bench: _Bench, cycles: list[Cycle]) -> Results:
    """The record of the whole run. Here, and only here, the test split is read, once per network."""
    workshop = bench.workshop
    for network in _networks(bench):
        if not (workshop.run / network.onnx).is_file():
            raise RunError(f"{workshop.run / network.onnx} is gone: bring it back, or start a new run")
    networks = [
        network.model_copy(update={"test_metric": read_test_metric(workshop, network, bench.prototype)})
        for network in _networks(bench)
    ]
    results = Results(
        schema="edgesynth.results/1",
        version=edgesynth.__version__,
        seed=workshop.question.seed,
        data=workshop.data_info(),
        prototype=bench.prototype.info.model_copy(update={"test_metric": _prototype_test_metric(bench)}),
        requirements=[requirement.text for requirement in workshop.question.parsed()],
        performance=workshop.question.performance,
        generator=GeneratorInfo(
            file=GENERATOR,
            digest=digest_of(bench.learner.generator.state_dict()),
            conditions=list(bench.learner.generator.conditions.columns),
            cycles=cycles,
            transfer=_transfer(bench, networks),
            rungs=rungs(networks),
            insight=_insight(bench),
        ),
        networks=networks,
        warnings=_warnings(workshop, networks),
    )
    write_json(workshop.run / RESULTS, results.model_dump(mode="json"))
    return results


def _insight(bench: _Bench) -> Insight:
    """What was known at the end of learning; its seeds are those that networks are first chosen from."""
    learner, first = bench.learner, bench.workshop.question.seed
    genomes = learner.generator.generate(range(first, first + DRAWN))
    scores = [_known_score(bench.workshop.journal, key) for key in learner.known]
    return insight(learner.inquisitor, bench.prototype.info, genomes, scores)


def _warnings(workshop: Workshop, networks: Sequence[Network]) -> list[str]:
    """What a reader of the figures should know."""
    warnings = []
    if workshop.question.weights is not None:
        warnings.append(
            "the prototype came with weights: if they were trained on images that are validation or test images here, "
            "its figures, and the floors relative to them, are too high"
        )
    others = {m.target: m.engine.precision for n in networks for m in n.measurements if m.engine.precision != "fp32"}
    warnings += [
        f"{target} answers for {precision}; accuracy and parity were taken at fp32"
        for target, precision in others.items()
    ]
    played = dict.fromkeys(m.target for n in networks for m in n.measurements if m.source == "simulated")
    warnings += [f"the figures of {target} are simulated: they prove nothing about a real one" for target in played]
    unverified = dict.fromkeys(m.target for n in networks for m in n.measurements if not is_proof(m))
    warnings += [
        f"unverified: not every network was measured on {target}, its own record says why" for target in unverified
    ]
    return warnings


def _prototype_test_metric(bench: _Bench) -> float:
    workshop = bench.workshop
    recorded = workshop.journal.get("test", "prototype")
    if recorded is None:
        test = workshop.data.test
        recorded = workshop.task.evaluate(outputs(workshop.space.module, test.images), test.targets)
        workshop.journal.put("test", "prototype", recorded)
    return float(recorded)
