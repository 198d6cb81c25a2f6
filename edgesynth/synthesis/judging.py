"""A finished network against its requirements, also after a board has said later what it could not say at first."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from edgesynth_exporters.targets import find_target

from edgesynth.records import Measurement, Network
from edgesynth.requirements import METRICS, Requirement, parse_requirements
from edgesynth.synthesis.delivery import trace_in
from edgesynth.synthesis.journal import Journal
from edgesynth.synthesis.scoring import is_proof, measured_value
from edgesynth.synthesis.workshop import Workshop

__all__ = ["ask_again", "judged", "recorded_network", "recorded_networks", "with_later"]

MEASURED_LATER = "measured later"
"""Kind of the journal's facts that `ask_again` records: measurements, by what was measured and the target."""


def judged(network: Network, proven: Mapping[str, float]) -> Network:
    """With the verdict about each of its own requirements. `proven` are the prototype's figures by requirement key.

    About what a target could not tell, or a board did not measure, the verdict is None: neither met nor missed.
    """
    by_target = {measurement.target: measurement for measurement in network.measurements}
    values: dict[str, float | None] = dict.fromkeys(METRICS, network.val_metric)
    values |= {"macs": float(network.macs), "params": float(network.params)}
    verdicts: dict[str, bool | None] = {}
    for requirement in parse_requirements(network.requirements):
        if requirement.target is not None:
            told = by_target[requirement.target]
            values[requirement.key] = measured_value(requirement.quantity, told) if is_proof(told) else None
        verdicts[requirement.text] = requirement.met(values[requirement.key], proven.get(requirement.key))
    met = all(verdict is True for verdict in verdicts.values())
    return network.model_copy(update={"requirements": verdicts, "satisfied": met})


def recorded_network(journal: Journal, digest: str, proven: Mapping[str, float]) -> Network | None:
    """The finished network of that genome as it is known now, or None."""
    recorded = journal.get("network", digest)
    return None if recorded is None else _known_now(journal, Network.model_validate(recorded), proven)


def recorded_networks(journal: Journal, proven: Mapping[str, float]) -> list[Network]:
    """All finished networks as they are known now, in the order of finishing."""
    return [_known_now(journal, Network.model_validate(each), proven) for each in journal.all("network")]


def _known_now(journal: Journal, network: Network, proven: Mapping[str, float]) -> Network:
    measurements = with_later(journal, network.genome_digest, network.measurements)
    return judged(network.model_copy(update={"measurements": measurements}), proven)


def with_later(journal: Journal, what: str, measurements: Sequence[Measurement]) -> list[Measurement]:
    """Each as it was recorded with `what`, a genome's digest or "prototype", or as its board measured it later."""
    later = {each.target: journal.get(MEASURED_LATER, _key(what, each.target)) for each in measurements}
    return [
        each if later[each.target] is None else Measurement.model_validate(later[each.target]) for each in measurements
    ]


def ask_again(
    workshop: Workshop, what: str, onnx: Path, measurements: Sequence[Measurement], requirements: Sequence[Requirement]
) -> list[Measurement]:
    """Ask the boards that did not measure this file when it was new, or could not tell what the requirements ask, and
    record what they say now.

    A board that does not answer this time either changes nothing, and is not asked again by this process.
    """
    for each in measurements:
        # A model that stood beside a board may have been replaced since: what it estimated stays as it was.
        oracle = None if _tells(each, requirements) else workshop.oracles[each.target]
        if oracle is None or not oracle.alive():
            continue
        measured = trace_in(workshop.run, oracle.measure(onnx))
        if _tells(measured, requirements):
            workshop.journal.put(MEASURED_LATER, _key(what, each.target), measured.model_dump(mode="json"))
            workshop.progress.note(f"{onnx.parent.name}: {each.target} has measured it now")
    return with_later(workshop.journal, what, measurements)


def _tells(measurement: Measurement, requirements: Sequence[Requirement]) -> bool:
    """Whether a board has said all that the requirements ask it; for other targets there is nothing to wait for."""
    if measurement.source == "estimated":
        return is_proof(measurement)
    if find_target(measurement.target).kind != "board":
        return True
    asked = [r.quantity for r in requirements if r.target == measurement.target]
    return all(measured_value(quantity, measurement) is not None for quantity in asked)


def _key(what: str, target: str) -> str:
    return f"{what} {target}"
