"""Each FermiNet in words: what it gave up most, what was spared, and what the evidence for that was."""

from collections.abc import Sequence
from dataclasses import dataclass

from edgesynth.records import BlockInsight, GroupInsight, Insight, Network, Results
from edgesynth.report import anatomy, numbers
from edgesynth.synthesis.rungs import rank_correlation

__all__ = ["Item", "Reasons", "reasons"]

_MOST = 3


@dataclass(frozen=True)
class Item:
    """A group or a block, and what is said of it."""

    name: str
    words: str


@dataclass(frozen=True)
class Reasons:
    """One network. Each list may be empty; `more` counts the dropped blocks that are not listed."""

    name: str
    dropped: list[Item]
    more: int
    given_up: list[Item]
    spared: list[Item]
    summary: str


def reasons(results: Results, insight: Insight) -> list[Reasons]:
    """Every network of the run, in order."""
    return [_reasons(results, insight, network) for network in results.networks]


def _reasons(results: Results, insight: Insight, network: Network) -> Reasons:
    known = {group.name: group for group in insight.groups}
    parts = anatomy.groups_of(results.prototype, network.genome)
    alive = [part for part in parts if part.name in known and part.kept is not None and not part.dropped]
    prices = [group.price for group in insight.groups]
    narrowed = sorted((part for part in alive if part.share < 1), key=lambda part: (part.share, known[part.name].price))
    given_up = narrowed[:_MOST]
    worst = max((part.share for part in given_up), default=0.0)
    spared = sorted(
        (part for part in alive if part.share > worst), key=lambda part: (-part.share, -known[part.name].price)
    )
    block_prices = [block.price for block in insight.blocks]
    by_price = sorted(insight.blocks, key=lambda block: block.price)
    dropped = [block for block in by_price if network.genome.blocks.get(block.name) is False]
    stay = [block for block in reversed(by_price) if network.genome.blocks.get(block.name)]
    return Reasons(
        name=network.name,
        dropped=[Item(block.name, f"goes: {_of_block(block, block_prices)}") for block in dropped[:_MOST]],
        more=max(0, len(dropped) - _MOST),
        given_up=[Item(part.name, _of_group(part, known[part.name], prices)) for part in given_up],
        spared=[
            *(Item(part.name, _of_group(part, known[part.name], prices)) for part in spared[:_MOST]),
            *(Item(block.name, f"stays: {_of_block(block, block_prices)}") for block in stay[:1]),
        ],
        summary=_summary([known[part.name].price for part in alive], [part.share for part in alive]),
    )


def _of_group(part: anatomy.Group, known: GroupInsight, prices: Sequence[float]) -> str:
    expected = _expected(known.price, prices, "halving it")
    words = f"keeps {part.kept} of {part.total} channels; {expected}"
    if known.taylor is not None:
        words += f"; {numbers.percent(known.taylor, 1)} of the Taylor scores"
    if known.dead:
        words += f"; {numbers.percent(known.dead, 1)} of its channels dead"
    return words


def _of_block(block: BlockInsight, prices: Sequence[float]) -> str:
    words = _expected(block.price, prices, "dropping it")
    if block.change is not None:
        words += f"; it changes the stream by {numbers.fixed(block.change, 2)}"
    return words


def _expected(price: float, prices: Sequence[float], deed: str) -> str:
    """A price in words: "the inquisitor expects 0.10 points for halving it (2nd cheapest of 7)"."""
    return f"the inquisitor expects {numbers.points(price)} points for {deed} ({_place(price, prices)})"


def _place(price: float, prices: Sequence[float]) -> str:
    """Where a price stands among all, counted from the nearer end."""
    if len(prices) == 1:
        return "the only one"
    below, above = sum(each < price for each in prices), sum(each > price for each in prices)
    nth, word = (below, "cheapest") if below <= above else (above, "dearest")
    joint = "joint " if sum(each == price for each in prices) > 1 else ""
    return f"{joint}{'' if nth == 0 else f'{_ordinal(nth + 1)} '}{word} of {len(prices)}"


def _ordinal(number: int) -> str:
    ending = "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"


def _summary(prices: Sequence[float], shares: Sequence[float]) -> str:
    """Whether the widths follow the prices, over all groups that the network has; "" where that has no answer."""
    found = rank_correlation(prices, shares)
    if found is None:
        return ""
    rho, interval = found
    figure = f"Spearman {numbers.fixed(rho, 2)} between price and share kept over its {len(prices)} groups"
    if interval is None:
        return f"{_direction(rho)}: {figure}."
    figure += f", 95 % interval {numbers.fixed(interval[0], 2)} to {numbers.fixed(interval[1], 2)}"
    if interval[0] < 0 < interval[1]:
        return f"Whether dearer groups kept more cannot be told: {figure}."
    return f"{_direction(rho)}: {figure}."


def _direction(rho: float) -> str:
    return "Dearer groups kept more" if rho > 0 else "Dearer groups kept less"
