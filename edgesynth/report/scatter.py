"""The trade-off chart: one mark a network, the requirements as lines, what they allow as a tint."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from markupsafe import Markup

from edgesynth.report.axes import Box, TickLabel, horizontal_axis, vertical_axis
from edgesynth.report.labels import Label, Rectangle, place
from edgesynth.report.marks import Plane, Point, mark, names, text
from edgesynth.report.scale import Linear, linear_scale, log_scale
from edgesynth.report.svg import element, picture

__all__ = ["Line", "Point", "scatter"]

_WIDTH = 480.0
_PLOT_HEIGHT = 266.0
_ROW = 16.0  # one line of text above the plot: the axis title, then one for each line across the x axis
_SMALL = 6.6  # width of a character of a line's label


@dataclass(frozen=True)
class Line:
    """A requirement: values on one side of `value` are allowed ("more" or "less")."""

    axis: Literal["x", "y"]
    allows: Literal["more", "less"]
    value: float
    label: str


def scatter(
    points: Sequence[Point],
    lines: Sequence[Line],
    *,
    title: str,
    description: str,
    x_title: str,
    y_title: str,
    x_label: TickLabel,
    y_label: TickLabel,
    log_x: bool,
) -> Markup:
    """The chart. Lines that would squeeze the marks together are named at the edge instead of drawn."""
    points = [point for point in points if _drawable(point, log_x)]
    xs = [value for point in points for value in (point.x, *(point.x_interval or ()))]
    ys = [point.y for point in points]
    near = [line for line in lines if _fits(line, xs if line.axis == "x" else ys, log_x and line.axis == "x")]
    far = [line for line in lines if line not in near]
    top = 22 + _ROW * sum(line.axis == "x" for line in near)
    box = Box(_WIDTH, top + _PLOT_HEIGHT + 48, left=58, right=18, top=top, bottom=48)
    make_x = log_scale if log_x else linear_scale
    plane = Plane(
        box,
        make_x([*xs, *(line.value for line in near if line.axis == "x")], box.left, box.x_end, pad=0.1),
        linear_scale([*ys, *(line.value for line in near if line.axis == "y")], box.y_end, box.top, pad=0.1),
    )
    taken = [area for point in points for area in plane.area(point)]
    return picture(
        box.width,
        box.height,
        title,
        description,
        _allowed(lines, plane),
        vertical_axis(box, plane.y, plane.y.ticks(), y_label, y_title),
        horizontal_axis(box, plane.x, plane.x.ticks(), x_label, x_title),
        _lines_across_x([line for line in near if line.axis == "x"], plane),
        *(_line_across_y(line, plane, taken) for line in near if line.axis == "y"),
        _named_at_the_edge(far, box),
        *(mark(point, plane) for point in points),
        names(points, plane, taken, [_ribbon(line, plane) for line in near]),
    )


def _drawable(point: Point, log_x: bool) -> bool:
    return math.isfinite(point.x) and math.isfinite(point.y) and (point.x > 0 or not log_x)


def _fits(line: Line, values: Sequence[float], log: bool) -> bool:
    """Whether the line may be drawn: it lies no further from the values than they lie apart."""
    if log and line.value <= 0:
        return False
    if not values:
        return True
    at = [math.log(value) for value in values] if log else values
    value = math.log(line.value) if log else line.value
    room = max(max(at) - min(at), math.log(3) if log else 0.05 * abs(max(at)))
    return min(at) - room <= value <= max(at) + room


def _allowed(lines: Sequence[Line], plane: Plane) -> Markup:
    """The part of the plot that every line allows, whether the line itself is on the chart or not."""
    box = plane.box
    left, right, top, bottom = box.left, box.x_end, box.top, box.y_end
    for line in lines:
        if line.axis == "x":
            # Below a logarithmic axis there is nothing: such a line is as far left as can be.
            at = plane.x(line.value) if line.value > 0 or isinstance(plane.x, Linear) else -math.inf
            left, right = (max(left, at), right) if line.allows == "more" else (left, min(right, at))
        else:
            at = plane.y(line.value)
            top, bottom = (top, min(bottom, at)) if line.allows == "more" else (max(top, at), bottom)
    if not lines or left >= right or top >= bottom:
        return Markup("")
    return element("rect", x=left, y=top, width=right - left, height=bottom - top, class_="allowed")


def _lines_across_x(lines: Sequence[Line], plane: Plane) -> Markup:
    """Upright lines, each reaching up to its label above the plot; the rightmost gets the lowest row."""
    box = plane.box
    parts = []
    for row, line in enumerate(sorted(lines, key=lambda line: -line.value)):
        x, foot = plane.x(line.value), box.top - 4 - _ROW * row
        label = Label(line.label, x + 5, foot, "start", _SMALL)
        if label.box.right > box.width:
            label = Label(line.label, x - 5, foot, "end", _SMALL)
        if label.box.left < 0:
            label = Label(line.label, box.width, foot, "end", _SMALL)
        stroke = element("line", x1=x, x2=x, y1=foot - 9, y2=box.y_end, class_="bound")
        parts.append(element("g", stroke, text(label, "bound-label")))
    return Markup("").join(parts)


def _line_across_y(line: Line, plane: Plane, taken: list[Rectangle]) -> Markup:
    """A level line, its label on the side that is not allowed, at the end that is free."""
    box, y = plane.box, plane.y(line.value)
    foot = y + (14 if line.allows == "more" else -6)
    right = Label(line.label, box.x_end - 4, foot, "end", _SMALL)
    left = Label(line.label, box.left + 4, foot, "start", _SMALL)
    label = place((right, left), Rectangle(0, 0, box.width, box.height), taken) or right
    taken.append(label.box)
    stroke = element("line", x1=box.left, x2=box.x_end, y1=y, y2=y, class_="bound")
    return element("g", stroke, text(label, "bound-label"))


def _named_at_the_edge(lines: Sequence[Line], box: Box) -> Markup:
    return Markup("").join(
        text(Label(f"off the chart: {line.label}", box.left + 6, box.y_end - 8 - 15 * row, "start"), "bound-label")
        for row, line in enumerate(lines)
    )


def _ribbon(line: Line, plane: Plane) -> Rectangle:
    """What a drawn line covers."""
    box = plane.box
    if line.axis == "x":
        return Rectangle(plane.x(line.value) - 1, 0, plane.x(line.value) + 1, box.y_end)
    return Rectangle(box.left, plane.y(line.value) - 1, box.x_end, plane.y(line.value) + 1)
