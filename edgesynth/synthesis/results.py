"""The record of a whole run: results.json."""

from collections.abc import Sequence

import edgesynth
from edgesynth.errors import RunError
from edgesynth.records import Cycle, GeneratorInfo, Insight, Network, PrototypeInfo, Results
from edgesynth.synthesis.bench import Bench, known_score, networks_of, transfer_of
from edgesynth.synthesis.finishing import read_test_metric
from edgesynth.synthesis.generator_file import GENERATOR
from edgesynth.synthesis.insight import insight
from edgesynth.synthesis.question import Question
from edgesynth.synthesis.rungs import rungs
from edgesynth.synthesis.scoring import is_proof
from edgesynth.synthesis.selection import DRAWN
from edgesynth.synthesis.storage import digest_of, write_json
from edgesynth.synthesis.training import outputs

__all__ = ["RESULTS", "write_results"]

RESULTS = "results.json"


def write_results(bench: Bench, cycles: list[Cycle]) -> Results:
    """The record of the whole run. Here, and only here, the test split is read, once per network."""
    workshop = bench.workshop
    for network in networks_of(bench):
        if not (workshop.run / network.onnx).is_file():
            raise RunError(f"{workshop.run / network.onnx} is gone: bring it back, or start a new run")
    networks = [
        network.model_copy(update={"test_metric": read_test_metric(workshop, network, bench.prototype)})
        for network in networks_of(bench)
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
            transfer=transfer_of(bench, networks),
            rungs=rungs(networks),
            insight=_insight(bench),
        ),
        networks=networks,
        warnings=_warnings(workshop.question, [bench.prototype.info, *networks]),
    )
    write_json(workshop.run / RESULTS, results.model_dump(mode="json"))
    return results


def _insight(bench: Bench) -> Insight:
    """What was known at the end of learning; its seeds are those that networks are first chosen from."""
    learner, first = bench.learner, bench.workshop.question.seed
    genomes = learner.generator.generate(range(first, first + DRAWN))
    scores = [known_score(bench.workshop.journal, key) for key in learner.known]
    return insight(learner.inquisitor, bench.prototype.info, genomes, scores)


def _warnings(question: Question, networks: Sequence[PrototypeInfo | Network]) -> list[str]:
    """What a reader of the figures should know; the prototype's too, since bounds go by them."""
    warnings = []
    if question.weights is not None:
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


def _prototype_test_metric(bench: Bench) -> float:
    workshop = bench.workshop
    recorded = workshop.journal.get("test", "prototype")
    if recorded is None:
        test = workshop.data.test
        recorded = workshop.task.evaluate(outputs(workshop.space.module, test.images), test.targets)
        workshop.journal.put("test", "prototype", recorded)
    return float(recorded)
