import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgesynth.report import numbers

S = numbers.SPACE


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (41_300_000, f"41.3{S}M"),
        (2_000_000, f"2{S}M"),
        (999_999, f"1{S}M"),
        (50_000, f"50{S}k"),
        (240, "240"),
        (0, "0"),
        (7.5, "7.5"),
        (1.55e10, f"15.5{S}G"),
        (-2_500, f"−2.5{S}k"),
        (math.inf, "∞"),
    ],
)
def test_counts(value: float, text: str) -> None:
    assert numbers.count(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.80345, "0.803"), (87.24, "87.2"), (1234.4, f"1{S}234"), (9.996, "10.0"), (0, "0"), (-math.inf, "−∞")],
)
def test_significant_digits(value: float, text: str) -> None:
    assert numbers.significant(value) == text


def test_what_is_not_a_number_says_so() -> None:
    assert numbers.fixed(math.nan, 2) == "undefined"
    assert numbers.scientific(math.nan) == "undefined"


def test_no_negative_zero() -> None:
    assert numbers.fixed(-0.001, 2) == "0.00"


def test_the_rest() -> None:
    assert numbers.percent(0.9241) == f"92.41{S}%"
    assert numbers.ratio(11.43) == "11.4×"
    assert numbers.ratio(0.854) == "0.85×"
    assert numbers.scientific(1.23e-6) == f"1.2{S}×{S}10⁻⁶"
    assert numbers.scientific(0) == "0"


def test_a_column_shares_decimals_and_unit() -> None:
    assert numbers.aligned([1.84, 0.803, None]) == ["1.840", "0.803", "–"]
    assert numbers.aligned_counts([41_300_000, 3_620_000]) == [f"41.30{S}M", f"3.62{S}M"]
    assert numbers.aligned_counts([2_000_000_000, 500]) == [f"2{S}G", "500"]
    assert numbers.aligned([]) == []


@given(st.lists(st.floats(1e-6, 1e6), min_size=1))
def test_a_column_has_one_number_of_decimals(values: list[float]) -> None:
    decimals = {len(text.partition(".")[2]) for text in numbers.aligned(values)}
    assert len(decimals) == 1


@given(st.floats(1e-3, 1e12))
def test_a_count_reads_back(value: float) -> None:
    text = numbers.count(value)
    digits, _, unit = text.partition(S) if text[-1] in "kMGT" else (text, "", "")
    scale = {"": 1.0, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}[unit]
    assert float(digits.replace(S, "")) * scale == pytest.approx(value, rel=0.006)
