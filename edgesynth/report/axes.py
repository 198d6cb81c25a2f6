"""The frame of a chart: plot area, grid, tick labels, axis titles."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from edgesynth.report.scale import Scale
from edgesynth.report.svg import element

__all__ = ["Box", "TickLabel", "horizontal_axis", "vertical_axis"]

TickLabel = Callable[[float], str]


@dataclass(frozen=True)
class Box:
    """A chart's size and the plot area inside it, in SVG units."""

    width: float
    height: float
    left: float
    right: float
    top: float
    bottom: float

    @property
    def x_end(self) -> float:
        """Right edge of the plot area."""
        return self.width - self.right

    @property
    def y_end(self) -> float:
        """Bottom edge of the plot area."""
        return self.height - self.bottom


def horizontal_axis(box: Box, scale: Scale, ticks: Sequence[float], label: TickLabel, title: str) -> Markup:
    """Base line, ticks, the labels that have room, and the title centred below."""
    parts = [element("line", x1=box.left, x2=box.x_end, y1=box.y_end, y2=box.y_end, class_="axis")]
    for tick in _apart(scale, ticks, label):
        x = scale(tick)
        parts.append(element("line", x1=x, x2=x, y1=box.y_end, y2=box.y_end + 4, class_="axis"))
        parts.append(element("text", label(tick), x=x, y=box.y_end + 18, text_anchor="middle", class_="tick"))
    middle = (box.left + box.x_end) / 2
    parts.append(element("text", title, x=middle, y=box.height - 6, text_anchor="middle", class_="axis-title"))
    return Markup("").join(parts)


def vertical_axis(box: Box, scale: Scale, ticks: Sequence[float], label: TickLabel, title: str = "") -> Markup:
    """Grid lines with labels to their left; the title stands above the axis, where it reads level."""
    parts = []
    for tick in ticks:
        y = scale(tick)
        parts.append(element("line", x1=box.left, x2=box.x_end, y1=y, y2=y, class_="grid"))
        parts.append(element("text", label(tick), x=box.left - 8, y=y + 4, text_anchor="end", class_="tick"))
    if title:
        parts.append(element("text", title, x=2, y=14, class_="axis-title"))
    return Markup("").join(parts)


def _apart(scale: Scale, ticks: Sequence[float], label: TickLabel) -> list[float]:
    """The ticks whose labels do not touch the one before."""
    kept: list[float] = []
    end = -math.inf
    for tick in ticks:
        half = 4.2 * len(label(tick))
        if scale(tick) - half > end + 6:
            kept.append(tick)
            end = scale(tick) + half
    return kept
