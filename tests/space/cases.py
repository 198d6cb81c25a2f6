"""Prototypes to search in, and random genomes of them."""

from functools import cache

import torch
from hypothesis import strategies as st
from torch import Tensor, nn

from edgesynth.prototypes import PROTOTYPES
from edgesynth.records import Genome
from edgesynth.space.genome import allowed_widths, canonical
from edgesynth.space.surgery import Ranking
from edgesynth.space.trace import Space, trace
from tests.networks import TOYS, example, make

__all__ = ["CASES", "RESIZABLE", "genomes", "prototype", "rankings", "space_of"]

RESIZABLE = ["residual@56", "mobile@56"]
"""Toys on images large enough to be made smaller."""
CASES = [*TOYS, *PROTOTYPES, *RESIZABLE]


@cache
def prototype(name: str) -> tuple[nn.Module, Tensor]:
    """The network and one image; after an @ the side of the image."""
    toy, _, side = name.partition("@")
    if toy in TOYS:
        return make(TOYS[toy]), example(side=int(side or 8))
    torch.manual_seed(0)
    return PROTOTYPES[name](1, 10).eval(), torch.randn(1, 1, 12, 12)


@cache
def space_of(name: str) -> Space:
    return trace(*prototype(name))


def genomes(space: Space) -> st.SearchStrategy[Genome]:
    widths = {group.name: st.sampled_from(allowed_widths(group.channels)) for group in space.groups}
    kept = {block.name: st.booleans() for block in space.blocks}
    resolutions = st.sampled_from([None, *space.resolutions[1:]])
    return st.tuples(st.fixed_dictionaries(widths), st.fixed_dictionaries(kept), resolutions).map(
        lambda parts: canonical(parts[0], parts[1], space.groups, space.blocks, parts[2])
    )


def rankings(space: Space) -> st.SearchStrategy[Ranking]:
    """A random order of the channels of every group."""

    def ranking(seed: int) -> Ranking:
        random = torch.Generator().manual_seed(seed)
        return {group.name: torch.randperm(group.channels, generator=random).tolist() for group in space.groups}

    return st.integers(0, 2**31).map(ranking)
