"""The certificate of a FermiNet: each requirement with the figure that decides it, and where that figure comes from."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from edgesynth.records import Interval, Measurement, Network, Results, Source
from edgesynth.report import numbers
from edgesynth.report.quantities import (
    Bound,
    Subject,
    bounds,
    energy_interval,
    interval,
    is_of_the_run,
    last_measurement,
    value_of,
    written,
    written_alike,
)
from edgesynth.report.tables import verdict_word
from edgesynth.requirements import METRICS

__all__ = ["Certificate", "Clause", "Origin", "certificates"]

_DEVICE = (
    ("hostname", "host name"),
    ("model", "model"),
    ("serial", "serial"),
    ("jetpack", "JetPack"),
    ("l4t", "L4T"),
    ("agent", "agent"),
)
"""What a device says of itself that a reader would look it up by."""


@dataclass(frozen=True)
class Clause:
    """One requirement. `near` says that the bound lies within the interval of the value."""

    text: str
    bound: str
    value: str
    interval: str
    verdict: str
    near: bool
    origin: str
    source: Source | None

    @property
    def words(self) -> str:
        """The verdict as it is read."""
        return f"{self.verdict}, within its interval" if self.near else self.verdict


@dataclass(frozen=True)
class Origin:
    """Where the figures of one network on one target come from; `facts` are pairs of a word and what it is."""

    name: str
    target: str
    source: Source
    facts: list[tuple[str, str]]
    trace: str | None
    digest: str
    reason: str


@dataclass(frozen=True)
class Certificate:
    """One network. `asked_later` says that it was made for other requirements than those of the run."""

    network: Network
    asked_later: bool
    clauses: list[Clause]
    origins: list[Origin]

    @property
    def has_trace(self) -> bool:
        """Whether any figure of it can be computed again."""
        return any(origin.trace for origin in self.origins)


def certificates(results: Results) -> list[Certificate]:
    """One a network, in the order of the results."""
    return [_certificate(results, network) for network in results.networks]


def _certificate(results: Results, network: Network) -> Certificate:
    of_the_run = is_of_the_run(results, network)
    known = bounds(results, results.requirements if of_the_run else network.requirements)
    return Certificate(
        network=network,
        asked_later=not of_the_run,
        clauses=[_clause(results, network, bound) for bound in known],
        origins=_origins(results, network, known),
    )


def _clause(results: Results, network: Network, bound: Bound) -> Clause:
    value = value_of(network, bound.quantity, bound.target)
    measurement = None if bound.target is None else last_measurement(network, bound.target)
    ends = None if measurement is None else _interval_of(measurement, bound.quantity)
    judged = network.requirements[bound.text]
    return Clause(
        text=bound.text,
        bound="bound unknown" if bound.value is None else f"{bound.sign} {written(bound.quantity, bound.value)}",
        value="unknown" if value is None else written(bound.quantity, value),
        interval=numbers.BLANK if ends is None else _range(bound.quantity, ends),
        verdict=verdict_word(judged),
        near=judged is not None and _holds(ends, bound.value),
        origin=_origin_word(results, bound, measurement),
        source=None if measurement is None else measurement.source,
    )


def _range(quantity: str, ends: Interval) -> str:
    """ "105 to 109 per J": the unit once."""
    low, _ = numbers.aligned(ends)
    _, high = written_alike(quantity, ends)
    return f"{low} to {high}"


def _interval_of(measurement: Measurement, quantity: str) -> Interval | None:
    return energy_interval(measurement) if quantity == "energy_mj" else interval(measurement, quantity)


def _holds(ends: Interval | None, bound: float | None) -> bool:
    return ends is not None and bound is not None and min(ends) <= bound <= max(ends)


def _origin_word(results: Results, bound: Bound, measurement: Measurement | None) -> str:
    if bound.target is not None:
        return bound.target if measurement is not None else f"nothing known of {bound.target}"
    if bound.quantity in METRICS:
        images = results.data.sizes.get("val")
        return "validation split" + (f", {numbers.fixed(images, 0)} images" if images else "")
    return "counted" if bound.quantity else ""


def _origins(results: Results, network: Network, known: Sequence[Bound]) -> list[Origin]:
    """The record of each target that a requirement names, and that of the prototype where a bound goes by it."""
    wanted: dict[tuple[str, str], Measurement] = {}
    for bound in known:
        if bound.target is None:
            continue
        subjects: list[Subject] = [network, results.prototype] if "prototype" in bound.text else [network]
        for subject in subjects:
            found = last_measurement(subject, bound.target)
            if found is not None:
                wanted.setdefault((bound.target, subject.name), found)
    return [_origin(name, measurement) for (_, name), measurement in wanted.items()]


def _origin(name: str, measurement: Measurement) -> Origin:
    trace = measurement.trace
    return Origin(
        name=name,
        target=measurement.target,
        source=measurement.source,
        facts=_facts(measurement),
        trace=None if trace is None else trace.file,
        digest="" if trace is None else trace.sha256,
        reason="" if trace is not None else _why_no_trace(measurement),
    )


def _facts(measurement: Measurement) -> list[tuple[str, str]]:
    device, engine = measurement.device, measurement.engine
    facts = [(words, str(device[name])) for name, words in _DEVICE if device.get(name)]
    mode = _mode(device.get("power_mode"))
    if mode:
        facts.append(("power mode", mode))
    facts.append(("engine", f"{engine.backend} {engine.version}, {engine.precision}, batch {engine.batch}"))
    if measurement.windows:
        count = len(measurement.windows)
        tier = "" if measurement.tier is None else f"{measurement.tier} tier, "
        facts.append(("windows", f"{tier}{count} window{'s' if count != 1 else ''}"))
    if measurement.measured_unix_s is not None:
        facts.append(("when", _moment(measurement.measured_unix_s)))
    return facts


def _mode(mode: object) -> str:
    """The agent tells number and name, a model a text."""
    if isinstance(mode, dict):
        return " ".join(str(mode[key]) for key in ("id", "name") if mode.get(key) is not None)
    return "" if mode is None else str(mode)


def _moment(unix_s: float) -> str:
    try:
        return f"{datetime.fromtimestamp(unix_s, UTC):%Y-%m-%d %H:%M} UTC"
    except (OverflowError, OSError, ValueError):
        return "at a moment that no calendar has"


def _why_no_trace(measurement: Measurement) -> str:
    if measurement.source == "estimated":
        unverified = (text for text in measurement.warnings if text.startswith("unverified"))
        return next(unverified, "an estimate has no trace")
    return next((text for text in measurement.warnings if "trace" in text), "no trace was kept")
