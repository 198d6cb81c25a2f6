"""A whole run: prototype → shared weights → learned generator → FermiNets → results."""

from collections.abc import Sequence

from edgesynth.errors import RunError
from edgesynth.records import Network, Results
from edgesynth.requirements import parse_requirements
from edgesynth.synthesis.batch import SYNTHESIS, finish
from edgesynth.synthesis.bench import Bench, networks_of, prepare
from edgesynth.synthesis.conditions import Conditions, Demand
from edgesynth.synthesis.executors import Executor
from edgesynth.synthesis.journal import Journal
from edgesynth.synthesis.judging import ask_again
from edgesynth.synthesis.learning import learn
from edgesynth.synthesis.progress import Progress
from edgesynth.synthesis.question import Question, recorded_question
from edgesynth.synthesis.results import write_results
from edgesynth.synthesis.workshop import WAIT_S, open_workshop

__all__ = ["generate", "own_networks", "record_own", "synthesize"]

FINISHED_LATER = "finished later"
"""Kind of the journal's facts that hold networks which a resumed synthesis finished after the first had ended."""


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
        bench = prepare(workshop)
        _ask_again(bench)
        cycles = learn(bench)
        own = finish(bench, SYNTHESIS, question.seed, question.count, question.epochs)
        record_own(journal, own)
        return write_results(bench, cycles)


def own_networks(journal: Journal, results: Results) -> list[Network]:
    """The networks that `synthesize` finished, without those that `generate` added later."""
    own = _own_digests(journal)
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
        bench = prepare(workshop)
        _ask_again(bench)
        cycles = learn(bench)
        texts = "" if asked is None else "".join(f" {requirement.text}" for requirement in asked)
        batch = finish(bench, f"generate seed={seed} count={count} epochs={epochs}{texts}", seed, count, epochs)
        made = {network.genome_digest for network in batch}
        results = write_results(bench, cycles)
    return [network for network in results.networks if network.genome_digest in made]


def record_own(journal: Journal, own: Sequence[Network]) -> None:
    """Keep which networks `synthesize` finished. What it finishes when it is resumed joins those that it did before:
    a board may have said meanwhile that those do not meet the requirements."""
    known, digests = _own_digests(journal), [network.genome_digest for network in own]
    if journal.get("run", "finished") is None:
        journal.put("run", "finished", digests)
    elif not known.issuperset(digests):
        journal.put(FINISHED_LATER, str(len(journal.all(FINISHED_LATER))), digests)


def _own_digests(journal: Journal) -> set[str]:
    first = journal.get("run", "finished") or []
    return set(first).union(*journal.all(FINISHED_LATER))


def _ask_again(bench: Bench) -> None:
    """Have boards measure what they missed when an earlier process finished it."""
    for network in networks_of(bench):
        file, asked = bench.workshop.run / network.onnx, parse_requirements(network.requirements)
        ask_again(bench.workshop, network.genome_digest, file, network.measurements, asked)
