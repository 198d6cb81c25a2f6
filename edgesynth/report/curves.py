"""The learning curve: small charts over the cycles, with gaps where nothing is known."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from edgesynth.report.axes import Box, TickLabel, horizontal_axis, vertical_axis
from edgesynth.report.scale import Linear, Scale, linear_scale
from edgesynth.report.svg import element, picture

__all__ = ["Reference", "Series", "curves"]

BOX = Box(width=480, height=236, left=58, right=84, top=14, bottom=44)
_DOTS = 40  # with more cycles than this, only lone values get a dot


@dataclass(frozen=True)
class Series:
    """One line; None and what is not finite are gaps. `style` is "first" or "second"."""

    name: str
    values: Sequence[float | None]
    style: str = "first"


@dataclass(frozen=True)
class Reference:
    """A level to compare with."""

    value: float
    name: str
    style: str = "bound"


def curves(
    cycles: Sequence[int],
    series: Sequence[Series],
    *,
    title: str,
    description: str,
    label: TickLabel,
    domain: tuple[float, float] | None = None,
    references: Sequence[Reference] = (),
) -> Markup:
    """The chart. Without a `domain` the vertical axis holds the values and the references."""
    x = Linear(min(cycles, default=0), max(cycles, default=1), BOX.left + 6, BOX.x_end)
    if x.low == x.high:
        x = Linear(x.low - 1, x.high + 1, x.start, x.end)
    known = [value for line in series for value in line.values if value is not None]
    levels = [reference.value for reference in references]
    y = linear_scale([*known, *levels], BOX.y_end, BOX.top, pad=0.06)
    if domain is not None:
        y = Linear(*domain, BOX.y_end, BOX.top)
    return picture(
        BOX.width,
        BOX.height,
        title,
        description,
        vertical_axis(BOX, y, y.ticks(4), label),
        horizontal_axis(BOX, x, [tick for tick in x.ticks(6) if tick in cycles], _whole, "cycle"),
        *(_reference(reference, y) for reference in references),
        *(_series(cycles, line, x, y) for line in series),
        _end_labels(series, references, y, label),
    )


def _whole(value: float) -> str:
    return f"{value:.0f}"


def _reference(reference: Reference, y: Scale) -> Markup:
    at = y(reference.value)
    return element("line", x1=BOX.left, x2=BOX.x_end, y1=at, y2=at, class_=reference.style)


def _series(cycles: Sequence[int], line: Series, x: Scale, y: Scale) -> Markup:
    parts = []
    for run in _runs(cycles, line.values):
        at = [(x(cycle), y(value)) for cycle, value in run]
        if len(at) > 1:
            points = " ".join(f"{left:.1f},{top:.1f}" for left, top in at)
            parts.append(element("polyline", points=points, class_="curve"))
        if len(at) == 1 or len(cycles) <= _DOTS:
            parts += [element("circle", cx=left, cy=top, r=2.4, class_="dot") for left, top in at]
    return element("g", *parts, class_=f"series {line.style}")


def _runs(cycles: Sequence[int], values: Sequence[float | None]) -> list[list[tuple[int, float]]]:
    """The stretches without a gap."""
    runs: list[list[tuple[int, float]]] = [[]]
    for cycle, value in zip(cycles, values, strict=True):
        if value is None or not math.isfinite(value):
            runs.append([])
        else:
            runs[-1].append((cycle, value))
    return [run for run in runs if run]


def _end_labels(series: Sequence[Series], references: Sequence[Reference], y: Scale, label: TickLabel) -> Markup:
    """Each line's name and last value at its right end, moved apart where they would overlap."""
    wanted = []
    for line in series:
        known = [value for value in line.values if value is not None and math.isfinite(value)]
        if known:
            wanted.append((y(known[-1]) + 4, f"{line.name} {label(known[-1])}", f"end {line.style}"))
    wanted += [(y(each.value) + 4, each.name, f"end {each.style}-label") for each in references]
    parts = []
    lowest = -math.inf
    for at, text, style in sorted(wanted):
        lowest = max(at, lowest + 14)
        parts.append(element("text", text, x=BOX.x_end + 8, y=lowest, class_=style))
    return Markup("").join(parts)
