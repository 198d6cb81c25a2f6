"""What a model estimated against what its board said, network by network."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Literal

from markupsafe import Markup

from edgesynth.records import Interval, Measurement, Network, Results
from edgesynth.report import numbers
from edgesynth.report.axes import Box, horizontal_axis, vertical_axis
from edgesynth.report.figure import Figure
from edgesynth.report.marks import Plane, Point, mark, names
from edgesynth.report.quantities import (
    Subject,
    energy_interval,
    interval,
    is_positive,
    last_measurement,
    subjects,
    targets,
    value_in,
)
from edgesynth.report.scale import log_scale
from edgesynth.report.svg import element, picture
from edgesynth.synthesis.rungs import LEAST_NETWORKS, rank_correlation

__all__ = ["agreement_charts"]

_BOX = Box(480, 400, left=64, right=18, top=22, bottom=48)


@dataclass(frozen=True)
class _Quantity:
    """What is compared, in words and by its name in the record."""

    name: str
    field: str
    unit: str
    ends: Callable[[Measurement], Interval | None]


_QUANTITIES = (
    _Quantity("energy", "energy_mj", "mJ", energy_interval),
    _Quantity("latency", "latency_ms", "ms", lambda measurement: interval(measurement, "latency_ms")),
)


@dataclass(frozen=True)
class _Pair:
    """One network, as its board and as the model has it."""

    subject: Subject
    board: Measurement
    model: Measurement


def agreement_charts(results: Results) -> list[Figure]:
    """For each board and each model of it: energy, then latency, of the networks that have both figures."""
    charts = []
    for target in targets(results):
        for model in _models_of(results, target):
            for quantity in _QUANTITIES:
                pairs = _pairs(results, target, model, quantity)
                if pairs:
                    charts.append(_chart(target, model, quantity, pairs))
    return charts


def _models_of(results: Results, target: str) -> list[str]:
    """The targets whose estimates say that they are of this board."""
    records = [each for subject in subjects(results) for each in subject.measurements]
    of_it = (each.target for each in records if each.device.get("board") == target)
    # Where a board did not answer, the estimate under the board's own name is its model's, set right.
    return [name for name in dict.fromkeys(of_it) if name != target]


def _pairs(results: Results, target: str, model: str, quantity: _Quantity) -> list[_Pair]:
    pairs = []
    for subject in subjects(results):
        said, estimated = last_measurement(subject, target), last_measurement(subject, model)
        if said is None or estimated is None or said.source == "estimated" or estimated.source != "estimated":
            continue
        if is_positive(value_in(said, quantity.field)) and is_positive(value_in(estimated, quantity.field)):
            pairs.append(_Pair(subject, said, estimated))
    return pairs


def _chart(target: str, model: str, quantity: _Quantity, pairs: Sequence[_Pair]) -> Figure:
    source = " and ".join(dict.fromkeys(pair.board.source for pair in pairs))
    points = [_point(pair, quantity) for pair in pairs]
    ends = [end for point in points for end in (*(point.x_interval or ()), *(point.y_interval or ()))]
    values = [value for point in points for value in (point.x, point.y)] + [end for end in ends if end > 0]
    box = _BOX
    plane = Plane(
        box,
        log_scale(values, box.left, box.x_end, pad=0.06),
        log_scale(values, box.y_end, box.top, pad=0.06),
    )
    taken = [area for point in points for area in plane.area(point)]
    chart = picture(
        box.width,
        box.height,
        f"{quantity.name} of {model}, estimated, against {target}, {source}",
        "; ".join(point.detail for point in points) + ".",
        vertical_axis(
            box, plane.y, plane.y.ticks(), numbers.significant_tick, f"{quantity.unit} by {model}, estimated"
        ),
        horizontal_axis(
            box, plane.x, plane.x.ticks(), numbers.significant_tick, f"{quantity.unit} on {target}, {source}, log scale"
        ),
        _diagonal(box),
        *(mark(point, plane) for point in points),
        names(points, plane, taken, []),
    )
    caption = " ".join([_in_words(pairs, quantity), _precisions(pairs), _bars(points)]).replace("  ", " ")
    return Figure(f"{quantity.name.capitalize()}: {model} against {target}, {source}", chart, caption.strip())


def _point(pair: _Pair, quantity: _Quantity) -> Point:
    said, estimated = _values(pair, quantity)
    kind: Literal["prototype", "met", "unmet"] = "prototype"
    if isinstance(pair.subject, Network):
        kind = "met" if pair.subject.satisfied else "unmet"
    detail = (
        f"{pair.subject.name}: {numbers.significant(said)} {quantity.unit} {pair.board.source}, "
        f"{numbers.significant(estimated)} {quantity.unit} estimated ({_signed(estimated / said - 1)})"
    )
    return Point(
        pair.subject.name,
        kind,
        said,
        estimated,
        detail,
        _drawable(quantity.ends(pair.board)),
        _drawable(quantity.ends(pair.model)),
        pair.board.source,
    )


def _drawable(ends: Interval | None) -> Interval | None:
    """An interval that fits on a logarithmic axis."""
    return ends if ends is not None and min(ends) > 0 else None


def _values(pair: _Pair, quantity: _Quantity) -> tuple[float, float]:
    """What the board said, and what the model estimated."""
    return value_in(pair.board, quantity.field) or 0.0, value_in(pair.model, quantity.field) or 0.0


def _diagonal(box: Box) -> Markup:
    """Where both agree. The axes are alike, so it goes from corner to corner."""
    label = element("text", "equal", x=box.x_end - 8, y=box.top + 24, text_anchor="end", class_="level-label")
    line = element("line", x1=box.left, y1=box.y_end, x2=box.x_end, y2=box.top, class_="level")
    return element("g", line, label)


def _in_words(pairs: Sequence[_Pair], quantity: _Quantity) -> str:
    values = [_values(pair, quantity) for pair in pairs]
    count = len(values)
    if count < LEAST_NETWORKS:
        noun = "network has" if count == 1 else "networks have"
        return f"Only {count} {noun} both figures, {LEAST_NETWORKS} are the least to say how good the model is."
    errors = [estimated / said - 1 for said, estimated in values]
    worst = max(errors, key=abs)
    sides = {error > 0 for error in errors}
    side = "" if len(sides) > 1 else ", all too high" if True in sides else ", all too low"
    words = (
        f"Relative error over {count} networks{side}: median {numbers.percent(median(map(abs, errors)), 1)}, "
        f"worst {_signed(worst)}."
    )
    ranks = rank_correlation([said for said, _ in values], [estimated for _, estimated in values])
    if ranks is None:
        return f"{words} No rank correlation: all figures of one side are equal."
    rho, ends = ranks
    between = "" if ends is None else f" (95 % interval {numbers.fixed(ends[0], 2)} to {numbers.fixed(ends[1], 2)})"
    return f"{words} Spearman {numbers.fixed(rho, 2)}{between}."


def _signed(share: float) -> str:
    return ("+" if share > 0 else "") + numbers.percent(share, 1)


def _precisions(pairs: Sequence[_Pair]) -> str:
    """What is compared with what, where that is not the same."""
    said = {pair.board.engine.precision for pair in pairs}
    estimated = {pair.model.engine.precision for pair in pairs}
    if said == estimated and len(said) == 1:
        return ""
    source = pairs[0].board.source
    return f"Estimated at {' and '.join(sorted(estimated))}, {source} at {' and '.join(sorted(said))}."


def _bars(points: Sequence[Point]) -> str:
    ends = [each for point in points for each in (point.x_interval, point.y_interval)]
    if not any(ends):
        return "No intervals are known that could be drawn."
    return "Bars are 95 % intervals" + ("." if all(ends) else "; one that is unknown, or reaches below zero, has none.")
