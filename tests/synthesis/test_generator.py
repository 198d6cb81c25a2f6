import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from edgesynth.requirements import Requirement, parse_requirements
from edgesynth.space.cost import count
from edgesynth.space.genome import allowed_widths, canonical, digest, full_genome
from edgesynth.space.surgery import identity_ranking, materialise
from edgesynth.synthesis import generator as module
from edgesynth.synthesis.generator import LATENT, latents
from tests.space.cases import CASES, genomes, space_of
from tests.synthesis.spaces import costs_of, generator_of, made_up_generator

SEEDS = range(64)


def free(generator, seeds=SEEDS, shift=0.0):
    """The drafts of seeds of which nothing is asked."""
    bounds = generator.conditions.bounds([[]] * len(seeds))
    return generator(generator.latents(seeds), bounds, shift)


@pytest.mark.parametrize("name", CASES)
def test_any_seed_gives_an_allowed_canonical_genome(name):
    space = space_of(name)
    for genome in generator_of(name).generate(SEEDS):
        for group in space.groups:
            assert genome.widths[group.name] in [0, *allowed_widths(group.channels)]
        assert genome.blocks.keys() == {block.name for block in space.blocks}
        assert genome.resolution in [None, *space.resolutions[1:]]
        hidden = {g.name: genome.widths[g.name] or g.channels for g in space.groups}
        assert canonical(hidden, genome.blocks, space.groups, space.blocks, genome.resolution) == genome


@given(st.lists(st.integers(1, 600), min_size=1, max_size=8), st.integers(0, 2**40), st.floats(-6, 6))
@settings(deadline=None, max_examples=60)
def test_widths_are_allowed_ones_for_any_channels(channels, seed, shift):
    generator = made_up_generator(channels, seed)
    with torch.no_grad():
        draft = free(generator, range(seed, seed + 8), shift)
    for genome in generator.genomes(draft):
        assert all(genome.widths[str(i)] in allowed_widths(c) for i, c in enumerate(channels))
    fractions, kept, resolution = draft.code
    assert ((fractions > 0) & (fractions <= 1)).all()
    assert kept.shape == (8, 0)
    assert resolution.tolist() == [[1.0]] * 8


@pytest.mark.parametrize(("shift", "index"), [(50.0, -1), (-50.0, 0)])
def test_a_shift_moves_every_width_to_its_end(shift, index):
    space, generator = space_of("resnet20"), generator_of("resnet20")
    with torch.no_grad():
        widths = free(generator, shift=shift).widths
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


def test_blocks_and_the_full_resolution_are_kept_more_often_than_not_at_first():
    genomes = generator_of("resnet20").generate(range(200))
    kept = [keeps for genome in genomes for keeps in genome.blocks.values()]
    assert 0.55 < sum(kept) / len(kept) < 0.9
    sizes = [genome.resolution for genome in generator_of("residual@56").generate(range(200))]
    assert 0.35 < sizes.count(None) / 200 < 0.7
    assert min(sizes.count(size) for size in space_of("residual@56").resolutions[1:]) >= 10


def test_no_choice_is_ever_closed():
    """However far learning pushes the logits of blocks and resolutions, some seed in twelve or so decides otherwise."""
    generator = generator_of("residual@56")
    with torch.no_grad():
        generator.keeps.bias.fill_(1e6)
        generator.resolutions.bias.copy_(torch.tensor([-1e6, 1e6, -1e6, -1e6]))
    genomes = generator.generate(range(300))
    for block in space_of("residual@56").blocks:
        assert 10 <= sum(not genome.blocks[block.name] for genome in genomes) <= 45
    assert {genome.resolution for genome in genomes} == {None, *space_of("residual@56").resolutions[1:]}


def gradients(value, generator):
    generator.zero_grad()
    value.backward()
    return {name: parameter.grad for name, parameter in generator.named_parameters()}


@pytest.mark.parametrize(
    ("part", "head", "others"),
    [
        ("widths", "widths", ["keeps", "resolutions"]),
        ("kept", "keeps", ["widths", "resolutions"]),
        ("resolution", "resolutions", ["widths", "keeps"]),
    ],
)
def test_gradients_reach_the_parameters_through_the_rounding(part, head, others):
    generator = generator_of("residual@56")
    # The last column alone: over all resolutions the sum is always 1.
    chosen = getattr(free(generator), part)[:, -1:]
    found = gradients(chosen.sum(), generator)
    for name in (f"{head}.weight", f"{head}.bias", "body.0.weight", "body.2.weight"):
        assert torch.isfinite(found[name]).all()
        assert (found[name] != 0).any()
    assert found[f"{head}.bias"][-1] > 0
    if part == "resolution":
        assert (found[f"{head}.bias"][:-1] < 0).all()
    else:
        assert (gradients(getattr(free(generator), part).sum(), generator)[f"{head}.bias"] > 0).all()
    assert all(found[f"{other}.weight"] is None for other in others)


def test_the_gradient_of_a_rounded_width_is_that_of_the_exact_one():
    space, generator = space_of("resnet20"), generator_of("resnet20")
    normal = generator.latents([4]).normal
    unasked = generator.conditions.encode(generator.conditions.bounds([[]]))
    logits = generator.widths(generator.body(torch.cat([normal, unasked], dim=1))).detach()
    share = torch.sigmoid(logits[0])
    least = torch.tensor([float(allowed_widths(g.channels)[0]) for g in space.groups])
    found = gradients(free(generator, [4]).widths.sum(), generator)["widths.bias"]
    assert torch.allclose(found, share * (1 - share) * (generator.channels - least), rtol=1e-4)


def test_a_draft_holds_the_rounded_values_of_its_genomes():
    space, generator = space_of("residual@56"), generator_of("residual@56")
    draft = free(generator)
    for choice in (draft.kept, draft.resolution):
        assert set(choice.detach().round(decimals=5).unique().tolist()) == {0.0, 1.0}
    assert (draft.resolution.sum(dim=1) - 1).abs().max() < 1e-5
    rows = zip(generator.genomes(draft), draft.widths, draft.kept, draft.resolution, strict=True)
    for genome, widths, kept, resolution in rows:
        assert [k > 0.5 for k in kept.tolist()] == list(genome.blocks.values())
        assert (genome.resolution or space.resolutions[0]) == space.resolutions[resolution.argmax()]
        for group, width in zip(space.groups, widths.tolist(), strict=True):
            assert genome.widths[group.name] in (0, round(width))
            assert width == pytest.approx(round(width), abs=1e-4)


def test_a_prototype_without_blocks_has_a_generator():
    assert {genome.widths["0"] for genome in made_up_generator([8]).generate(SEEDS)} == {2, 4, 6, 8}


def test_latents_depend_on_their_seed_alone():
    noise = latents([3, 4, 3], 5, 2)
    assert [part.shape for part in noise] == [(3, LATENT), (3, 5), (3, 2)]
    for part, alone in zip(noise, latents([4], 5, 2), strict=True):
        assert torch.equal(part[0], part[2])
        assert not torch.equal(part[0], part[1])
        assert torch.equal(alone[0], part[1])


def test_block_noise_is_logistic():
    noise = latents(range(3000), 4, 1).logistic
    for threshold in (-2.0, 0.0, 1.0):
        share = (noise < threshold).float().mean()
        assert share == pytest.approx(torch.sigmoid(torch.tensor(threshold)).item(), abs=0.02)


def test_resolution_noise_is_of_gumbel():
    noise = latents(range(3000), 1, 4).gumbel
    for threshold in (-1.0, 0.0, 2.0):
        share = (noise < threshold).float().mean()
        assert share == pytest.approx(math.exp(-math.exp(-threshold)), abs=0.02)


def exact(key, bound):
    return Requirement(f"{key}<={bound}", key, None, "<=", 0.0, bound)


def pushed(generator, seed, strength):
    """The generator with other parameters, as far from its first ones as learning might ever take it."""
    random = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for head in (generator.widths, generator.keeps, generator.resolutions):
            head.bias += strength * torch.randn(head.bias.shape, generator=random)
    return generator


@pytest.mark.parametrize("name", CASES)
@given(data=st.data())
@settings(max_examples=10, deadline=None)
def test_whatever_budget_the_space_can_meet_every_genome_meets(name, data):
    """Budgets that some network of the space just uses up: of MACs, of parameters, or both."""
    space, costs = space_of(name), costs_of(name)
    possible, keys = costs.of(data.draw(genomes(space))), data.draw(st.sampled_from(["macs", "params", "both"]))
    demand = [exact(key, float(getattr(possible, key))) for key in ("macs", "params") if keys in (key, "both")]
    generator = pushed(
        generator_of(name), data.draw(st.integers(0, 1000)), data.draw(st.sampled_from([0.0, 3.0, 30.0]))
    )
    first = data.draw(st.integers(0, 2**40))
    made = generator.generate(range(first, first + 16), demand)
    for genome in made:
        assert all(requirement.met(getattr(costs.of(genome), requirement.key), None) for requirement in demand)
    network = materialise(space, made[0], identity_ranking(space.groups))
    assert count(network, space.example) == costs.of(made[0])


@pytest.mark.parametrize("name", ["resnet20", "mobilenetv2-tiny"])
@pytest.mark.parametrize("key", ["macs", "params"])
def test_a_budget_is_spent_as_well_as_whole_steps_of_channels_allow(name, key):
    generator, costs = generator_of(name), costs_of(name)
    full = costs.of(full_genome(space_of(name).groups, space_of(name).blocks))
    made = generator.generate(SEEDS, parse_requirements([f"{key}<=prototype/8"]))
    shares = [8 * getattr(costs.of(genome), key) / getattr(full, key) for genome in made]
    assert max(shares) <= 1
    assert sorted(shares)[len(shares) // 2] > 0.9


def test_a_budget_that_all_fit_changes_nothing():
    generator = generator_of("residual@56")
    assert generator.generate(SEEDS, parse_requirements(["macs<=prototype", "params<=prototype"])) != []
    # The bounds are an input as well; with its weights at 0 they are no more than bounds.
    with torch.no_grad():
        generator.body[0].weight[:, LATENT:] = 0
    assert generator.generate(SEEDS, parse_requirements(["macs<=prototype", "params<=prototype"])) == (
        generator.generate(SEEDS)
    )


def test_choices_give_way_in_the_order_of_their_uncertainty():
    """One block after the other, the least certain first, and the image before a block that is more certain."""
    generator, costs = generator_of("residual@56"), costs_of("residual@56")
    keeping = torch.tensor([[1.0, 0.5, 3.0]])
    least = generator._least.expand(1, -1)

    def turned(bound, choosing, key="macs"):
        bounds = generator.conditions.bounds([[exact(key, bound)]])
        kept, resolution = generator._affordable(keeping, torch.tensor([choosing]), bounds)
        return [int(k) for k in kept[0].tolist()], int(resolution.argmax())

    def cost(kept, place):
        chosen = torch.eye(4)[[place]]
        params, macs = costs(least.double(), torch.tensor([kept]).double(), chosen.double())
        return macs.item(), params.item()

    certain = [9.0, 0.0, 0.0, 0.0]
    assert turned(cost([1, 1, 1], 0)[0], certain) == ([1, 1, 1], 0)
    assert turned(cost([1, 1, 1], 0)[0] - 1, certain) == ([1, 0, 1], 0)
    assert turned(cost([1, 0, 1], 0)[0] - 1, certain) == ([0, 0, 1], 0)
    assert turned(cost([0, 0, 1], 0)[0] - 1, certain) == ([0, 0, 0], 0)
    assert turned(cost([0, 0, 0], 0)[0] - 1, certain)[1] > 0
    # Here a smaller image is nearer, the third more than the second.
    assert turned(cost([1, 1, 1], 0)[0] - 1, [1.2, 0.0, 0.9, 0.0]) == ([1, 1, 1], 2)
    # To parameters the image makes no difference.
    assert turned(cost([1, 1, 1], 0)[1] - 1, [1.2, 0.0, 0.9, 0.0], "params") == ([1, 0, 1], 0)


def test_what_no_network_meets_gives_the_smallest():
    space, generator = space_of("residual@56"), generator_of("residual@56")
    (genome,) = set(map(str, generator.generate(SEEDS, [exact("macs", 1.0)])))
    smallest = canonical(
        {g.name: allowed_widths(g.channels)[0] for g in space.groups},
        {b.name: False for b in space.blocks},
        space.groups,
        space.blocks,
        space.resolutions[-1],
    )
    assert genome == str(smallest)


@pytest.mark.parametrize("name", ["resnet20", "residual@56", "mobilenetv2-tiny"])
def test_the_same_seed_and_demand_give_the_same_genome_whatever_the_batch(name):
    generator = generator_of(name, "macs<=prototype/4", "accuracy>=prototype-0.05")
    seeds = list(range(24))
    demands = [
        parse_requirements(texts)
        for texts in (["macs<=prototype/4"], ["macs<=prototype/16"], ["params<=prototype/3", "accuracy>=0.8"], [])
    ] * 6
    with torch.no_grad():
        mixed = generator.genomes(generator(generator.latents(seeds), generator.conditions.bounds(demands)))
    alone = [generator.generate([seed], demand)[0] for seed, demand in zip(seeds, demands, strict=True)]
    assert mixed == alone
    for demand in demands[:4]:
        together = generator.generate(seeds, demand)
        assert together[5:9] == generator.generate(seeds[5:9], demand)
        assert together[::-1] == generator.generate(seeds[::-1], demand)


@pytest.mark.parametrize(("name", "asked"), [
    ("resnet20", ["macs<=prototype/6"]),
    ("residual@56", ["params<=prototype/4"]),
    ("residual@56", ["macs<=prototype/8", "params<=prototype/3"]),
])  # fmt: skip
def test_the_gradient_of_the_shift_is_that_of_the_implicit_function(name, asked, monkeypatch):
    """On exact widths: nudge a logit or a kept block, find the shift anew, and see how it moved."""
    generator = generator_of(name)
    monkeypatch.setattr(generator, "_rounded", lambda widths: widths)
    monkeypatch.setattr(module, "HALVINGS", 60)
    random = torch.Generator().manual_seed(0)
    space, bounds = space_of(name), generator.conditions.bounds([parse_requirements(asked)])
    logits = torch.randn(1, len(space.groups), generator=random, dtype=torch.float64) + 1
    kept = torch.ones(1, len(space.blocks), dtype=torch.float64)
    resolution = torch.full((1, len(space.resolutions)), 1 / len(space.resolutions), dtype=torch.float64)
    inputs = [logits, kept, resolution]
    for part in inputs:
        part.requires_grad_(True)
    shift = generator._fitting_shift(*inputs, bounds)
    assert shift.item() < -0.1
    found = torch.autograd.grad(shift.sum(), inputs)
    nudge = 1e-4
    for part, gradient in zip(inputs, found, strict=True):
        for place in range(part.shape[1]):
            sides = []
            for sign in (1, -1):
                moved = [one.detach().clone() for one in inputs]
                moved[[one is part for one in inputs].index(True)][0, place] += sign * nudge
                with torch.no_grad():
                    sides.append(generator._fitting_shift(*moved, bounds).item())
            numerical = (sides[0] - sides[1]) / (2 * nudge)
            assert gradient[0, place].item() == pytest.approx(numerical, rel=2e-3, abs=1e-5)
    # Whatever grows the network pushes all widths down.
    assert all((gradient <= 0).all() for gradient in found)
    assert (found[0] < 0).all()


def test_under_a_budget_one_width_can_only_grow_at_the_cost_of_the_others():
    """So the gradient of the size itself is nothing: there is nothing to be learned about keeping to a budget."""
    generator, costs = generator_of("resnet20"), costs_of("resnet20")
    bounds = generator.conditions.bounds([parse_requirements(["macs<=prototype/16"])] * len(SEEDS))
    draft = generator(generator.latents(SEEDS), bounds)
    _, macs = costs(draft.widths.double(), draft.kept.double(), draft.resolution.double())
    under_budget = gradients(torch.log(macs).sum(), generator)["widths.bias"].abs().max()
    draft = free(generator)
    _, macs = costs(draft.widths.double(), draft.kept.double(), draft.resolution.double())
    unbounded = gradients(torch.log(macs).sum(), generator)["widths.bias"].abs().max()
    assert under_budget < 0.01 * unbounded
