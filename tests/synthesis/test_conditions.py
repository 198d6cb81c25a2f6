import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from edgesynth.errors import RunError
from edgesynth.requirements import parse_requirements
from edgesynth.synthesis.conditions import ALWAYS, ROOM, WIDEST, Conditions, column_of

PROTOTYPE = {"accuracy": 0.9, "macs": 8e6, "params": 2e5, "latency_ms@host": 2.0}
LEAST = {"macs": 5e4, "params": 2e4}
ASKED = ("macs<=prototype/4", "accuracy>=prototype-0.05", "latency_ms@host<=1")


def conditions(*texts, prototype=PROTOTYPE, least=LEAST):
    return Conditions(parse_requirements(texts), prototype, least)


def demand(*texts):
    return parse_requirements(texts)


def test_columns_are_what_is_asked_and_the_sizes_each_once():
    assert conditions(*ASKED).columns == ("macs<=", "accuracy>=", "latency_ms@host<=", "params<=")
    assert conditions().columns == ALWAYS
    assert conditions("macs<=1M", "macs<=2M", "macs>=10k").columns == ("macs<=", "macs>=", "params<=")


def test_bounds_are_numbers_the_tightest_of_several_and_nan_where_nothing_is_asked():
    of = conditions(*ASKED, "accuracy<=0.99")
    demands = [
        demand("macs<=prototype/8", "macs<=2M", "accuracy>=0.7", "accuracy>=prototype-0.1", "accuracy<=0.95"),
        demand("macs<=0.5M", "macs<=prototype/8", "accuracy<=0.8", "accuracy<=0.9", "latency_ms@host<=prototype/4"),
        [],
    ]
    nan = math.nan
    expected = torch.tensor(
        [[1e6, 0.8, nan, 0.95, nan], [5e5, nan, 0.5, 0.8, nan], [nan, nan, nan, nan, nan]],
        dtype=torch.float64,
    )
    assert of.columns == ("macs<=", "accuracy>=", "latency_ms@host<=", "accuracy<=", "params<=")
    assert torch.allclose(of.bounds(demands), expected, equal_nan=True)


def test_bounds_on_large_counts_are_exact():
    ((macs, params),) = conditions().bounds([demand("macs<=123456789", "params<=16777217")]).tolist()
    assert (macs, params) == (123_456_789, 16_777_217)


def test_what_the_generator_has_no_input_for_is_one_line():
    of = conditions(*ASKED)
    of.check(demand("macs<=1", "params<=prototype", "accuracy>=0.1"))
    for text in ("accuracy<=0.9", "latency_ms@tx2-sim<=1", "energy_mj@host<=1", "macs>=1"):
        with pytest.raises(RunError) as error:
            of.check(demand("macs<=1M", text))
        (line,) = str(error.value).splitlines()
        assert f"'{text}'" in line
        assert all(column in line for column in of.columns)


def test_encoding_tells_a_bound_that_is_not_there_from_one_at_the_prototypes_own_value():
    of = conditions("accuracy>=prototype-0.05")
    own, none, half = of.encode(
        of.bounds([demand("macs<=prototype", "accuracy>=prototype"), [], demand("macs<=prototype/2")])
    )
    assert own.tolist() == pytest.approx([0, 0, 0, 1, 1, 0])
    assert none.tolist() == [0] * 6
    assert half.tolist() == pytest.approx([0, -math.log(2) / 2, 0, 0, 1, 0])


anything = st.one_of(st.just(math.nan), st.floats(0, 2.0**100, width=32))


@given(st.lists(anything, min_size=4, max_size=4), st.lists(st.sampled_from([0.0, 1e-30, 1e9]), min_size=4, max_size=4))
@settings(deadline=None)
def test_encodings_are_finite_and_of_the_size_of_a_latent(bounds, known):
    prototype = dict(zip(PROTOTYPE, known, strict=True))
    encoded = conditions(*ASKED, prototype=prototype).encode(torch.tensor([bounds]))
    assert encoded.shape == (1, 8)
    assert torch.isfinite(encoded).all()
    assert (encoded.abs() <= 3).all()
    assert encoded[0, 4:].tolist() == [float(not math.isnan(bound)) for bound in bounds]


def test_a_tighter_bound_has_a_smaller_number():
    of = conditions(*ASKED)
    encoded = of.encode(of.bounds([demand(f"macs<=prototype/{n}", f"accuracy>={1 - n / 250}") for n in range(1, 33)]))
    assert (encoded[1:, :2] < encoded[:-1, :2]).all()


SEEDS = range(2000)


def drawn(of):
    """The draws that are not the run's own, by column."""
    own = list(of.asked)
    others = [found for found in of.draw(SEEDS) if list(found) != own]
    return [{column_of(requirement): requirement.offset for requirement in found} for found in others]


def test_half_of_the_draws_are_what_the_run_asks():
    of = conditions(*ASKED)
    assert len(drawn(of)) / len(SEEDS) == pytest.approx(0.5, abs=0.04)


def test_draws_depend_on_their_seed_alone():
    of = conditions(*ASKED)
    first = of.draw(range(50))
    torch.rand(7)
    assert of.draw(range(50)) == first
    assert of.draw([30, 3]) == [first[30], first[3]]
    assert len({str(found) for found in first}) > 15


def test_draws_ask_only_for_what_the_generator_understands_and_for_all_that_the_run_bounds():
    of = conditions(*ASKED)
    for found in drawn(of):
        assert set(of.columns[:3]) <= set(found) <= set(of.columns)
    for found in of.draw(SEEDS):
        of.check(found)
        assert len({column_of(requirement) for requirement in found}) == len(found)


@pytest.mark.parametrize(
    ("least", "lowest"),
    [
        pytest.param({"macs": 1e6, "params": 2e4}, {"macs": 1.3e6, "params": 2.6e4}, id="a third above the least"),
        pytest.param({"macs": 10.0, "params": 10.0}, {"macs": 8e6 / 32, "params": 2e5 / 32}, id="a 32nd"),
        pytest.param({"macs": 7.9e6, "params": 1.9e5}, {"macs": 8e6, "params": 2e5}, id="nothing to choose"),
    ],
)
def test_budgets_lie_between_what_is_worth_asking_and_the_prototype(least, lowest):
    of = conditions(*ASKED, least=least)
    for key in ("macs", "params"):
        budgets = [found[f"{key}<="] for found in drawn(of) if f"{key}<=" in found]
        assert len(budgets) > 200
        # Texts hold six digits.
        assert min(budgets) >= lowest[key] * (1 - 1e-5)
        assert max(budgets) <= PROTOTYPE[key] * (1 + 1e-5)
        if lowest[key] < PROTOTYPE[key]:
            # Even in logarithms: as many in the lower half as in the upper one.
            middle = math.sqrt(lowest[key] * PROTOTYPE[key])
            assert sum(budget < middle for budget in budgets) / len(budgets) == pytest.approx(0.5, abs=0.08)
    assert of.budget("macs", 0).offset == pytest.approx(lowest["macs"])
    assert of.budget("macs", 1).offset == pytest.approx(PROTOTYPE["macs"])
    assert (ROOM, WIDEST) == (1.3, 32)


def test_sizes_that_the_run_does_not_bound_are_bounded_in_some_draws():
    found = drawn(conditions("accuracy>=0.8"))
    assert sum("macs<=" in one for one in found) / len(found) == pytest.approx(0.7, abs=0.06)
    assert sum("params<=" in one for one in found) / len(found) == pytest.approx(0.25, abs=0.06)


def test_floors_of_the_metric_are_drawn_from_the_prototype_down_past_the_runs_own():
    floors = [found["accuracy>="] for found in drawn(conditions("accuracy>=prototype-0.05"))]
    assert max(floors) <= 0.9
    assert min(floors) >= 0.9 - 0.12 - 1e-6
    assert max(floors) > 0.89
    assert min(floors) < 0.79
    # A floor above the prototype has no fall to speak of.
    assert min(found["accuracy>="] for found in drawn(conditions("accuracy>=0.95"))) >= 0.88 - 1e-6


def test_what_only_a_target_can_tell_is_drawn_around_the_runs_own():
    bounds = [found["latency_ms@host<="] for found in drawn(conditions(*ASKED))]
    assert math.exp(-0.5) - 1e-5 <= min(bounds) < 0.7
    assert 1.4 < max(bounds) <= math.exp(0.5) + 1e-5


def test_other_bounds_are_left_as_they_are():
    of = conditions("macs>=10k", "accuracy<=0.95")
    assert {found["macs>="] for found in drawn(of)} == {10_000}
    assert {found["accuracy<="] for found in drawn(of)} == {0.95}


def test_a_drawn_requirement_says_in_words_what_it_is():
    (budget,) = [conditions().budget("params", 0.5)]
    (parsed,) = parse_requirements([budget.text])
    assert (parsed.key, parsed.operator) == ("params", "<=")
    assert parsed.offset == pytest.approx(budget.offset, rel=1e-5)
