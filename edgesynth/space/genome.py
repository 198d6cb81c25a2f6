"""Genomes as plain data: canonical form, digest, and the widths that a group may take."""

import hashlib
import json
from collections.abc import Mapping, Sequence

from edgesynth.records import BlockInfo, Genome, GroupInfo

__all__ = ["allowed_widths", "canonical", "digest", "full_genome", "width_step"]


def width_step(channels: int) -> int:
    """Channel counts are multiples of this: 8 as TensorRT's FP16 kernels like it, less in layers too thin for that,
    where steps of 8 would leave nothing to choose."""
    if channels >= 64:
        return 8
    if channels >= 32:
        return 4
    return 2 if channels >= 8 else 1


def allowed_widths(channels: int) -> list[int]:
    """Every width a group of so many channels may keep, ascending; all of them is always allowed."""
    step = width_step(channels)
    return [*range(step, channels, step), channels]


def full_genome(groups: Sequence[GroupInfo], blocks: Sequence[BlockInfo]) -> Genome:
    """The genome of the prototype itself."""
    return Genome(widths={g.name: g.channels for g in groups}, blocks={b.name: True for b in blocks})


def canonical(
    widths: Mapping[str, int],
    kept: Mapping[str, bool],
    groups: Sequence[GroupInfo],
    blocks: Sequence[BlockInfo],
    resolution: tuple[int, int] | None = None,
) -> Genome:
    """One genome for one network: a group that lives wholly inside dropped blocks keeps 0 channels, and a block
    inside a dropped one is dropped too. `resolution` is None where the input keeps its size."""
    gone = {layer for block in blocks if not kept[block.name] for layer in block.layers}
    alive = {g.name: 0 if gone.issuperset(g.layers) else int(widths[g.name]) for g in groups}
    kept_blocks = {b.name: not gone.issuperset(b.layers) for b in blocks}
    return Genome(widths=alive, blocks=kept_blocks, resolution=resolution)


def digest(genome: Genome) -> str:
    """12 hexadecimal digits of SHA-256 over the canonical JSON."""
    text = json.dumps(genome.model_dump(), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:12]
