"""A batch of FermiNets from a learned generator: candidates are chosen and finished until enough meet everything."""

from functools import partial
from itertools import islice

from edgesynth.errors import ToolError
from edgesynth.records import Network
from edgesynth.synthesis.bench import Bench, networks_of, transfer_of
from edgesynth.synthesis.finishing import Finisher
from edgesynth.synthesis.selection import Candidate, Selection
from edgesynth.synthesis.workshop import Workshop

__all__ = ["SYNTHESIS", "finish"]

SYNTHESIS = "synthesis"
"""Name of the batch of networks that a synthesis finishes itself."""
ATTEMPTS_A_NETWORK = 2


def finish(bench: Bench, batch: str, first_seed: int, count: int, epochs: int) -> list[Network]:
    """Finish candidates until `count` of the batch meet everything, or the attempts are used up; all of the batch.

    A batch that was interrupted goes through the same candidates again and finds what is finished in the journal.
    """
    workshop, learner = bench.workshop, bench.learner
    journal, progress = workshop.journal, workshop.progress
    known_before = journal.get("batch", batch)
    if known_before is None:
        known_before = [network.genome_digest for network in networks_of(bench)]
        journal.put("batch", batch, known_before)
    before = [network for network in networks_of(bench) if network.genome_digest in known_before]
    # The pilot is a network of the synthesis like any other; those of earlier batches are not this batch's.
    done = list(before) if batch == SYNTHESIS else []
    learner.objective.transfer = transfer_of(bench, before)
    taken = [network.genome for network in before]
    selection = Selection(learner, bench.score, first_seed, count, taken, partial(bench.settle, batch, count))
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
        learner.objective.transfer = transfer_of(bench, [*before, *done])
    if failed and not done:
        raise ToolError(f"none of the {failed} networks that were tried could be finished: {journal.all('failed')[-1]}")
    return done


def _finished_otherwise(workshop: Workshop, candidate: Candidate, epochs: int) -> bool:
    """Whether the run has this network already, trained for another number of epochs or judged by other requirements,
    as in a batch that came in between when this one was interrupted."""
    recorded = workshop.journal.get("network", candidate.score.digest)
    texts = {requirement.text for requirement in workshop.requirements}
    return recorded is not None and (recorded["epochs"] != epochs or recorded["requirements"].keys() != texts)
