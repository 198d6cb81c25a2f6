"""What a FermiNet kept of its prototype: channels group by group, blocks one by one."""

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from edgesynth.records import Genome, PrototypeInfo
from edgesynth.report.svg import element, picture

__all__ = ["Group", "bar", "groups_of", "silhouette"]

_HEIGHT = 84.0


@dataclass(frozen=True)
class Group:
    """One coupled group. `kept` is None where the genome does not say; 0 where all its layers were dropped."""

    name: str
    layers: int
    total: int
    kept: int | None
    dropped: bool

    @property
    def share(self) -> float:
        """The part that was kept, 0..1; 0 where that is unknown."""
        return min(max((self.kept or 0) / self.total, 0.0), 1.0) if self.total > 0 else 0.0


def groups_of(prototype: PrototypeInfo, genome: Genome) -> list[Group]:
    """Every group in forward order. A group whose layers all lie in dropped blocks is dropped with them."""
    gone = {layer for block in prototype.blocks if genome.blocks.get(block.name) is False for layer in block.layers}
    groups = []
    for group in prototype.groups:
        dropped = bool(group.layers) and set(group.layers) <= gone
        kept = 0 if dropped else genome.widths.get(group.name)
        groups.append(Group(group.name, len(group.layers), group.channels, kept, dropped))
    return groups


def bar(group: Group) -> Markup:
    """The prototype's width as an outline, the kept part filled. The number stands beside it, so this is hidden
    from screen readers."""
    kind = "bar dropped" if group.dropped else "bar unknown" if group.kept is None else "bar"
    return element(
        "svg",
        element("rect", x=0.0, y=0.0, width=100.0, height=10.0, class_="whole"),
        element("rect", x=0.0, y=0.0, width=100 * group.share, height=10.0, class_="kept"),
        class_=kind,
        viewBox="0 0 100 10",
        preserveAspectRatio="none",
        aria_hidden="true",
    )


def silhouette(name: str, groups: Sequence[Group]) -> Markup:
    """The network from input (left) to output (right): height is channels, the prototype behind, the kept in front."""
    slots = max(len(groups), 1)
    widest = max((group.total for group in groups), default=1) or 1
    parts = []
    for index, group in enumerate(groups):
        for share, kind in ((1.0, "whole"), (group.share, "kept")):
            height = share * group.total / widest * _HEIGHT
            top = (_HEIGHT - height) / 2
            rect = element("rect", x=10.0 * index + 0.25, y=top, width=9.5, height=height, class_=kind)
            parts.append(rect)
    kept = sum(group.kept or 0 for group in groups)
    total = sum(group.total for group in groups)
    return picture(
        10 * slots,
        _HEIGHT,
        f"Channels of {name} from input to output",
        f"{kept} of {total} channels kept over {len(groups)} groups; the table below gives each.",
        *parts,
        class_="silhouette",
        preserveAspectRatio="none",
    )
