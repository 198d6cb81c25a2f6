"""What is said of groups and blocks, in a world whose truth is known."""

import math
import random

import pytest
import torch

from edgesynth.records import PrototypeInfo
from edgesynth.space.genome import allowed_widths, canonical, full_genome
from edgesynth.synthesis.insight import insight, predicted_metrics
from edgesynth.synthesis.objective import METRIC
from edgesynth.synthesis.probe import GroupResponse, Responses
from edgesynth.synthesis.rungs import rank_correlation
from tests.synthesis.world import World


def info(world):
    return PrototypeInfo(
        name="resnet20",
        val_metric=0.95,
        test_metric=None,
        params=1,
        macs=1,
        netscore=0.0,
        onnx=None,
        parity=None,
        measurements=[],
        groups=list(world.space.groups),
        blocks=list(world.space.blocks),
        resolutions=list(world.space.resolutions),
    )


def independent_genomes(space, number):
    """Every gene for itself: only then can a model tell what each of them alone is worth."""
    draw = random.Random(0)
    return [
        canonical(
            {group.name: draw.choice(allowed_widths(group.channels)) for group in space.groups},
            {block.name: draw.random() < 0.7 for block in space.blocks},
            space.groups,
            space.blocks,
            draw.choice([None, space.resolutions[1]]),
        )
        for _ in range(number)
    ]


@pytest.fixture(scope="module")
def told():
    """(world, its learner, scores of networks of all kinds, genomes of 64 seeds, what is said)."""
    world = World(1)
    learner = world.learner(["macs<=prototype/4"])
    scores = world.score(independent_genomes(world.space, 200))
    for score in scores:
        learner.inquisitor.evidence.add(score.genome, score.responses)
    logits = torch.tensor([math.log(score.metric / (1 - score.metric)) for score in scores])
    learner.inquisitor.learn(METRIC, [score.genome for score in scores], logits, sense=1)
    genomes = learner.generator.generate(range(64))
    return world, learner, scores, genomes, insight(learner.inquisitor, info(world), genomes, scores)


def test_everything_is_named_in_forward_order(told):
    world, _, scores, _, said = told
    assert [group.name for group in said.groups] == [group.name for group in world.space.groups]
    assert [block.name for block in said.blocks] == [block.name for block in world.space.blocks]
    assert tuple(each.resolution for each in said.resolutions) == world.space.resolutions
    assert said.probed == len(scores)


def test_what_hurts_has_the_greater_price(told):
    world, _, _, _, said = told
    price = {group.name: group.price for group in said.groups}
    ordered = sorted(world.pain, key=world.pain.get)
    assert price[ordered[-1]] > price[ordered[0]]
    rho, _ = rank_correlation([world.pain[name] for name in price], list(price.values()))
    assert rho > 0.7
    block_price = {block.name: block.price for block in said.blocks}
    rho, _ = rank_correlation([world.block_pain[name] for name in block_price], list(block_price.values()))
    assert rho > 0.7


def test_a_price_is_a_fall_of_the_metric_from_the_whole_prototype(told):
    world, learner, _, _, said = told
    groups, blocks = world.space.groups, world.space.blocks
    whole = full_genome(groups, blocks)
    full = predicted_metrics(learner.inquisitor, [whole])[0]
    half = whole.model_copy(update={"widths": whole.widths | {groups[1].name: groups[1].channels // 2}})
    assert said.groups[1].price == pytest.approx(full - predicted_metrics(learner.inquisitor, [half])[0])
    gone = canonical(whole.widths, whole.blocks | {blocks[0].name: False}, groups, blocks)
    assert said.blocks[0].price == pytest.approx(full - predicted_metrics(learner.inquisitor, [gone])[0])
    assert all(0 <= each.price < 1 for each in [*said.groups, *said.blocks])


def test_predictions_are_metrics_not_logits(told):
    _, learner, scores, _, _ = told
    errors = [abs(predicted_metrics(learner.inquisitor, [score.genome])[0] - score.metric) for score in scores]
    assert sum(errors) / len(errors) < 0.02


def test_shares_kept_are_those_of_the_seeds(told):
    world, _, _, genomes, said = told
    group, block = world.space.groups[3], world.space.blocks[2]
    kept = [genome.widths[group.name] / group.channels for genome in genomes]
    assert said.groups[3].kept == pytest.approx(sum(kept) / len(kept))
    assert said.blocks[2].kept == sum(genome.blocks[block.name] for genome in genomes) / len(genomes)


def test_responses_are_means_over_the_networks_that_have_the_part(told):
    world, learner, scores, genomes, _ = told
    name, block = world.space.groups[2].name, world.space.blocks[0].name
    taylor = {"mean_abs": 1.0, "dead": 0.0, "taylor": [1.0]}
    some = Responses(
        groups={name: GroupResponse(mean_abs=0.5, dead=0.25, taylor=[2.0, 1.0]), "x": GroupResponse(**taylor)},
        blocks={block: 0.3},
    )
    others = Responses(
        groups={name: GroupResponse(mean_abs=1.5, dead=0.75, taylor=[1.0]), "x": GroupResponse(**taylor)}, blocks={}
    )
    none = Responses(groups={}, blocks={})
    probed = [scores[0].model_copy(update={"responses": each}) for each in (some, others, none)]
    said = insight(learner.inquisitor, info(world), genomes, probed)
    told = said.groups[2]
    assert (told.mean_abs, told.dead, told.taylor) == pytest.approx((1.0, 0.5, (0.75 + 0.5) / 2))
    assert said.blocks[0].change == 0.3
    assert (said.groups[3].taylor, said.groups[3].mean_abs, said.groups[3].dead) == (None, None, None)
    assert said.blocks[1].change is None


def test_a_resolution_has_a_price_and_the_share_of_seeds_that_take_it(told):
    world, _, _, genomes, said = told
    whole, small = said.resolutions
    assert whole.price == 0
    assert small.price == pytest.approx(4 * world.resolution_pain, rel=0.5)
    assert whole.kept == sum(genome.resolution is None for genome in genomes) / len(genomes)
    assert small.kept == pytest.approx(1 - whole.kept)
