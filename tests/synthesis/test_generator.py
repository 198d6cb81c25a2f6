import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from edgesynth.records import GroupInfo
from edgesynth.space.genome import allowed_widths, canonical, digest
from edgesynth.synthesis.generator import LATENT, Generator, latents
from tests.space.cases import CASES, space_of

SEEDS = range(64)


def generator_of(name, seed=0):
    space = space_of(name)
    return Generator(space.groups, space.blocks, seed)


@pytest.mark.parametrize("name", CASES)
def test_any_seed_gives_an_allowed_canonical_genome(name):
    space = space_of(name)
    for genome in generator_of(name).generate(SEEDS):
        for group in space.groups:
            assert genome.widths[group.name] in [0, *allowed_widths(group.channels)]
        assert genome.blocks.keys() == {block.name for block in space.blocks}
        hidden = {g.name: genome.widths[g.name] or g.channels for g in space.groups}
        assert canonical(hidden, genome.blocks, space.groups, space.blocks) == genome


@given(st.lists(st.integers(1, 600), min_size=1, max_size=8), st.integers(0, 2**40), st.floats(-6, 6))
@settings(deadline=None, max_examples=60)
def test_widths_are_allowed_ones_for_any_channels(channels, seed, shift):
    groups = [GroupInfo(name=str(i), channels=c, layers=[f"layer{i}"]) for i, c in enumerate(channels)]
    generator = Generator(groups, [], seed)
    with torch.no_grad():
        draft = generator(*latents(range(seed, seed + 8), 0), shift)
    for genome in generator.genomes(draft):
        assert all(genome.widths[g.name] in allowed_widths(g.channels) for g in groups)
    assert ((draft.fractions > 0) & (draft.fractions <= 1)).all()
    assert draft.kept.shape == (8, 0)


@pytest.mark.parametrize(("shift", "index"), [(50.0, -1), (-50.0, 0)])
def test_a_shift_moves_every_width_to_its_end(shift, index):
    space, generator = space_of("resnet20"), generator_of("resnet20")
    with torch.no_grad():
        widths = generator(*latents(SEEDS, len(space.blocks)), shift).widths
    ends = torch.tensor([float(allowed_widths(g.channels)[index]) for g in space.groups])
    assert torch.allclose(widths, ends.expand_as(widths))


def test_the_same_seed_gives_the_same_genome_whatever_came_before():
    one, same = generator_of("resnet20"), generator_of("resnet20")
    torch.rand(5)
    genomes = one.generate(SEEDS)
    assert same.generate(SEEDS) == genomes
    assert one.generate([7, 3]) == [genomes[7], genomes[3]]
    assert generator_of("resnet20", seed=1).generate(SEEDS) != genomes


def test_a_generator_draws_nothing_from_the_programs_random_numbers():
    torch.manual_seed(3)
    expected = torch.rand(3)
    torch.manual_seed(3)
    generator_of("resnet20").generate([1])
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("name", ["resnet20", "mobilenetv2-tiny"])
def test_seeds_mostly_give_genomes_of_their_own(name):
    digests = {digest(genome) for genome in generator_of(name).generate(SEEDS)}
    assert len(digests) >= 60


def test_blocks_are_kept_more_often_than_not_at_first():
    genomes = generator_of("resnet20").generate(range(200))
    kept = [keeps for genome in genomes for keeps in genome.blocks.values()]
    assert 0.55 < sum(kept) / len(kept) < 0.9


def gradients(value, generator):
    generator.zero_grad()
    value.backward()
    return {name: parameter.grad for name, parameter in generator.named_parameters()}


@pytest.mark.parametrize(("part", "head", "other"), [("widths", "widths", "keeps"), ("kept", "keeps", "widths")])
def test_gradients_reach_the_parameters_through_the_rounding(part, head, other):
    space, generator = space_of("resnet20"), generator_of("resnet20")
    draft = generator(*latents(SEEDS, len(space.blocks)))
    found = gradients(getattr(draft, part).sum(), generator)
    for name in (f"{head}.weight", f"{head}.bias", "body.0.weight", "body.2.weight"):
        assert torch.isfinite(found[name]).all()
        assert (found[name] != 0).any()
    assert (found[f"{head}.bias"] > 0).all()
    assert found[f"{other}.weight"] is None


def test_the_gradient_of_a_rounded_width_is_that_of_the_exact_one():
    space, generator = space_of("resnet20"), generator_of("resnet20")
    normal, logistic = latents([4], len(space.blocks))
    logits = generator.widths(generator.body(normal)).detach()
    share = torch.sigmoid(logits[0])
    least = torch.tensor([float(allowed_widths(g.channels)[0]) for g in space.groups])
    found = gradients(generator(normal, logistic).widths.sum(), generator)["widths.bias"]
    assert torch.allclose(found, share * (1 - share) * (generator.channels - least), rtol=1e-4)


def test_a_draft_holds_the_rounded_values_of_its_genomes():
    space, generator = space_of("residual"), generator_of("residual")
    draft = generator(*latents(SEEDS, len(space.blocks)))
    assert set(draft.kept.detach().round(decimals=5).unique().tolist()) == {0.0, 1.0}
    for genome, widths, kept in zip(generator.genomes(draft), draft.widths, draft.kept, strict=True):
        assert [k > 0.5 for k in kept.tolist()] == list(genome.blocks.values())
        for group, width in zip(space.groups, widths.tolist(), strict=True):
            assert genome.widths[group.name] in (0, round(width))
            assert width == pytest.approx(round(width), abs=1e-4)


def test_a_prototype_without_blocks_has_a_generator():
    generator = Generator([GroupInfo(name="a", channels=8, layers=["a"])], [], 0)
    assert {genome.widths["a"] for genome in generator.generate(SEEDS)} == {4, 8}


def test_latents_depend_on_their_seed_alone():
    normal, logistic = latents([3, 4, 3], 5)
    assert normal.shape == (3, LATENT)
    assert logistic.shape == (3, 5)
    for noise in (normal, logistic):
        assert torch.equal(noise[0], noise[2])
        assert not torch.equal(noise[0], noise[1])
    assert torch.equal(latents([4], 5)[0][0], normal[1])


def test_block_noise_is_logistic():
    noise = latents(range(3000), 4)[1]
    for threshold in (-2.0, 0.0, 1.0):
        share = (noise < threshold).float().mean()
        assert share == pytest.approx(torch.sigmoid(torch.tensor(threshold)).item(), abs=0.02)
