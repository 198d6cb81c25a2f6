import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgesynth.records import BlockInfo, Genome, GroupInfo
from edgesynth.space.genome import allowed_widths, canonical, digest, full_genome, width_step

GROUPS = [
    GroupInfo(name="stem", channels=32, layers=["stem", "outer.b"]),
    GroupInfo(name="outer.a", channels=16, layers=["outer.a", "inner.b"]),
    GroupInfo(name="inner.a", channels=7, layers=["inner.a"]),
]
BLOCKS = [
    BlockInfo(name="inner", layers=["inner.a", "inner.b"]),
    BlockInfo(name="outer", layers=["outer.a", "inner.a", "inner.b", "outer.b"]),
]
WIDTHS = {"stem": 24, "outer.a": 8, "inner.a": 3}


@pytest.mark.parametrize(
    ("channels", "widths"),
    [
        (1, [1]),
        (3, [1, 2, 3]),
        (7, [1, 2, 3, 4, 5, 6, 7]),
        (8, [2, 4, 6, 8]),
        (11, [2, 4, 6, 8, 10, 11]),
        (31, [*range(2, 31, 2), 31]),
        (32, [4, 8, 12, 16, 20, 24, 28, 32]),
        (63, [*range(4, 63, 4), 63]),
        (64, [8, 16, 24, 32, 40, 48, 56, 64]),
        (68, [8, 16, 24, 32, 40, 48, 56, 64, 68]),
    ],
)
def test_a_group_may_have_these_widths(channels, widths):
    assert allowed_widths(channels) == widths


@given(st.integers(1, 4096))
@settings(deadline=None)
def test_allowed_widths_are_multiples_of_the_step_or_everything(channels):
    widths = allowed_widths(channels)
    assert widths == sorted(set(widths))
    assert widths[-1] == channels
    assert all(width % width_step(channels) == 0 and width > 0 for width in widths[:-1])


@pytest.mark.parametrize(
    ("kept", "widths", "blocks"),
    [
        ((True, True), (24, 8, 3), (True, True)),
        ((False, True), (24, 8, 0), (False, True)),
        ((False, False), (24, 0, 0), (False, False)),
        # What is inside a dropped block is gone, whatever the code says of it.
        ((True, False), (24, 0, 0), (False, False)),
    ],
)
def test_one_network_has_one_genome(kept, widths, blocks):
    genome = canonical(WIDTHS, dict(zip(("inner", "outer"), kept, strict=True)), GROUPS, BLOCKS)
    assert tuple(genome.widths.values()) == widths
    assert tuple(genome.blocks.values()) == blocks
    assert canonical(genome.widths, genome.blocks, GROUPS, BLOCKS) == genome


def test_a_genome_says_at_what_resolution_its_network_works():
    kept = {"inner": True, "outer": True}
    assert canonical(WIDTHS, kept, GROUPS, BLOCKS).resolution is None
    assert canonical(WIDTHS, kept, GROUPS, BLOCKS, (16, 24)).resolution == (16, 24)


def test_the_full_genome_keeps_everything():
    genome = full_genome(GROUPS, BLOCKS)
    assert genome == Genome(widths={"stem": 32, "outer.a": 16, "inner.a": 7}, blocks={"inner": True, "outer": True})
    assert canonical(genome.widths, genome.blocks, GROUPS, BLOCKS) == genome


def test_a_digest_is_of_the_genome_and_not_of_its_order():
    genome = Genome(widths={"b": 8, "a": 4}, blocks={"x": True})
    assert digest(genome) == digest(Genome(widths={"a": 4, "b": 8}, blocks={"x": True}))
    text = '{"blocks":{"x":true},"resolution":null,"widths":{"a":4,"b":8}}'
    assert digest(genome) == hashlib.sha256(text.encode()).hexdigest()[:12]


def test_different_genomes_have_different_digests():
    base = {"widths": {"a": 4, "b": 8}, "blocks": {"x": True}}
    others = [
        {**base, "widths": {"a": 8, "b": 4}},
        {**base, "widths": {"a": 4, "b": 7}},
        {**base, "blocks": {"x": False}},
        {**base, "blocks": {}},
        {**base, "resolution": (16, 20)},
        {**base, "resolution": (20, 16)},
    ]
    assert len({digest(Genome(**fields)) for fields in (base, *others)}) == 7
