"""Figures on modelled targets inside the objective: computed, with gradients."""

from collections.abc import Sequence

import pytest
import torch

from edgesynth.errors import RequirementError
from edgesynth.prototypes.resnet import resnet8
from edgesynth.requirements import parse_requirements
from edgesynth.space.cost import CostModel
from edgesynth.space.genome import allowed_widths, full_genome
from edgesynth.space.trace import Space, trace
from edgesynth.synthesis.modelled import Modelled, modelled_targets
from tests.synthesis.world import World

ASKED = ("latency_ms@tx2-sim<=1", "inferences_per_joule@tx2-sim>=1.05*prototype", "latency_ms@host<=3", "macs<=1M")


@pytest.fixture(scope="module")
def space() -> Space:
    return trace(resnet8(1, 10), torch.zeros(1, 1, 28, 28))


def modelled(space: Space, prototype: dict[str, float], notes: list[str], asked: Sequence[str] = ASKED) -> Modelled:
    return modelled_targets(space, CostModel.from_space(space), parse_requirements(asked), prototype, notes.append)


def whole(space: Space) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    widths = torch.tensor([[float(group.channels) for group in space.groups]], dtype=torch.float64)
    return widths, torch.ones(1, len(space.blocks), dtype=torch.float64), torch.ones(1, 1, dtype=torch.float64)


def test_what_models_are_asked_about_is_computed(space: Space) -> None:
    figures = modelled(space, {}, [])(*whole(space))
    assert set(figures) == {f"{name}@tx2-sim" for name in ("latency_ms", "energy_mj", "inferences_per_joule")}
    assert float(figures["energy_mj@tx2-sim"] * figures["inferences_per_joule@tx2-sim"]) == pytest.approx(1e3)
    assert modelled(space, {}, [], ["macs<=1M"])(*whole(space)) == {}


def test_a_prototype_that_is_estimated_otherwise_is_left_to_the_inquisitor(space: Space) -> None:
    latency_ms = float(modelled(space, {}, [])(*whole(space))["latency_ms@tx2-sim"])
    notes: list[str] = []
    assert modelled(space, {"latency_ms@tx2-sim": 1.01 * latency_ms}, notes)(*whole(space)) and not notes
    assert modelled(space, {"latency_ms@tx2-sim": 1.05 * latency_ms}, notes)(*whole(space)) == {}
    assert notes == [
        "latency_ms@tx2-sim is learned, not computed: the traced network and its file differ in their kernels"
    ]


def test_a_bound_that_no_genome_can_meet_is_told_before_the_search(space: Space) -> None:
    """ResNet-8 has no block that can be dropped, so its launches stay."""
    figures = modelled(space, {}, [])(*whole(space))
    known = {key: float(value[0]) for key, value in figures.items()}
    for text, out_of_reach in (
        ("inferences_per_joule@tx2-sim>=4*prototype", True),
        ("inferences_per_joule@tx2-sim>=1.05*prototype", False),
        ("latency_ms@tx2-sim<=0.5", True),
        ("latency_ms@tx2-sim>=0.5", False),
        ("energy_mj@tx2-sim<=prototype", False),
    ):
        if out_of_reach:
            with pytest.raises(RequirementError, match="is out of reach: the cheapest network of this space"):
                modelled(space, known, [], [text])
        else:
            modelled(space, known, [], [text])


def test_the_objective_follows_the_model_and_not_a_guess() -> None:
    world = World()
    learner = world.learner(["macs<=prototype/2"])
    asked: list[tuple[torch.Size, ...]] = []

    def figures(*genomes: torch.Tensor) -> dict[str, torch.Tensor]:
        asked.append(tuple(each.shape for each in genomes))
        return {"latency_ms@tx2-sim": genomes[0].sum(dim=1).float()}

    learner.objective.modelled = figures  # type: ignore[assignment]
    whole = full_genome(world.space.groups, world.space.blocks)
    first = world.space.groups[0]
    some = [
        whole.model_copy(update={"widths": whole.widths | {first.name: width}})
        for width in allowed_widths(first.channels)
    ]
    learner.inquisitor.learn("metric", some, torch.linspace(0, 1, len(some)), 1)
    code = learner.inquisitor.whole
    channels = torch.tensor([float(group.channels) for group in world.space.groups])
    found = learner.objective.estimate(code, channels, learner.inquisitor)
    assert float(found.values["latency_ms@tx2-sim"]) == float(channels.sum())
    assert asked == [((1, len(channels)), code.kept.shape, code.resolution.shape)]
