"""The charts of what is paid for what: the metric against MACs and against joules."""

from collections.abc import Callable, Sequence
from typing import Literal

from edgesynth.records import Interval, Network, Results, Source
from edgesynth.report import numbers
from edgesynth.report.figure import Figure, capital
from edgesynth.report.quantities import (
    Bound,
    Subject,
    bounds,
    energy_interval,
    is_of_the_run,
    last_measurement,
    subjects,
    targets,
    value_of,
)
from edgesynth.report.scatter import Line, Point, scatter
from edgesynth.requirements import METRICS

__all__ = ["energy_sources", "trade_off_charts"]


def trade_off_charts(results: Results) -> list[Figure]:
    """The metric against MACs, then against joules for every target that knows joules of anything."""
    figures = [_against_macs(results)]
    for target in targets(results):
        figure = _against_energy(results, target)
        if figure is not None:
            figures.append(figure)
    return figures


def energy_sources(results: Results) -> set[Source]:
    """How the joules on the charts came about."""
    records = [last_measurement(subject, target) for subject in subjects(results) for target in targets(results)]
    return {record.source for record in records if record is not None and record.energy_mj is not None}


def _against_macs(results: Results) -> Figure:
    metric = results.data.metric
    points = [
        _point(results, subject, subject.macs, f"{numbers.count(subject.macs)} MACs") for subject in subjects(results)
    ]
    lines = _lines(results, lambda bound: bound.quantity == "macs")
    chart = scatter(
        points,
        lines,
        title=f"{metric} against multiply-accumulates",
        description=_described(points, "MACs", numbers.count),
        x_title="multiply-accumulates per inference, log scale",
        y_title=f"{metric}, validation",
        x_label=numbers.count,
        y_label=numbers.percent_tick,
        log_x=True,
    )
    return Figure(f"{capital(metric)} against MACs", chart, "")


def _against_energy(results: Results, target: str) -> Figure | None:
    metric = results.data.metric
    points = []
    sources = []
    for subject in subjects(results):
        measurement = last_measurement(subject, target)
        energy = value_of(subject, "energy_mj", target)
        if measurement is None or energy is None:
            continue
        sources.append(measurement.source)
        text = f"{numbers.significant(energy)} mJ per inference on {target}, {measurement.source}"
        points.append(_point(results, subject, energy, text, energy_interval(measurement), measurement.source))
    if not points:
        return None
    source = " and ".join(dict.fromkeys(sources))
    chart = scatter(
        points,
        _lines(results, lambda bound: _energy_bound(bound, target)),
        title=f"{metric} against energy on {target}, {source}",
        description=_described(points, "mJ per inference", numbers.significant),
        x_title=f"millijoules per inference on {target}, {source}",
        y_title=f"{metric}, validation",
        x_label=numbers.count,
        y_label=numbers.percent_tick,
        log_x=False,
    )
    bars = any(point.x_interval for point in points)
    caption = "Bars are 95 % intervals." if bars else "No intervals were recorded."
    missing = len(results.networks) + 1 - len(points)
    if missing:
        caption += f" {missing} network{'s' if missing > 1 else ''} without a figure left out."
    return Figure(f"{capital(metric)} against energy on {target}, {source}", chart, caption)


def _energy_bound(bound: Bound, target: str) -> bool:
    return bound.target == target and bound.quantity in ("energy_mj", "inferences_per_joule")


def _point(
    results: Results,
    subject: Subject,
    x: float,
    x_text: str,
    x_interval: Interval | None = None,
    source: Source | None = None,
) -> Point:
    verdict = ""
    kind: Literal["prototype", "met", "unmet"] = "prototype"
    if isinstance(subject, Network):
        kind = "met" if subject.satisfied else "unmet"
        what = "all requirements" if is_of_the_run(results, subject) else ", ".join(subject.requirements)
        verdict = f"; meets {what}" if subject.satisfied else f"; does not meet {what}"
    detail = f"{subject.name}: {numbers.percent(subject.val_metric)}, {x_text}{verdict}"
    return Point(subject.name, kind, x, 100 * subject.val_metric, detail, x_interval, source=source)


def _lines(results: Results, on_x: Callable[[Bound], bool]) -> list[Line]:
    lines = []
    for bound in bounds(results):
        if bound.value is None:
            continue
        allows: Literal["more", "less"] = "more" if bound.operator == ">=" else "less"
        if bound.quantity in METRICS:
            lines.append(Line("y", allows, 100 * bound.value, bound.text))
        elif on_x(bound):
            value = bound.value
            if bound.quantity == "inferences_per_joule":
                if value <= 0:
                    continue
                value, allows = 1e3 / value, "less" if allows == "more" else "more"
            lines.append(Line("x", allows, value, bound.text))
    return lines


def _described(points: Sequence[Point], unit: str, label: Callable[[float], str]) -> str:
    return "; ".join(f"{point.name} {numbers.fixed(point.y, 2)} % at {label(point.x)} {unit}" for point in points) + "."
