"""Where time and energy of a network go, layer by layer, beside the prototype: as the model of a target has it."""

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from edgesynth.records import REST, Measurement, Network, Results
from edgesynth.report import numbers
from edgesynth.report.quantities import last_measurement, subjects, targets
from edgesynth.report.svg import element, picture

__all__ = ["LayerRow", "LayerTable", "layer_tables"]

OVERHEAD = "overhead of the program"
_HEIGHT = 84.0


@dataclass(frozen=True)
class _Cost:
    """What a layer takes: beyond idle power, and at idle power in its time; of a model without joules, time alone."""

    own: float
    idle: float
    time_ms: float

    @property
    def whole(self) -> float:
        return self.own + self.idle


@dataclass(frozen=True)
class LayerRow:
    """One layer of the network, the prototype or both; "–" where one of them has no such layer."""

    name: str
    kind: str
    bar: Markup
    energy: str
    time: str
    gone: bool
    added: bool


@dataclass(frozen=True)
class LayerTable:
    """One network on one target. `unit` is that of the bars."""

    target: str
    unit: str
    total: str
    silhouette: Markup
    rows: list[LayerRow]

    @property
    def name_width(self) -> int:
        """Characters of the longest name of a layer, within reason."""
        return min(max((len(row.name) for row in self.rows), default=0), 26)


def layer_tables(results: Results, network: Network) -> list[LayerTable]:
    """One for each target whose estimates of both the prototype and the network tell their layers."""
    tables = []
    for target in targets(results):
        before, after = last_measurement(results.prototype, target), last_measurement(network, target)
        if before is not None and after is not None and before.layers and after.layers:
            tables.append(_table(results, target, network.name, before, after))
    return tables


def _table(results: Results, target: str, name: str, before: Measurement, after: Measurement) -> LayerTable:
    known = _knows_joules(before) and _knows_joules(after)
    kinds = {cost.layer: cost.kind for record in (before, after) for cost in record.layers or () if cost.kind != REST}
    old, new = _costs(before, known), _costs(after, known)
    order = _merged(list(old), list(new))
    # One scale for all networks, so that their pictures can be compared.
    largest = max((cost.whole for costs in _all_costs(results, target, known) for cost in costs), default=0.0) or 1.0
    slowest = max(cost.time_ms for costs in (old, new) for cost in costs.values())
    rows = [
        LayerRow(
            name=layer,
            kind=kinds.get(layer, ""),
            bar=_bar(None, None, largest) if layer == OVERHEAD else _bar(old.get(layer), new.get(layer), largest),
            energy=_pair([_whole(new.get(layer)), _whole(old.get(layer))], largest) if known else "",
            time=_pair([_time(new.get(layer)), _time(old.get(layer))], slowest),
            gone=layer not in new,
            added=layer not in old,
        )
        for layer in order
    ]
    unit = "mJ" if known else "ms"
    sums = [sum(cost.whole for cost in costs.values()) for costs in (new, old)]
    layers = [layer for layer in order if layer != OVERHEAD]
    return LayerTable(
        target=target,
        unit=unit,
        total=f"{' of the prototype’s '.join(numbers.aligned(sums))}{numbers.SPACE}{unit}",
        silhouette=_silhouette(name, target, unit, layers, old, new, largest),
        rows=rows,
    )


def _knows_joules(record: Measurement) -> bool:
    return record.idle_power_w is not None and all(cost.energy_mj is not None for cost in record.layers or ())


def _all_costs(results: Results, target: str, known: bool) -> list[list[_Cost]]:
    """Of the layers of all networks; the overhead is no layer, and may be greater than all of them together."""
    records = [last_measurement(subject, target) for subject in subjects(results)]
    told = [record for record in records if record is not None and record.layers]
    found = [_costs(record, known) for record in told if not known or _knows_joules(record)]
    return [[cost for name, cost in costs.items() if name != OVERHEAD] for costs in found]


def _costs(record: Measurement, known: bool) -> dict[str, _Cost]:
    """By name, in the order of launch. The record keeps all idle energy in its rest; here each layer has what the
    board draws at idle in the layer's time, for that would go with the layer."""
    layers = record.layers or []
    if not known:
        return {_name(each.layer, each.kind): _Cost(each.latency_ms, 0.0, each.latency_ms) for each in layers}
    idle_w = record.idle_power_w or 0.0
    idle_of_kernels = idle_w * sum(each.latency_ms for each in layers if each.kind != REST)
    costs = {}
    for each in layers:
        idle = idle_w * each.latency_ms
        energy = each.energy_mj or 0.0
        own = energy - idle_of_kernels - idle if each.kind == REST else energy
        costs[_name(each.layer, each.kind)] = _Cost(max(own, 0.0), idle, each.latency_ms)
    return costs


def _name(layer: str, kind: str) -> str:
    return OVERHEAD if kind == REST else layer


def _merged(old: Sequence[str], new: Sequence[str]) -> list[str]:
    """All names: those of the prototype in its order, each name that is new behind the one that it follows."""
    order = list(old)
    for place, name in enumerate(new):
        if name not in order:
            order.insert(order.index(new[place - 1]) + 1 if place else 0, name)
    return order


def _whole(cost: _Cost | None) -> float | None:
    return None if cost is None else cost.whole


def _time(cost: _Cost | None) -> float | None:
    return None if cost is None else cost.time_ms


def _pair(values: Sequence[float | None], largest: float) -> str:
    """ "0.012/0.310", with as many decimals as the largest of all needs."""
    decimals = len(numbers.significant(largest).partition(".")[2])
    return "/".join(numbers.BLANK if value is None else numbers.fixed(value, decimals) for value in values)


def _bar(old: _Cost | None, new: _Cost | None, largest: float) -> Markup:
    """The prototype as an outline; the network filled, its idle part lighter. The figures stand beside it."""
    parts = []
    if new is not None:
        own, whole = 100 * new.own / largest, 100 * new.whole / largest
        parts.append(element("rect", x=0.0, y=0.0, width=own, height=10.0, class_="kept"))
        parts.append(element("rect", x=own, y=0.0, width=whole - own, height=10.0, class_="idle"))
    if old is not None:
        parts.append(element("rect", x=0.0, y=0.0, width=100 * old.whole / largest, height=10.0, class_="whole"))
    kind = "bar" if new is not None else "bar dropped"
    return element("svg", *parts, class_=kind, viewBox="0 0 100 10", preserveAspectRatio="none", aria_hidden="true")


def _silhouette(
    name: str,
    target: str,
    unit: str,
    order: Sequence[str],
    old: dict[str, _Cost],
    new: dict[str, _Cost],
    largest: float,
) -> Markup:
    """Input (left) to output (right), one column a layer, standing on the base line."""
    parts = []
    for index, layer in enumerate(order):
        before, after = old.get(layer), new.get(layer)
        rects = [element("title", f"{layer}: {_pair([_whole(after), _whole(before)], largest)} {unit}")]
        x = 10.0 * index + 0.25
        if after is not None:
            own, whole = (_HEIGHT * value / largest for value in (after.own, after.whole))
            rects.append(element("rect", x=x, y=_HEIGHT - own, width=9.5, height=own, class_="kept"))
            rects.append(element("rect", x=x, y=_HEIGHT - whole, width=9.5, height=whole - own, class_="idle"))
        if before is not None:
            height = _HEIGHT * before.whole / largest
            rects.append(element("rect", x=x, y=_HEIGHT - height, width=9.5, height=height, class_="whole"))
        parts.append(element("g", *rects))
    return picture(
        10 * max(len(order), 1),
        _HEIGHT,
        f"{'Energy' if unit == 'mJ' else 'Time'} of the layers of {name} on {target}, estimated",
        "From input to output, the prototype behind; the list below gives each.",
        *parts,
        class_="silhouette",
        preserveAspectRatio="none",
    )
