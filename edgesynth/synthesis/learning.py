"""Learning the generator, in cycles that a resumed run does not repeat; a pilot network on the way."""

from collections.abc import Sequence

from edgesynth.errors import RunError
from edgesynth.records import Cycle
from edgesynth.requirements import METRICS
from edgesynth.synthesis.bench import Bench, known_score, least, transfer_of
from edgesynth.synthesis.finishing import Finisher
from edgesynth.synthesis.generator_file import save_generator
from edgesynth.synthesis.objective import SATISFIED
from edgesynth.synthesis.selection import Selection
from edgesynth.synthesis.storage import from_bytes, to_bytes
from edgesynth.synthesis.workshop import Workshop

__all__ = ["learn"]

FLAT_CYCLES, FLAT_U = 5, 0.1
"""Learning stops early when SATISFIED of the seeds meet everything and mean U rose less than this in so many cycles."""
PILOT_AFTER = 3
"""The pilot network is finished after this part of the cycles: a third."""


def learn(bench: Bench) -> list[Cycle]:
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


def _restore(bench: Bench, cycle: str) -> None:
    journal = bench.workshop.journal
    fact, state = journal.get("cycle", cycle), journal.data("cycle", cycle)
    if fact is None or state is None:
        raise RunError(f"the journal of {journal.run} lacks the state of cycle {cycle}: it is damaged")
    bench.learner.restore(from_bytes(state), [known_score(journal, key) for key in fact["known"]])


def _transfer_matters(workshop: Workshop) -> bool:
    """Whether it makes a difference how a fall in score carries over. Where nothing but the metric is to be great, and
    no requirement is a bound on it, the order of networks is the same for any factor."""
    question = workshop.question
    return question.performance != "metric" or any(r.quantity in METRICS for r in question.parsed())


def _pilot(bench: Bench, cycle: int) -> None:
    """Finish the most promising network early, so that the rest of learning knows what finishing does."""
    workshop = bench.workshop
    workshop.progress.work("pilot")
    workshop.progress.note("a pilot network: finishing it tells how a fall in score carries over")
    finisher = Finisher(workshop, bench.prototype, bench.shared, workshop.question.epochs)
    for candidate in Selection(bench.learner, bench.score, workshop.question.seed, 1):
        network = finisher(candidate, cycle)
        if network is None:
            continue
        bench.learner.objective.transfer = transfer_of(bench, [network])
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


def _save_generator(bench: Bench) -> None:
    workshop, prototype = bench.workshop, bench.prototype
    values, sizes = prototype.values, least(workshop)
    digest = save_generator(workshop.run, bench.learner.generator, workshop.question.prototype, values, sizes)
    workshop.journal.put("generator", "learned", {"digest": digest})
