"""Test accuracy of every contestant, one dot a seed, as an SVG that needs nothing else."""

from collections.abc import Sequence

from markupsafe import Markup

from benchmarks.classification.figures import Row, Table
from edgesynth.report.scale import Linear, linear_scale
from edgesynth.report.svg import element, picture

__all__ = ["accuracy_plot"]

WIDTH, LEFT, RIGHT, TOP, LINE = 760, 190, 24, 44, 24
INK, GREY, OURS, THEIRS = "#1f2328", "#8b949e", "#c2410c", "#2563eb"
FONT = "system-ui, sans-serif"


def accuracy_plot(prototype: Row, tables: Sequence[Table]) -> Markup:
    """One panel a budget under each other, on one axis; dots are seeds, the stroke is their median."""
    shown = [table for table in tables if any(row.accuracies for row in table.rows)]
    values = [a for table in shown for row in table.rows for a in row.accuracies.values()]
    axis = linear_scale([*values, *prototype.accuracies.values()], LEFT, WIDTH - RIGHT)
    parts, top = [], 0.0
    for table in shown:
        panel, height = _panel(prototype, table, axis, top)
        parts += panel
        top += height
    names = ", ".join(f"1/{table.budget}" for table in shown) or "no budget yet"
    return picture(
        WIDTH,
        max(top, TOP),
        "Test accuracy by contestant",
        f"One dot for each seed, at {names} of the prototype's multiply-accumulates; dashed: the prototype.",
        element("rect", width=WIDTH, height=max(top, TOP), fill="#ffffff"),
        *parts,
        xmlns="http://www.w3.org/2000/svg",
    )


def _panel(prototype: Row, table: Table, axis: Linear, top: float) -> tuple[list[Markup], float]:
    rows = [row for row in table.rows if row.accuracies]
    bottom = top + TOP + LINE * len(rows)
    limit = "" if table.macs_limit is None else f": at most {table.macs_limit / 1e6:.2f} million"
    parts = [_text(f"MACs of the prototype / {table.budget}{limit}", 12, top + 22, weight="600")]
    for tick in axis.ticks(6):
        x = axis(tick)
        parts.append(_line(x, top + TOP - 8, x, bottom, "#e5e7eb"))
        parts.append(_text(f"{tick:.1%}", x, bottom + 16, anchor="middle", fill=GREY))
    if prototype.accuracy is not None:
        x = axis(prototype.accuracy.median)
        parts.append(_line(x, top + TOP - 8, x, bottom, INK, stroke_dasharray="4 3"))
        parts.append(_text("prototype", x, top + TOP - 12, anchor="middle", fill=INK))
    for index, row in enumerate(rows):
        y = top + TOP + LINE * (index + 0.5)
        colour = OURS if row.contestant == "edgesynth" else THEIRS
        parts.append(_text(row.contestant, LEFT - 12, y + 4, anchor="end"))
        for accuracy in row.accuracies.values():
            dot = axis(accuracy)
            parts.append(element("circle", cx=dot, cy=y, r=4.0, fill=colour, fill_opacity=0.55))
        if row.accuracy is not None:
            x = axis(row.accuracy.median)
            parts.append(_line(x, y - 8, x, y + 8, colour, stroke_width=2.5))
    return parts, bottom + 34 - top


def _text(words: str, x: float, y: float, anchor: str = "start", fill: str = INK, weight: str = "400") -> Markup:
    return element(
        "text", words, x=x, y=y, text_anchor=anchor, fill=fill, font_size=12.0, font_family=FONT, font_weight=weight
    )


def _line(x1: float, y1: float, x2: float, y2: float, stroke: str, **more: str | float) -> Markup:
    return element("line", x1=x1, y1=y1, x2=x2, y2=y2, stroke=stroke, **more)
