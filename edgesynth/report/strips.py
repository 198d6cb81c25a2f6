"""Small multiples: one strip of bars a quantity, one bar a group, so that a group can be read down all of them."""

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from edgesynth.records import GroupInsight, Network
from edgesynth.report import anatomy, numbers
from edgesynth.report.svg import element, picture

__all__ = ["Strip", "strips"]

_SLOT = 10.0
_HEIGHT = 40.0


@dataclass(frozen=True)
class Strip:
    """One quantity over all groups, input to output; `scale` says what a full bar is."""

    name: str
    scale: str
    chart: Markup


def strips(
    groups: Sequence[GroupInsight], networks: Sequence[Network], kept: Sequence[list[anatomy.Group]]
) -> list[Strip]:
    """Price, responses and generator over all groups, then one strip for each network: they can be read down."""
    names = [group.name for group in groups]
    prices, shares = [group.price for group in groups], [group.taylor for group in groups]
    activations, dead = [group.mean_abs for group in groups], [group.dead for group in groups]
    made = [
        _measured("Price", names, prices, lambda value: f"{numbers.points(value)} points", "price"),
        _measured("Taylor share", names, shares, _percent, "response"),
        _measured("Mean activation", names, activations, _two_decimals, "response"),
        _measured("Dead channels", names, dead, _percent, "response"),
    ]
    tips = [f"{group.name}: {_percent(group.kept)} of its channels, mean over seeds" for group in groups]
    chart = _chart("Kept by the generator", tips, [group.kept for group in groups], "kept", whole=True)
    made.append(Strip("Kept by the generator", "mean over its seeds", chart))
    for network, parts in zip(networks, kept, strict=True):
        by_name = {part.name: part for part in parts}
        mine = [by_name.get(name) for name in names]
        tips = [_tip(name, part) for name, part in zip(names, mine, strict=True)]
        chart = _chart(f"Kept by {network.name}", tips, [part.share if part else None for part in mine], "kept", True)
        made.append(Strip(network.name, "share of channels kept", chart))
    return made


def _measured(
    name: str, names: Sequence[str], values: Sequence[float | None], text: numbers.Written, kind: str
) -> Strip:
    """A quantity without a natural end: the greatest value fills its bar."""
    known = [value for value in values if value is not None]
    full = max(known, default=0.0)
    tips = [
        f"{group}: {'unknown' if value is None else text(value)}" for group, value in zip(names, values, strict=True)
    ]
    heights = [None if value is None else value / full if full > 0 else 0.0 for value in values]
    scale = f"highest {text(full)}" if known else "unknown"
    return Strip(name, scale, _chart(name, tips, heights, kind, whole=False))


def _tip(name: str, part: anatomy.Group | None) -> str:
    if part is None or part.kept is None:
        return f"{name}: unknown"
    return f"{name}: dropped" if part.dropped else f"{name}: {part.kept} of {part.total} channels"


def _chart(name: str, tips: Sequence[str], shares: Sequence[float | None], kind: str, whole: bool) -> Markup:
    """One bar a group, from the foot; `whole` outlines what could have been kept."""
    bars = []
    for place, (tip, share) in enumerate(zip(tips, shares, strict=True)):
        left, height = _SLOT * place + 1, _HEIGHT * min(max(share or 0.0, 0.0), 1.0)
        slot = element("rect", x=left, y=0.0, width=8.0, height=_HEIGHT, class_="whole" if whole else "slot")
        bar = element("rect", x=left, y=_HEIGHT - height, width=8.0, height=height, class_=kind)
        bars.append(element("g", element("title", tip), slot, bar))
    return picture(
        _SLOT * max(len(bars), 1),
        _HEIGHT,
        f"{name}, group by group from input to output",
        "The table below gives each figure.",
        *bars,
        class_="strip",
        preserveAspectRatio="none",
    )


def _percent(share: float) -> str:
    return numbers.percent(share, 1)


def _two_decimals(value: float) -> str:
    return numbers.fixed(value, 2)
