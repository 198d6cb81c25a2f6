import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr

from edgesynth.records import BlockInfo, Genome, GroupInfo
from edgesynth.space.genome import full_genome
from edgesynth.space.surgery import identity_ranking
from edgesynth.synthesis.generator import Code
from edgesynth.synthesis.inquisitor import MEMBERS, Evidence, Inquisitor
from edgesynth.synthesis.probe import GroupResponse, Responses
from edgesynth.synthesis.storage import from_bytes, to_bytes
from tests.space.cases import space_of
from tests.synthesis.spaces import costs_of, generator_of, made_up_costs

SPACE, COSTS = space_of("residual@56"), costs_of("residual@56")
GROUPS, BLOCKS, RESOLUTIONS = SPACE.groups, SPACE.blocks, SPACE.resolutions
RANKING = {g.name: list(reversed(range(g.channels))) for g in GROUPS}

PAIR = [GroupInfo(name="a", channels=4, layers=["a"]), GroupInfo(name="b.x", channels=8, layers=["b.x"])]
BLOCK = [BlockInfo(name="b", layers=["b.x", "b.y"])]
PAIR_RANKING = {"a": [2, 0, 3, 1], "b.x": list(range(8))}


def responses(scores, changes=None):
    groups = {name: GroupResponse(mean_abs=1.0, dead=0.0, taylor=taylor) for name, taylor in scores.items()}
    return Responses(groups=groups, blocks=changes or {})


def pair_evidence():
    return Evidence(PAIR, BLOCK, PAIR_RANKING)


def genome(a, b, kept=True):
    return Genome(widths={"a": a, "b.x": b}, blocks={"b": kept})


def test_evidence_only_changes_what_was_seen():
    evidence = pair_evidence()
    evidence.add(genome(2, 0, kept=False), responses({"a": [3.0, 1.0]}))
    # Channels 0 and 2 are kept, in this order; their proportions move a tenth of the way, their total stays.
    assert evidence.channels["a"].tolist() == pytest.approx([0.9 * 0.25 + 0.1 * 0.375, 0.25, 0.9 * 0.25 + 0.0125, 0.25])
    assert evidence.channels["b.x"].tolist() == [0.125] * 8
    assert evidence.changes == {"b": 1.0}


def test_evidence_of_blocks_is_an_average_that_forgets():
    evidence = pair_evidence()
    for change in (0.5, 0.2):
        evidence.add(genome(4, 8), responses({}, {"b": change}))
    assert evidence.changes["b"] == pytest.approx(0.9 * (0.9 + 0.1 * 0.5) + 0.1 * 0.2)


@given(st.lists(st.floats(0, 1e6), min_size=3, max_size=3))
@settings(deadline=None)
def test_only_proportions_carry_over(scores):
    evidence = pair_evidence()
    for _ in range(5):
        evidence.add(genome(3, 8), responses({"a": scores}))
    assert (evidence.channels["a"] >= 0).all()
    assert evidence.channels["a"].sum().item() == pytest.approx(1, abs=1e-5)
    assert evidence.channels["a"][1].item() == 0.25


def test_a_network_that_does_not_respond_is_no_evidence():
    evidence = pair_evidence()
    evidence.add(genome(4, 8), responses({"a": [0.0] * 4}))
    assert evidence.channels["a"].tolist() == [0.25] * 4


def learned_evidence(seed, groups=GROUPS, blocks=BLOCKS, ranking=RANKING):
    evidence = Evidence(groups, blocks, ranking)
    random = torch.Generator().manual_seed(seed)
    for group in groups:
        evidence.channels[group.name] = torch.rand(group.channels, generator=random) ** 4
    for block in blocks:
        evidence.changes[block.name] = float(torch.rand((), generator=random))
    return evidence


def test_retained_is_the_share_of_the_scores_of_the_first_channels_in_the_ranking():
    evidence = pair_evidence()
    evidence.channels["a"] = torch.tensor([1.0, 2.0, 3.0, 4.0])
    shares = evidence.retained(torch.tensor([[k / 4, 0.5] for k in range(5)]))
    assert shares[:, 0].tolist() == pytest.approx([0, 0.3, 0.4, 0.8, 1.0])
    assert shares[:, 1].tolist() == pytest.approx([0.5] * 5)
    between = torch.tensor([[0.375, 0.3]], requires_grad=True)
    share = evidence.retained(between)
    assert share[0].tolist() == pytest.approx([0.35, 0.3])
    share.sum().backward()
    assert between.grad[0].tolist() == pytest.approx([4 * 0.1, 1.0], rel=1e-5)


fractions = st.lists(st.floats(0, 1, width=32), min_size=len(GROUPS), max_size=len(GROUPS))
choices = st.integers(0, len(RESOLUTIONS) - 1)


@given(st.integers(0, 1000), fractions, fractions)
@settings(deadline=None)
def test_retained_is_a_share_that_grows_with_every_width(seed, one, other):
    evidence = learned_evidence(seed)
    low, high = torch.tensor([one, other]).aminmax(dim=0)
    shares = evidence.retained(torch.stack([low, high, torch.ones(len(GROUPS)), torch.zeros(len(GROUPS))]))
    assert ((shares >= 0) & (shares <= 1 + 1e-6)).all()
    assert (shares[1] >= shares[0] - 1e-6).all()
    assert shares[2].tolist() == pytest.approx([1.0] * len(GROUPS), abs=1e-6)
    assert shares[3].tolist() == [0.0] * len(GROUPS)


def test_blocks_weigh_by_the_change_that_they_make():
    evidence = Evidence(GROUPS, BLOCKS, RANKING)
    for block, change in zip(BLOCKS, (0.3, 0.6, 0.9), strict=True):
        evidence.changes[block.name] = change
    assert evidence.block_weights().tolist() == pytest.approx([0.5, 1.0, 1.5])
    assert Evidence(GROUPS, [], RANKING).block_weights().tolist() == []


def test_features_of_a_dropped_block_are_gone_whatever_the_widths_say():
    costs = made_up_costs(PAIR, BLOCK)
    # A channel of the second group costs a parameter only as long as the block is there.
    costs.membership[1, 0] = 1.0
    inquisitor = Inquisitor(PAIR, BLOCK, costs, pair_evidence(), 0)
    one = torch.ones(2, 1)
    code = Code(torch.tensor([[0.5, 0.25], [0.5, 0.25]]), torch.tensor([[1.0], [0.0]]), one)
    features = inquisitor.features(code)
    # Four scales of the two groups: linear, logarithmic (0 at 1/64), inverse (0 at 1/8), share of the response.
    scales = [[0.5, 0.25], [5 / 6, 4 / 6], [6 / 7, 4 / 7], [0.5, 0.25]]
    # Parameters and MACs on a logarithmic scale that is 0 at 1/256 of the prototype's.
    sizes = [[1 + math.log(size / 12) / math.log(256)] * 2 for size in (4, 2)]
    assert features[0].tolist() == pytest.approx([share for scale in scales for share in scale] + [1.0] + sizes[0])
    gone = [share for stem, _ in scales for share in (stem, 0.0)]
    assert features[1].tolist() == pytest.approx(gone + [0.0] + sizes[1])
    canonical = inquisitor.features(inquisitor.encode([genome(2, 2), genome(2, 0, kept=False)]))
    assert torch.allclose(canonical, features)


def test_genomes_are_encoded_as_shares_and_choices():
    inquisitor = Inquisitor(GROUPS, BLOCKS, COSTS, Evidence(GROUPS, BLOCKS, RANKING), 0)
    widths = {g.name: w for g, w in zip(GROUPS, (4, 3, 8, 12, 16), strict=True)}
    blocks = dict(zip((b.name for b in BLOCKS), (True, False, True), strict=True))
    smaller = Genome(widths=widths, blocks=blocks, resolution=RESOLUTIONS[2])
    code = inquisitor.encode([smaller, smaller.model_copy(update={"resolution": None})])
    assert code.fractions[0].tolist() == [0.5, 0.25, 1.0, 0.75, 1.0]
    assert code.kept[0].tolist() == [1, 0, 1]
    assert code.resolution.tolist() == [[0, 0, 1, 0], [1, 0, 0, 0]]
    whole = inquisitor.encode([full_genome(GROUPS, BLOCKS)])
    assert all(torch.equal(a, b) for a, b in zip(inquisitor.whole, whole, strict=True))


def test_features_say_that_a_resolution_is_at_least_so_large():
    inquisitor = Inquisitor(GROUPS, BLOCKS, COSTS, Evidence(GROUPS, BLOCKS, RANKING), 0)
    full = full_genome(GROUPS, BLOCKS)
    sizes = [full.model_copy(update={"resolution": size}) for size in (None, *RESOLUTIONS[1:])]
    features = inquisitor.features(inquisitor.encode(sizes))
    at_least = 4 * len(GROUPS) + len(BLOCKS)
    assert features[:, at_least:-2].tolist() == [[1, 1, 1], [0, 1, 1], [0, 0, 1], [0, 0, 0]]
    assert features[:, :at_least].unique(dim=0).shape[0] == 1
    assert features[:, -2].unique().tolist() == [1]
    assert features[:, -1].tolist() == sorted(features[:, -1].tolist(), reverse=True)


def genomes(count, first=0):
    return generator_of("residual@56", seed=1).generate(range(first, first + count))


def truth(genomes):
    """Grows with every width and block, with diminishing returns, and interactions by multiplication."""
    values = []
    for one in genomes:
        value = 1.0
        for position, group in enumerate(GROUPS):
            value *= (one.widths[group.name] / group.channels + 0.1) ** (0.2 + 0.3 * position)
        for position, kept in enumerate(one.blocks.values()):
            value *= 1.0 if kept else 0.9 - 0.2 * position
        value *= ((one.resolution or RESOLUTIONS[0])[0] / RESOLUTIONS[0][0]) ** 0.3
        values.append(value)
    return torch.tensor(values).log()


def taught(sense=1, count=60, seed=0):
    inquisitor = Inquisitor(GROUPS, BLOCKS, COSTS, learned_evidence(2), seed)
    known = genomes(count)
    inquisitor.learn("metric", known, sense * truth(known), sense)
    return inquisitor


@pytest.fixture(scope="module")
def inquisitors():
    return {sense: taught(sense) for sense in (1, -1)}


@pytest.mark.parametrize("sense", [1, -1])
def test_it_learns_a_function_of_the_genome(inquisitors, sense):
    unseen = genomes(80, first=1000)
    expected = sense * truth(unseen)
    prediction = inquisitors[sense].predict("metric", inquisitors[sense].encode(unseen))
    assert spearmanr(prediction.mean.detach(), expected).statistic > 0.9
    error = (prediction.mean.detach() - expected).square().mean()
    assert error < 0.2 * expected.var()


@pytest.mark.parametrize("sense", [1, -1])
@given(fractions, fractions, st.lists(st.booleans(), min_size=6, max_size=6), st.booleans(), choices, choices)
@settings(deadline=None)
def test_no_member_ever_predicts_worse_for_more(inquisitors, sense, one, other, kept, same_blocks, small, large):
    """Wider layers, further blocks, a larger image: none of them can make the metric fall."""
    inquisitor = inquisitors[sense]
    low, high = torch.tensor([one, other]).aminmax(dim=0)
    fewer, more = torch.tensor(kept).float().view(2, 3).aminmax(dim=0)
    blocks = torch.stack([more if same_blocks else fewer, more])
    # Resolutions fall in their order.
    resolutions = torch.eye(len(RESOLUTIONS))[[max(small, large), min(small, large)]]
    with torch.no_grad():
        features = inquisitor.features(Code(torch.stack([low, high]), blocks, resolutions))
        members = inquisitor._models["metric"].members(features)
    assert members.shape == (2, MEMBERS)
    gain = sense * (members[1] - members[0])
    assert (gain >= -1e-4).all()


def test_gradients_in_widths_are_finite_and_of_the_right_sign(inquisitors):
    code = inquisitors[1].encode(genomes(20, first=500))
    for part in code:
        part.requires_grad_(True)
    inquisitors[1].predict("metric", code).mean.sum().backward()
    for gradient in (part.grad for part in code):
        assert torch.isfinite(gradient).all()
        assert (gradient >= 0).all()
        assert (gradient > 0).any()


def test_members_differ_and_most_where_nothing_is_known():
    inquisitor = Inquisitor(GROUPS, BLOCKS, COSTS, learned_evidence(2), 0)
    code = inquisitor.encode(genomes(200))
    widths = code.fractions
    small = (widths.mean(dim=1) < widths.mean(dim=1).median()).nonzero().flatten().tolist()
    known = [g for index, g in enumerate(genomes(200)) if index in small]
    inquisitor.learn("metric", known, truth(known), 1)
    spread = inquisitor.predict("metric", code).spread
    full = inquisitor.predict("metric", inquisitor.whole).spread
    assert (spread > 0).all()
    assert full.item() > spread[small].mean().item()


def test_what_is_restored_predicts_and_goes_on_learning_alike():
    inquisitor = taught()
    inquisitor.learn("latency_ms@tx2-sim", genomes(20), -truth(genomes(20)), -1)
    restored = Inquisitor(GROUPS, BLOCKS, COSTS, Evidence(GROUPS, BLOCKS, RANKING), 0)
    restored.restore(from_bytes(to_bytes(inquisitor.state())))
    assert restored.knows == inquisitor.knows == {"metric", "latency_ms@tx2-sim"}
    assert restored.evidence.changes == inquisitor.evidence.changes
    unseen = inquisitor.encode(genomes(30, first=300))

    def assert_alike():
        for name in inquisitor.knows:
            one, other = inquisitor.predict(name, unseen), restored.predict(name, unseen)
            assert torch.equal(one.mean, other.mean)
            assert torch.equal(one.spread, other.spread)

    assert_alike()
    more = genomes(70)
    for learner in (inquisitor, restored):
        learner.evidence.add(more[0], responses({"stem.0": [1.0] * more[0].widths["stem.0"]}))
        learner.learn("metric", more, truth(more), 1)
    assert_alike()


def test_a_state_is_a_copy_that_later_learning_does_not_change():
    inquisitor = taught(count=10)
    restored = Inquisitor(GROUPS, BLOCKS, COSTS, Evidence(GROUPS, BLOCKS, RANKING), 0)
    restored.restore(inquisitor.state())
    inputs = inquisitor.encode(genomes(5, first=300))
    before = restored.predict("metric", inputs).mean
    inquisitor.evidence.add(genomes(1)[0], responses({"stem.0": [9.0] * genomes(1)[0].widths["stem.0"]}))
    inquisitor.learn("metric", genomes(20), truth(genomes(20)), 1)
    assert torch.equal(restored.predict("metric", inputs).mean, before)


def test_one_seed_gives_the_same_predictions():
    inputs = taught(count=10).encode(genomes(5, first=300))
    one, same, other = (taught(count=10, seed=seed).predict("metric", inputs).mean for seed in (0, 0, 1))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


def test_a_constant_is_learned_as_one():
    inquisitor = Inquisitor(GROUPS, BLOCKS, COSTS, learned_evidence(2), 0)
    inquisitor.learn("metric", genomes(10), torch.full((10,), 3.5), 1)
    prediction = inquisitor.predict("metric", inquisitor.encode(genomes(5)))
    assert prediction.mean.tolist() == pytest.approx([3.5] * 5, abs=1e-4)


def test_a_space_without_blocks_or_resolutions_can_be_learned():
    groups = space_of("plain").groups
    evidence = Evidence(groups, (), identity_ranking(groups))
    inquisitor = Inquisitor(groups, (), costs_of("plain"), evidence, 0)
    known = generator_of("plain", seed=1).generate(range(20))
    inquisitor.learn("metric", known, torch.tensor([float(g.widths["3"]) for g in known]), 1)
    full, least = torch.tensor([[1.0, 1.0], [1.0, 1 / 3]])
    answers = inquisitor.predict("metric", Code(torch.stack([full, least]), torch.zeros(2, 0), torch.ones(2, 1))).mean
    assert answers[0] > answers[1] + 5
