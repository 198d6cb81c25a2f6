"""What the inquisitor learned of each group, block and resolution, beside what every FermiNet kept of it."""

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from edgesynth.records import BlockInsight, GroupInsight, Insight, Network, Results
from edgesynth.report import anatomy, numbers
from edgesynth.report.strips import Strip, strips
from edgesynth.report.svg import element

__all__ = ["Cell", "Evidence", "Row", "evidence"]


@dataclass(frozen=True)
class Cell:
    """One figure of a table, with a bar where it is a part of something; `quiet` where there is nothing to see."""

    text: str
    bar: Markup | None = None
    quiet: bool = False


@dataclass(frozen=True)
class Row:
    """One group, block or resolution: what is known of it, and what each network kept, in the order of the results."""

    name: str
    known: list[Cell]
    networks: list[Cell]


@dataclass(frozen=True)
class Evidence:
    """`groups` and `blocks` are sorted by price, the cheapest first; `names` and `strips` are in forward order."""

    probed: int
    names: list[str]
    strips: list[Strip]
    groups: list[Row]
    blocks: list[Row]
    resolutions: list[Row]


def evidence(results: Results, insight: Insight) -> Evidence:
    """Everything that the page shows of it."""
    kept = [anatomy.groups_of(results.prototype, network.genome) for network in results.networks]
    return Evidence(
        probed=insight.probed,
        names=[group.name for group in insight.groups],
        strips=strips(insight.groups, results.networks, kept),
        groups=_group_rows(results, insight.groups, kept),
        blocks=_block_rows(insight.blocks, results.networks),
        resolutions=_resolution_rows(insight, results.networks) if len(insight.resolutions) > 1 else [],
    )


def _group_rows(results: Results, groups: Sequence[GroupInsight], kept: Sequence[list[anatomy.Group]]) -> list[Row]:
    channels = {group.name: group.channels for group in results.prototype.groups}
    by_name = [{group.name: group for group in network} for network in kept]
    dearest = max((group.price for group in groups), default=0.0)
    strongest = max((group.taylor or 0.0 for group in groups), default=0.0)
    return [
        Row(
            group.name,
            [
                Cell(numbers.fixed(channels[group.name], 0)),
                Cell(numbers.points(group.price), _gauge("price", group.price, dearest)),
                _maybe(group.taylor, _percent, strongest),
                _maybe(group.dead, _percent, 1.0),
                _maybe(group.mean_abs, _two_decimals, None),
                Cell(_percent(group.kept), _gauge("kept", group.kept, 1.0)),
            ],
            [_kept(network[group.name]) for network in by_name],
        )
        for group in sorted(groups, key=lambda group: group.price)
        if group.name in channels
    ]


def _block_rows(blocks: Sequence[BlockInsight], networks: Sequence[Network]) -> list[Row]:
    dearest = max((block.price for block in blocks), default=0.0)
    strongest = max((block.change or 0.0 for block in blocks), default=0.0)
    return [
        Row(
            block.name,
            [
                Cell(numbers.points(block.price), _gauge("price", block.price, dearest)),
                _maybe(block.change, _two_decimals, strongest),
                Cell(_percent(block.kept), _gauge("kept", block.kept, 1.0)),
            ],
            [_stays(network.genome.blocks.get(block.name)) for network in networks],
        )
        for block in sorted(blocks, key=lambda block: block.price)
    ]


def _resolution_rows(insight: Insight, networks: Sequence[Network]) -> list[Row]:
    dearest = max(each.price for each in insight.resolutions)
    own = insight.resolutions[0].resolution
    return [
        Row(
            f"{each.resolution[0]} × {each.resolution[1]}",
            [
                Cell(numbers.points(each.price), _gauge("price", each.price, dearest)),
                Cell(_percent(each.kept), _gauge("kept", each.kept, 1.0)),
            ],
            [
                Cell("■ takes it") if (network.genome.resolution or own) == each.resolution else Cell("–", quiet=True)
                for network in networks
            ],
        )
        for each in insight.resolutions
    ]


def _kept(group: anatomy.Group) -> Cell:
    if group.dropped:
        return Cell("dropped", quiet=True)
    return Cell("unknown" if group.kept is None else numbers.fixed(group.kept, 0), anatomy.bar(group))


def _stays(kept: bool | None) -> Cell:
    return Cell("not known", quiet=True) if kept is None else Cell("■ kept") if kept else Cell("□ dropped", quiet=True)


def _maybe(value: float | None, text: numbers.Written, full: float | None) -> Cell:
    """A response, which is unknown where no probed network had that part; no bar without a `full`."""
    if value is None:
        return Cell("unknown", quiet=True)
    return Cell(text(value), None if full is None else _gauge("response", value, full))


def _gauge(kind: str, value: float, full: float) -> Markup:
    """A small bar beside a number, hidden from screen readers."""
    share = min(max(value / full, 0.0), 1.0) if full > 0 else 0.0
    return element(
        "svg",
        element("rect", x=0.0, y=0.0, width=100.0, height=10.0, class_="whole"),
        element("rect", x=0.0, y=0.0, width=100 * share, height=10.0, class_=kind),
        class_="bar",
        viewBox="0 0 100 10",
        preserveAspectRatio="none",
        aria_hidden="true",
    )


def _percent(share: float) -> str:
    return numbers.percent(share, 1)


def _two_decimals(value: float) -> str:
    return numbers.fixed(value, 2)
