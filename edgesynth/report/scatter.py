"""The trade-off chart: one mark a network, the requirements as lines, what they allow as a tint."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from markupsafe import Markup

from edgesynth.report.axes import Box, TickLabel, horizontal_axis, vertical_axis
from edgesynth.report.labels import Anchor, Label, Rectangle, place
from edgesynth.report.scale import Linear, Scale, linear_scale, log_scale
from edgesynth.report.svg import element, picture

__all__ = ["Line", "Point", "scatter"]

_WIDTH = 480.0
_PLOT_HEIGHT = 266.0
_ROW = 16.0  # one line of text above the plot: the axis title, then one for each line across the x axis
_NAMED = 12  # with more marks than this, names are left to the tooltips
_SMALL = 6.6  # width of a character of a line's label
_AROUND: tuple[tuple[float, float, Anchor], ...] = (
    (0.0, -11.0, "middle"),
    (0.0, 21.0, "middle"),
    (10.0, -7.0, "start"),
    (-10.0, -7.0, "end"),
    (10.0, 17.0, "start"),
    (-10.0, 17.0, "end"),
    (11.0, 4.5, "start"),
    (-11.0, 4.5, "end"),
)


@dataclass(frozen=True)
class Point:
    """One network: where it is, how sure that is, and what the tooltip says."""

    name: str
    kind: Literal["prototype", "met", "unmet"]
    x: float
    y: float
    detail: str
    x_interval: tuple[float, float] | None = None


@dataclass(frozen=True)
class Line:
    """A requirement: values on one side of `value` are allowed ("more" or "less")."""

    axis: Literal["x", "y"]
    allows: Literal["more", "less"]
    value: float
    label: str


@dataclass(frozen=True)
class _Plane:
    """The plot area with its two axes."""

    box: Box
    x: Scale
    y: Scale

    def area(self, point: Point) -> list[Rectangle]:
        """What the mark and its error bar cover."""
        x, y = self.x(point.x), self.y(point.y)
        covered = [Rectangle(x - 7, y - 7, x + 7, y + 7)]
        if point.x_interval:
            low, high = (self.x(end) for end in point.x_interval)
            covered.append(Rectangle(low, y - 4, high, y + 4))
        return covered


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
    plane = _Plane(
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
        *(_mark(point, plane) for point in points),
        _names(points, plane, taken, [_ribbon(line, plane) for line in near]),
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


def _allowed(lines: Sequence[Line], plane: _Plane) -> Markup:
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


def _lines_across_x(lines: Sequence[Line], plane: _Plane) -> Markup:
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
        parts.append(element("g", stroke, _text(label, "bound-label")))
    return Markup("").join(parts)


def _line_across_y(line: Line, plane: _Plane, taken: list[Rectangle]) -> Markup:
    """A level line, its label on the side that is not allowed, at the end that is free."""
    box, y = plane.box, plane.y(line.value)
    foot = y + (14 if line.allows == "more" else -6)
    right = Label(line.label, box.x_end - 4, foot, "end", _SMALL)
    left = Label(line.label, box.left + 4, foot, "start", _SMALL)
    label = place((right, left), Rectangle(0, 0, box.width, box.height), taken) or right
    taken.append(label.box)
    stroke = element("line", x1=box.left, x2=box.x_end, y1=y, y2=y, class_="bound")
    return element("g", stroke, _text(label, "bound-label"))


def _named_at_the_edge(lines: Sequence[Line], box: Box) -> Markup:
    return Markup("").join(
        _text(Label(f"off the chart: {line.label}", box.left + 6, box.y_end - 8 - 15 * row, "start"), "bound-label")
        for row, line in enumerate(lines)
    )


def _mark(point: Point, plane: _Plane) -> Markup:
    x, y = plane.x(point.x), plane.y(point.y)
    parts = [element("title", point.detail)]
    if point.x_interval:
        low, high = (plane.x(end) for end in point.x_interval)
        parts.append(element("line", x1=low, x2=high, y1=y, y2=y, class_="error"))
        parts += [element("line", x1=end, x2=end, y1=y - 4, y2=y + 4, class_="error") for end in (low, high)]
    if point.kind == "prototype":
        parts.append(element("rect", x=x - 5, y=y - 5, width=10, height=10, class_="mark"))
    else:
        parts.append(element("circle", cx=x, cy=y, r=5.5, class_="mark"))
    return element("g", *parts, class_=f"point {point.kind}")


def _ribbon(line: Line, plane: _Plane) -> Rectangle:
    """What a drawn line covers."""
    box = plane.box
    if line.axis == "x":
        return Rectangle(plane.x(line.value) - 1, 0, plane.x(line.value) + 1, box.y_end)
    return Rectangle(box.left, plane.y(line.value) - 1, box.x_end, plane.y(line.value) + 1)


def _names(points: Sequence[Point], plane: _Plane, taken: list[Rectangle], lines: Sequence[Rectangle]) -> Markup:
    """Names beside their marks, where they touch no line if that can be had, and never a mark or another name;
    a name without room is left to the tooltip."""
    box = plane.box
    within = Rectangle(box.left, box.top, box.width, box.y_end)
    parts = []
    for point in points if len(points) <= _NAMED else [each for each in points if each.kind == "prototype"]:
        x, y = plane.x(point.x), plane.y(point.y)
        around = [Label(point.name, x + dx, y + dy, anchor) for dx, dy, anchor in _AROUND]
        label = place(around, within, [*taken, *lines]) or place(around, within, taken)
        if label is not None:
            taken.append(label.box)
            parts.append(_text(label, f"name {point.kind}"))
    return Markup("").join(parts)


def _text(label: Label, class_: str) -> Markup:
    return element("text", label.text, x=label.x, y=label.y, text_anchor=label.anchor, class_=class_)
