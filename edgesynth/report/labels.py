"""Where text has room: rectangles, and the first place that touches nothing."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

__all__ = ["Anchor", "Label", "Rectangle", "place"]

Anchor = Literal["start", "middle", "end"]

_ASCENT, _DESCENT = 11.0, 3.0


@dataclass(frozen=True)
class Rectangle:
    """A part of the chart, in SVG units; y grows downwards."""

    left: float
    top: float
    right: float
    bottom: float

    def touches(self, other: "Rectangle") -> bool:
        """Whether the two share any area."""
        return (
            self.left < other.right and other.left < self.right and self.top < other.bottom and other.top < self.bottom
        )

    def inside(self, other: "Rectangle") -> bool:
        """Whether all of this lies in the other."""
        return (
            self.left >= other.left
            and self.right <= other.right
            and self.top >= other.top
            and self.bottom <= other.bottom
        )


@dataclass(frozen=True)
class Label:
    """One line of text at a place."""

    text: str
    x: float
    y: float
    anchor: Anchor
    character: float = 7.2
    """Width of a character, a little more than the mean."""

    @property
    def box(self) -> Rectangle:
        """About the area that the text takes; fonts differ, so it errs on the large side."""
        width = self.character * len(self.text)
        left = self.x - {"start": 0.0, "middle": width / 2, "end": width}[self.anchor]
        return Rectangle(left, self.y - _ASCENT, left + width, self.y + _DESCENT)


def place(candidates: Iterable[Label], within: Rectangle, taken: Sequence[Rectangle]) -> Label | None:
    """The first candidate that lies inside and touches nothing that is taken; None if there is none."""
    for label in candidates:
        box = label.box
        if box.inside(within) and not any(box.touches(other) for other in taken):
            return label
    return None
