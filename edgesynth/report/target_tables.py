"""What was measured, simulated or estimated: one table a target."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from edgesynth.records import Measurement, Network, Results
from edgesynth.report import numbers
from edgesynth.report.quantities import Subject, interval, targets, value_of, why_unknown

__all__ = ["MeasuredRow", "TargetTable", "target_tables"]


@dataclass(frozen=True)
class MeasuredRow:
    """One measurement. `unknown_energy` replaces the energy figures where they are missing, and spans `span`
    rows (0: the row above covers this one)."""

    name: str
    prototype: bool
    source: str
    latency: str
    latency_interval: str
    latency_p99: str
    faster: str
    per_joule: str
    per_joule_interval: str
    more: str
    energy: str
    power: str
    unknown_energy: str | None
    span: int


@dataclass(frozen=True)
class TargetTable:
    """All measurements on one target, what ran them, and what is to be said of them."""

    target: str
    sources: list[str]
    engines: list[str]
    rows: list[MeasuredRow]
    absent: list[str]
    notes: list[str]
    device: str

    @property
    def energy_known(self) -> bool:
        """Whether any row knows joules."""
        return any(row.unknown_energy is None for row in self.rows)


def target_tables(results: Results) -> list[TargetTable]:
    """One table a target."""
    return [_target_table(results, target) for target in targets(results)]


def _target_table(results: Results, target: str) -> TargetTable:
    subjects: list[Subject] = [results.prototype, *results.networks]
    pairs = [(subject, each) for subject in subjects for each in subject.measurements if each.target == target]
    measurements = [each for _, each in pairs]
    return TargetTable(
        target=target,
        sources=_distinct(each.source for each in measurements),
        engines=_distinct(_engine(each) for each in measurements),
        rows=_measured_rows(results, target, pairs),
        absent=[subject.name for subject in subjects if all(each.target != target for each in subject.measurements)],
        notes=_distinct(note for each in measurements for note in each.warnings),
        device=_device(measurements),
    )


def _engine(measurement: Measurement) -> str:
    engine = measurement.engine
    windows = len(measurement.windows)
    text = f"{engine.backend} {engine.version}, {engine.precision}, batch {engine.batch}"
    return f"{text}, {windows} window{'s' if windows != 1 else ''}" if windows else text


def _device(measurements: Sequence[Measurement]) -> str:
    """What was the same in all measurements of the device and the engine's settings; the rest is in results.json."""
    facts = [{**each.device, **each.engine.flags} for each in measurements]
    common = {key: value for key, value in facts[0].items() if all(other.get(key) == value for other in facts)}
    plain = {key: value for key, value in common.items() if isinstance(value, str | int | float)}
    return ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in plain.items())


def _measured_rows(results: Results, target: str, pairs: Sequence[tuple[Subject, Measurement]]) -> list[MeasuredRow]:
    measurements = [each for _, each in pairs]
    latency = [each.latency_ms.mean if each.latency_ms else None for each in measurements]
    tails = numbers.aligned([each.latency_ms.p99 if each.latency_ms else None for each in measurements])
    latencies = numbers.aligned(latency, blank="unknown")
    per_joule = [each.inferences_per_joule for each in measurements]
    per_joules = numbers.aligned(per_joule)
    energies = numbers.aligned([each.energy_mj for each in measurements])
    powers = numbers.aligned([each.power_w for each in measurements])
    unknown = [why_unknown(each) if each.inferences_per_joule is None else None for each in measurements]
    spans = _spans(unknown)
    before_ms = value_of(results.prototype, "latency_ms", target)
    before_per_joule = value_of(results.prototype, "inferences_per_joule", target)
    faster = numbers.aligned_ratios([(before_ms, each) for each in latency])
    more = numbers.aligned_ratios([(each, before_per_joule) for each in per_joule])
    rows = []
    for index, (subject, each) in enumerate(pairs):
        row = MeasuredRow(
            name=subject.name,
            prototype=not isinstance(subject, Network),
            source=each.source,
            latency=latencies[index],
            latency_interval=_range(each, "latency_ms"),
            latency_p99=tails[index],
            faster=faster[index],
            per_joule=per_joules[index],
            per_joule_interval=_range(each, "inferences_per_joule"),
            more=more[index],
            energy=energies[index],
            power=powers[index],
            unknown_energy=unknown[index],
            span=spans[index],
        )
        rows.append(row)
    return rows


def _spans(reasons: Sequence[str | None]) -> list[int]:
    """How many rows each reason stands for: neighbours with the same one share a cell."""
    spans = [1] * len(reasons)
    first = 0
    for index in range(1, len(reasons)):
        if reasons[index] is not None and reasons[index] == reasons[first]:
            spans[first] += 1
            spans[index] = 0
        else:
            first = index
    return spans


def _range(measurement: Measurement, quantity: str) -> str:
    ends = interval(measurement, quantity)
    return numbers.BLANK if ends is None else "–".join(numbers.aligned(ends, blank=numbers.BLANK))


def _distinct(items: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(items))
