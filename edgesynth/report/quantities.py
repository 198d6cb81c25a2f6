"""What the page knows of each network: a value by the name that requirements use, and why one is missing."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from edgesynth.errors import RequirementError
from edgesynth.records import Interval, Measurement, Network, PrototypeInfo, Results
from edgesynth.report import numbers
from edgesynth.requirements import METRICS, parse_requirement

__all__ = [
    "Bound",
    "Subject",
    "best",
    "bounds",
    "counted",
    "energy_interval",
    "interval",
    "is_of_the_run",
    "is_positive",
    "last_measurement",
    "of_the_run",
    "subjects",
    "targets",
    "value_in",
    "value_of",
    "why_unknown",
    "written",
    "written_alike",
]

Subject = Network | PrototypeInfo

_UNITS = {
    "latency_ms": f"{numbers.SPACE}ms",
    "energy_mj": f"{numbers.SPACE}mJ",
    "inferences_per_joule": "\u00a0per J",
    "power_w": f"{numbers.SPACE}W",
}
_COUNTS = ("macs", "params")
_POWER_WORDS = ("power", "sensor", "joule", "energy", "rail")


@dataclass(frozen=True)
class Bound:
    """A requirement as this page can show it; `value` is None where the text is not understood or
    where it depends on something of the prototype that is unknown."""

    text: str
    quantity: str
    target: str | None
    operator: str
    value: float | None

    @property
    def sign(self) -> str:
        """The operator as a sign."""
        return {">=": "≥", "<=": "≤"}.get(self.operator, "")


def bounds(results: Results, texts: Iterable[str] | None = None) -> list[Bound]:
    """The texts as bounds, in the order given; without any, the requirements of the run.

    A text that does not parse keeps its place, without a bound.
    """
    return [_bound(text, results.prototype) for text in (results.requirements if texts is None else texts)]


def is_of_the_run(results: Results, network: Network) -> bool:
    """Whether a network was made for the requirements of the run; some were asked for others later."""
    return network.requirements.keys() == set(results.requirements)


def of_the_run(results: Results) -> list[Network]:
    """The networks that were made for the requirements of the run."""
    return [network for network in results.networks if is_of_the_run(results, network)]


def counted(networks: Sequence[Network], what: str, which: str = "") -> str:
    """ "2 of 3 FermiNets meet …"."""
    met, total = sum(network.satisfied for network in networks), len(networks)
    noun, verb = ("FermiNet", "meets") if total == 1 else ("FermiNets", "meet")
    return " ".join(filter(None, [f"{met} of {total} {noun}", which, verb, what]))


def _bound(text: str, prototype: PrototypeInfo) -> Bound:
    try:
        requirement = parse_requirement(text)
    except RequirementError:
        return Bound(text, "", None, "", None)
    quantity, target, operator = requirement.quantity, requirement.target, requirement.operator
    try:
        value: float | None = requirement.bound(value_of(prototype, quantity, target))
    except RequirementError:
        value = None
    return Bound(text, quantity, target, operator, value)


def value_of(subject: Subject, quantity: str, target: str | None = None) -> float | None:
    """The value of `quantity@target`, metrics on the validation split; None where unknown or not finite."""
    if quantity in METRICS:
        value: float | None = subject.val_metric
    elif quantity in ("params", "macs", "netscore"):
        value = getattr(subject, quantity)
    else:
        measurement = last_measurement(subject, target)
        value = None if measurement is None else value_in(measurement, quantity)
    return value if value is not None and math.isfinite(value) else None


def is_positive(value: float | None) -> bool:
    """Whether it is known, and fit for a logarithmic axis."""
    return value is not None and 0 < value < math.inf


def value_in(measurement: Measurement, quantity: str) -> float | None:
    """What a requirement on that quantity judges."""
    if quantity == "latency_ms":
        return None if measurement.latency_ms is None else measurement.latency_ms.mean
    if quantity in ("energy_mj", "inferences_per_joule", "power_w"):
        value: float | None = getattr(measurement, quantity)
        return value
    return None


def last_measurement(subject: Subject, target: str | None) -> Measurement | None:
    """The latest measurement on a target."""
    return next((each for each in reversed(subject.measurements) if each.target == target), None)


def subjects(results: Results) -> list[Subject]:
    """The prototype, then every network."""
    return [results.prototype, *results.networks]


def targets(results: Results) -> list[str]:
    """Every target that anything was measured on, in order of appearance."""
    return list(dict.fromkeys(each.target for subject in subjects(results) for each in subject.measurements))


def interval(measurement: Measurement, quantity: str) -> Interval | None:
    """The 95 % interval of a field, if there is one with two finite ends."""
    ends = measurement.ci95.get(quantity)
    return ends if ends is not None and all(map(math.isfinite, ends)) else None


def energy_interval(measurement: Measurement) -> Interval | None:
    """The 95 % interval of millijoules per inference, from inferences per joule where only that has one."""
    if found := interval(measurement, "energy_mj"):
        return found
    inverse = interval(measurement, "inferences_per_joule")
    return (1e3 / inverse[1], 1e3 / inverse[0]) if inverse and min(inverse) > 0 else None


def why_unknown(measurement: Measurement) -> str:
    """The warning that explains a missing energy figure."""
    about_power = (text for text in measurement.warnings if any(word in text.lower() for word in _POWER_WORDS))
    return next(about_power, "no reason was recorded")


def best(results: Results) -> Network | None:
    """The network with the greatest U of those made for the run's requirements, among those that meet all if any do.

    U is looked up by its name; where this page does not know that name, NetScore stands in.
    """
    own = of_the_run(results)
    pool = [network for network in own if network.satisfied] or own
    quantity, _, target = results.performance.partition("@")
    quantity = results.data.metric if quantity == "metric" else quantity

    def performance(network: Network) -> float:
        value = value_of(network, quantity, target or None)
        value = value_of(network, "netscore") if value is None else value
        return -math.inf if value is None else value

    return max(pool, key=performance, default=None)


def written(quantity: str, value: float) -> str:
    """A value with its unit."""
    return numbers.count(value) if quantity in _COUNTS else written_alike(quantity, [value])[0]


def written_alike(quantity: str, values: Sequence[float]) -> list[str]:
    """Several values of one quantity, in one unit and with the same number of decimals."""
    if quantity in METRICS:
        return [numbers.percent(value) for value in values]
    if quantity in _COUNTS:
        return numbers.aligned_counts(values)
    texts = numbers.aligned(values)
    return [text + _UNITS.get(quantity, "") for text in texts]
