"""Why the networks look as they do: what the inquisitor has learned of every group, block and resolution."""

from collections.abc import Iterable, Sequence

import torch

from edgesynth.records import (
    BlockInsight,
    Genome,
    GroupInsight,
    Insight,
    PrototypeInfo,
    ResolutionInsight,
)
from edgesynth.space.genome import canonical, full_genome
from edgesynth.synthesis.inquisitor import Inquisitor
from edgesynth.synthesis.objective import METRIC
from edgesynth.synthesis.scoring import Score

__all__ = ["insight", "predicted_metrics"]


def insight(
    inquisitor: Inquisitor, prototype: PrototypeInfo, genomes: Sequence[Genome], scores: Sequence[Score]
) -> Insight:
    """What the inquisitor knows: `genomes` are those that the generator makes of some seeds, at least one, `scores`
    those of the probed networks. Raises KeyError where the inquisitor has not learned the metric yet."""
    groups, blocks, sizes = prototype.groups, prototype.blocks, prototype.resolutions
    whole = full_genome(groups, blocks)
    halved = [_with_width(whole, group.name, max(1, group.channels // 2)) for group in groups]
    without = [canonical(whole.widths, whole.blocks | {block.name: False}, groups, blocks) for block in blocks]
    resized = [whole.model_copy(update={"resolution": _resized_to(size, prototype)}) for size in sizes]
    full, *expected = predicted_metrics(inquisitor, [whole, *halved, *without, *resized])
    prices = [full - metric for metric in expected]
    of_blocks, of_sizes = prices[len(groups) :], prices[len(groups) + len(blocks) :]
    shares = [_taylor_shares(score) for score in scores]
    reactions = {g.name: [r for s in scores if (r := s.responses.groups.get(g.name))] for g in groups}
    return Insight(
        probed=len(scores),
        groups=[
            GroupInsight(
                name=group.name,
                kept=_share(genome.widths[group.name] / group.channels for genome in genomes),
                price=price,
                taylor=_mean(share.get(group.name) for share in shares),
                mean_abs=_mean(reaction.mean_abs for reaction in reactions[group.name]),
                dead=_mean(reaction.dead for reaction in reactions[group.name]),
            )
            for group, price in zip(groups, prices, strict=False)
        ],
        blocks=[
            BlockInsight(
                name=block.name,
                kept=_share(float(genome.blocks[block.name]) for genome in genomes),
                price=price,
                change=_mean(score.responses.blocks.get(block.name) for score in scores),
            )
            for block, price in zip(blocks, of_blocks, strict=False)
        ],
        resolutions=[
            ResolutionInsight(
                resolution=size,
                kept=_share(float(genome.resolution == _resized_to(size, prototype)) for genome in genomes),
                price=price,
            )
            for size, price in zip(sizes, of_sizes, strict=True)
        ],
    )


def predicted_metrics(inquisitor: Inquisitor, genomes: Sequence[Genome]) -> list[float]:
    """The scored metrics that the inquisitor expects of networks: the rung "predicted"."""
    with torch.no_grad():
        # It is taught the metric on the logit scale.
        expected = torch.sigmoid(inquisitor.predict(METRIC, inquisitor.encode(genomes)).mean.double())
    return [float(metric) for metric in expected]


def _with_width(genome: Genome, group: str, width: int) -> Genome:
    return genome.model_copy(update={"widths": genome.widths | {group: width}})


def _resized_to(size: tuple[int, int], prototype: PrototypeInfo) -> tuple[int, int] | None:
    """A resolution as genomes write it: the prototype's own, which comes first, is None."""
    return None if size == prototype.resolutions[0] else size


def _taylor_shares(score: Score) -> dict[str, float]:
    """Each group's part of all Taylor scores of one network; empty where nothing reacted."""
    totals = {name: sum(response.taylor) for name, response in score.responses.groups.items()}
    everything = sum(totals.values())
    return {name: total / everything for name, total in totals.items()} if everything > 0 else {}


def _share(values: Iterable[float]) -> float:
    known = list(values)
    return sum(known) / len(known)


def _mean(values: Iterable[float | None]) -> float | None:
    """Over what is known; None where nothing is."""
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
