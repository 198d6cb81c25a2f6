"""The charts of the learning curve."""

import math
from collections.abc import Callable, Sequence

from edgesynth.records import Cycle, Results
from edgesynth.report import numbers
from edgesynth.report.curves import Reference, Series, curves
from edgesynth.report.figure import Figure, capital
from edgesynth.report.quantities import bounds

__all__ = ["learning_charts", "performance_name"]


def performance_name(results: Results) -> str:
    """U as people write it."""
    if results.performance == "metric":
        return f"{results.data.metric} in percent"
    return "NetScore" if results.performance == "netscore" else results.performance


def learning_charts(results: Results) -> list[Figure]:
    """U, share of seeds that satisfy, MACs, and how well the inquisitor ranked, cycle by cycle."""
    cycles = results.generator.cycles
    macs_bounds = [each for each in bounds(results) if each.quantity == "macs" and each.value is not None]
    mean_macs = [cycle.mean_macs for cycle in cycles]
    near = [each.value for each in macs_bounds if each.value and each.value <= 2 * max(mean_macs, default=0)]
    return [
        _learning(
            cycles,
            f"Universal performance U: {performance_name(results)}",
            [
                Series("best", [cycle.best_u for cycle in cycles]),
                Series("mean", [cycle.mean_u for cycle in cycles], "second"),
            ],
            _plain,
            None,
            (),
        ),
        _learning(
            cycles,
            "Seeds that satisfy every requirement",
            [Series("", [cycle.satisfied_share for cycle in cycles])],
            _whole_percent,
            (0.0, 1.0),
            (),
        ),
        _learning(
            cycles,
            "Mean multiply-accumulates",
            [Series("", mean_macs)],
            numbers.count,
            None,
            [Reference(value, f"≤ {numbers.count(value)}") for value in near],
        ),
        _learning(
            cycles,
            f"Inquisitor: rank correlation of predicted and scored {results.data.metric}",
            [Series("ρ", [cycle.rank_correlation for cycle in cycles])],
            _plain,
            (-1.0, 1.0),
            [Reference(0.0, "chance", "level")],
        ),
    ]


def _learning(
    cycles: Sequence[Cycle],
    heading: str,
    series: Sequence[Series],
    label: Callable[[float], str],
    domain: tuple[float, float] | None,
    references: Sequence[Reference],
) -> Figure:
    chart = curves(
        [cycle.cycle for cycle in cycles],
        series,
        title=f"{heading}, by cycle",
        description=" ".join(_story(line, label) for line in series),
        label=label,
        domain=domain,
        references=references,
    )
    unknown = sum(value is None or not math.isfinite(value) for line in series for value in line.values)
    caption = f"Unknown in {unknown} of {len(cycles)} cycles: gaps." if unknown and len(series) == 1 else ""
    return Figure(heading, chart, caption)


def _story(line: Series, label: Callable[[float], str]) -> str:
    known = [value for value in line.values if value is not None and math.isfinite(value)]
    if not known:
        return f"{capital(line.name)} unknown in every cycle.".lstrip()
    return capital(f"{line.name} from {label(known[0])} to {label(known[-1])}.".lstrip())


def _whole_percent(value: float) -> str:
    return numbers.percent(value, 0)


def _plain(value: float) -> str:
    text = numbers.significant(value)
    return text.rstrip("0").rstrip(".") if "." in text else text
