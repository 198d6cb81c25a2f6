"""Marks of networks on a chart: what they are, how sure, and how that was found out."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from markupsafe import Markup

from edgesynth.records import Interval, Source
from edgesynth.report.axes import Box
from edgesynth.report.labels import Anchor, Label, Rectangle, place
from edgesynth.report.scale import Scale
from edgesynth.report.svg import element

__all__ = ["Plane", "Point", "mark", "names", "text"]

NAMED = 12
"""With more marks than this, names are left to the tooltips."""
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
    """One network: where it is, how sure that is, and what the tooltip says. What is not measured, by its `source`,
    has a ring around it."""

    name: str
    kind: Literal["prototype", "met", "unmet"]
    x: float
    y: float
    detail: str
    x_interval: Interval | None = None
    y_interval: Interval | None = None
    source: Source | None = None


@dataclass(frozen=True)
class Plane:
    """The plot area with its two axes."""

    box: Box
    x: Scale
    y: Scale

    def area(self, point: Point) -> list[Rectangle]:
        """What the mark and its error bars cover."""
        x, y = self.x(point.x), self.y(point.y)
        covered = [Rectangle(x - 7, y - 7, x + 7, y + 7)]
        if point.x_interval:
            low, high = (self.x(end) for end in point.x_interval)
            covered.append(Rectangle(low, y - 4, high, y + 4))
        if point.y_interval:
            bottom, top = (self.y(end) for end in point.y_interval)
            covered.append(Rectangle(x - 4, top, x + 4, bottom))
        return covered


def mark(point: Point, plane: Plane) -> Markup:
    """The mark with its bars, its ring and its tooltip."""
    x, y = plane.x(point.x), plane.y(point.y)
    parts = [element("title", point.detail), *_bars(point, plane)]
    if point.source in ("simulated", "estimated"):
        parts.append(element("circle", cx=x, cy=y, r=9.5, class_=f"ring {point.source}"))
    if point.kind == "prototype":
        parts.append(element("rect", x=x - 5, y=y - 5, width=10, height=10, class_="mark"))
    else:
        parts.append(element("circle", cx=x, cy=y, r=5.5, class_="mark"))
    return element("g", *parts, class_=f"point {point.kind}")


def _bars(point: Point, plane: Plane) -> Iterable[Markup]:
    x, y = plane.x(point.x), plane.y(point.y)
    if point.x_interval:
        low, high = (plane.x(end) for end in point.x_interval)
        yield element("line", x1=low, x2=high, y1=y, y2=y, class_="error")
        for end in (low, high):
            yield element("line", x1=end, x2=end, y1=y - 4, y2=y + 4, class_="error")
    if point.y_interval:
        bottom, top = (plane.y(end) for end in point.y_interval)
        yield element("line", x1=x, x2=x, y1=bottom, y2=top, class_="error")
        for end in (bottom, top):
            yield element("line", x1=x - 4, x2=x + 4, y1=end, y2=end, class_="error")


def names(points: Sequence[Point], plane: Plane, taken: list[Rectangle], lines: Sequence[Rectangle]) -> Markup:
    """Names beside their marks, where they touch no line if that can be had, and never a mark or another name;
    a name without room is left to the tooltip."""
    box = plane.box
    within = Rectangle(box.left, box.top, box.width, box.y_end)
    parts = []
    for point in points if len(points) <= NAMED else [each for each in points if each.kind == "prototype"]:
        x, y = plane.x(point.x), plane.y(point.y)
        around = [Label(point.name, x + dx, y + dy, anchor) for dx, dy, anchor in _AROUND]
        label = place(around, within, [*taken, *lines]) or place(around, within, taken)
        if label is not None:
            taken.append(label.box)
            parts.append(text(label, f"name {point.kind}"))
    return Markup("").join(parts)


def text(label: Label, class_: str) -> Markup:
    """A label as it is drawn."""
    return element("text", label.text, x=label.x, y=label.y, text_anchor=label.anchor, class_=class_)
