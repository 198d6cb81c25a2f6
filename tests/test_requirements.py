import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgesynth.errors import RequirementError
from edgesynth.requirements import (
    METRICS,
    ON_TARGET,
    SIZES,
    Requirement,
    check_consistent,
    parse_requirement,
    parse_requirements,
)

SUFFIXES = {"": 1.0, "k": 1e3, "M": 1e6, "G": 1e9, "%": 1e-2}
PROTOTYPE = {"accuracy": 0.9, "macs": 4e6, "params": 60_000.0, "latency_ms@host": 2.0, "inferences_per_joule@tx2": 50.0}


def one_line(error: pytest.ExceptionInfo[RequirementError]) -> str:
    message = str(error.value)
    assert len(message.splitlines()) == 1
    return message


@st.composite
def numbers(draw: st.DrawFn, least: float = 0.0) -> tuple[str, float]:
    """A number as text, and its value."""
    digits = f"{draw(st.floats(least, 500)):.3f}" if draw(st.booleans()) else str(draw(st.integers(1, 500)))
    exponent = draw(st.sampled_from(["", "e2", "E-1", "e+0"]))
    suffix = draw(st.sampled_from(sorted(SUFFIXES)))
    return digits + exponent + suffix, float(digits + exponent) * SUFFIXES[suffix]


@st.composite
def bounds(draw: st.DrawFn) -> tuple[str, float, float]:
    """A bound as text, its factor and its offset."""
    number, value = draw(numbers(least=0.001))
    if draw(st.booleans()):
        return number, 0.0, value
    times, factor = draw(st.one_of(st.just(("", 1.0)), numbers(least=0.001).map(lambda n: (n[0] + "*", n[1]))))
    return draw(
        st.sampled_from(
            [
                (f"{times}prototype", factor, 0.0),
                (f"{times}prototype+{number}", factor, value),
                (f"{times}prototype-{number}", factor, -value),
                (f"{times}prototype*{number}", factor * value, 0.0),
                (f"{times}prototype/{number}", factor / value, 0.0),
            ]
        )
    )


@st.composite
def quantities(draw: st.DrawFn) -> tuple[str, str | None]:
    quantity = draw(st.sampled_from(sorted(SIZES | ON_TARGET)))
    return quantity, draw(st.sampled_from(["host", "tx2-sim", "board_1.lab"])) if quantity in ON_TARGET else None


@given(quantities(), st.sampled_from([">=", "<="]), bounds(), st.lists(st.integers(0, 60), max_size=4))
@settings(deadline=None)
def test_whatever_the_grammar_allows_is_read_as_it_was_meant(quantity, operator, bound, gaps):
    name, target = quantity
    digits, factor, offset = bound
    text = f"{name}{'' if target is None else '@' + target}{operator}{digits}"
    spaced = text
    for gap in gaps:
        spaced = spaced[: gap % len(spaced)] + " \t\n"[gap % 3] + spaced[gap % len(spaced) :]
    requirement = parse_requirement(spaced)
    assert requirement == Requirement(text, name, target, operator, factor, offset)
    assert requirement == parse_requirement(requirement.text)
    assert requirement.relative == ("prototype" in text)


FRAGMENTS = st.sampled_from([*METRICS, *SIZES, *ON_TARGET, "@", "host", ">=", "<=", "prototype", "*", "/", "-", "1e999",
                             "0", "5", ".", ",", "%", "k", "1e-400", "٣", "²", " ", "\n", "\x85"])  # fmt: skip


@given(st.one_of(st.text(), st.lists(FRAGMENTS, max_size=9).map("".join)))
@settings(max_examples=400, deadline=None)
def test_a_text_parses_to_finite_numbers_or_is_refused_in_one_line(text):
    try:
        requirement = parse_requirement(text)
    except RequirementError as error:
        assert len(str(error).splitlines()) == 1
    else:
        assert math.isfinite(requirement.factor)
        assert math.isfinite(requirement.offset)
        assert requirement.relative == ("prototype" in requirement.text)
        assert parse_requirement(requirement.text) == requirement


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("accuracy>0,93", r"requirement 'accuracy>0,93' does not parse: write it like accuracy>=0.93"),
        ("accuracy>=0,93", r"the bound '0,93' does not parse; write the decimal point as '\.'"),
        ("", "requirement '' does not parse"),
        ("fast", "does not parse"),
        ("macs==5", "does not parse"),
        ("Macs<=5", "does not parse"),
        ("speed>=5", "unknown quantity 'speed', known are accuracy, energy_mj, inferences_per_joule, latency_ms, macs"),
        ("latency_ms<=2", "latency_ms needs a target, as in latency_ms@host"),
        ("macs@host<=5M", "macs is the same on every target; leave out @host"),
        ("macs<=-5", "the bound '-5' does not parse"),
        ("macs<=5m", "the bound '5m' does not parse"),
        ("macs<=prototype/0", "is not a share of the prototype"),
        ("macs<=prototype*0", "is not a share of the prototype"),
        ("macs<=0*prototype", "is not a share of the prototype"),
        ("macs<=prototype/1e999", "is not a share of the prototype"),
        ("macs<=1e999", "the bound '1e999' is too large a number"),
        ("macs<=1e999*prototype", "too large"),
        ("macs<=prototype/1e-320", "too large"),
        ("macs<=prototype+1e999", "too large"),
        ("accuracy>=93", r"accuracy is a share in 0\.\.1; write 93% for percent"),
        ("accuracy<=93", r"accuracy is a share in 0\.\.1; write 93% for percent"),
        ("accuracy>=150%", r"accuracy is a share in 0\.\.1$"),
        ("accuracy>=930", r"accuracy is a share in 0\.\.1$"),
        ("macs<=prototype/2/2", "does not parse"),
        ("macs<=2 prototype", "does not parse"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(text, what):
    with pytest.raises(RequirementError, match=what) as error:
        parse_requirement(text)
    one_line(error)


@pytest.mark.parametrize(
    ("text", "bound"),
    [
        ("accuracy>=0.93", 0.93),
        ("accuracy>=93%", 0.93),
        ("accuracy>=prototype-0.5%", 0.895),
        ("accuracy>=prototype", 0.9),
        ("macs<=prototype/10", 4e5),
        ("macs<=50%*prototype", 2e6),
        ("params<=50k", 5e4),
        ("params<=1.5M", 1.5e6),
        ("macs<=1G", 1e9),
        ("params<=2e4", 2e4),
        ("params<=prototype-10k", 5e4),
        ("macs<=2*prototype/4", 2e6),
        ("latency_ms@host<=prototype*0.5", 1.0),
        ("inferences_per_joule@tx2>=4*prototype+1", 201.0),
    ],
)
def test_a_bound_is_this_number(text, bound):
    requirement = parse_requirement(text)
    assert requirement.bound(PROTOTYPE[requirement.key]) == pytest.approx(bound, rel=1e-12)


def test_a_relative_bound_needs_the_prototype():
    with pytest.raises(RequirementError, match="the prototype's latency_ms@host is unknown"):
        parse_requirement("latency_ms@host<=prototype/2").bound(None)
    assert parse_requirement("latency_ms@host<=2").bound(None) == 2


@given(st.sampled_from([">=", "<="]), bounds(), st.floats(0, 1e12), st.floats(1, 1e9))
@settings(deadline=None)
def test_a_requirement_is_met_exactly_where_it_is_not_violated(operator, bound, value, prototype):
    requirement = parse_requirement(f"macs{operator}{bound[0]}")
    violation = requirement.violation(value, prototype)
    assert requirement.met(value, prototype) is (violation <= 0)
    limit = requirement.bound(prototype)
    assert requirement.met(limit, prototype) is True
    better = 1 if operator == ">=" else -1
    assert requirement.met(limit + better * abs(limit) * 1e-6, prototype) is True
    assert requirement.met(limit - better * (abs(limit) * 1e-6 + 1e-6), prototype) is False


@pytest.mark.parametrize(
    ("text", "value", "prototype", "met"),
    [
        ("accuracy>=0.9", 0.9, None, True),
        ("accuracy>=0.9", 0.8999, None, False),
        ("macs<=prototype/3", 333_333, 1e6, True),
        ("macs<=prototype/3", 333_334, 1e6, False),
        ("macs<=prototype/3", 333_333, None, None),
        ("macs<=5M", None, 1e6, None),
        ("latency_ms@host<=2", float("inf"), None, False),
    ],
)
def test_met(text, value, prototype, met):
    assert parse_requirement(text).met(value, prototype) is met


def test_the_same_requirement_twice_counts_once():
    texts = ["macs<=5M", "accuracy>=0.9", "macs <= 5M"]
    assert [r.text for r in parse_requirements(texts)] == ["macs<=5M", "accuracy>=0.9"]


@pytest.mark.parametrize(
    ("texts", "prototype"),
    [
        (["macs>=2M", "macs<=1M"], {}),
        (["macs<=1M", "macs>=1.5M", "macs>=2M", "macs<=3M"], {}),
        (["accuracy>=prototype+5%", "accuracy<=0.9"], PROTOTYPE),
        (["latency_ms@host<=prototype/2", "latency_ms@host>=1.5"], PROTOTYPE),
        (["params<=prototype/2", "params>=prototype/1.9"], PROTOTYPE),
    ],
)
def test_requirements_that_exclude_each_other_are_both_named(texts, prototype):
    with pytest.raises(RequirementError, match="contradict each other") as error:
        check_consistent(parse_requirements(texts), prototype)
    assert sum(f"'{text}'" in one_line(error) for text in texts) == 2


@pytest.mark.parametrize(
    "texts",
    [
        ["latency_ms@host<=prototype/2", "latency_ms@host>=1.5"],
        ["accuracy>=prototype+20%"],
        ["macs<=prototype-1G"],
    ],
)
def test_a_contradiction_with_the_prototype_shows_once_its_figures_are_known(texts):
    requirements = parse_requirements(texts)
    check_consistent(requirements, {})
    with pytest.raises(RequirementError):
        check_consistent(requirements, PROTOTYPE)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("accuracy>=prototype+20%", "no metric exceeds 1"),
        ("accuracy<=prototype-95%", "no network is that small"),
        ("macs<=prototype-1G", "no network is that small"),
        ("latency_ms@host<=0", "no network is that small"),
        ("params<=0", "no network is that small"),
    ],
)
def test_a_requirement_that_no_network_meets_is_named(text, what):
    with pytest.raises(RequirementError, match=what) as error:
        check_consistent([parse_requirement(text)], PROTOTYPE)
    assert f"'{text}'" in one_line(error)


@pytest.mark.parametrize(
    "texts",
    [
        ["macs>=1M", "macs<=1M"],
        ["latency_ms@host>=3", "latency_ms@tx2<=2"],
        ["accuracy>=prototype-1%", "accuracy<=prototype+1%", "macs<=prototype/2", "params>=prototype/10"],
        ["accuracy>=1", "accuracy<=100%"],
        ["accuracy<=0"],
        [],
    ],
)
def test_requirements_that_some_network_may_meet_pass(texts):
    check_consistent(parse_requirements(texts), PROTOTYPE)


@given(st.permutations(["macs<=1M", "macs>=1.5M", "macs>=2M", "macs<=3M", "params<=5k"]))
@settings(deadline=None)
def test_the_same_two_are_named_in_whatever_order_they_come(texts):
    with pytest.raises(RequirementError, match="'macs>=2M' and 'macs<=1M' contradict"):
        check_consistent(parse_requirements(texts), {})
