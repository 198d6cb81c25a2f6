"""Numbers as people read them: true minus signs, narrow spaces before units, as many digits as carry meaning."""

import math
from collections.abc import Callable, Sequence

__all__ = [
    "BLANK",
    "SPACE",
    "Written",
    "aligned",
    "aligned_counts",
    "aligned_ratios",
    "count",
    "fixed",
    "percent",
    "percent_tick",
    "points",
    "ratio",
    "scientific",
    "significant",
    "significant_tick",
]

SPACE = "\u202f"
"""Narrow and no-break: between a number and its unit, and between thousands."""

BLANK = "–"
"""Where a table has nothing to say."""

Written = Callable[[float], str]
"""A way to write one kind of figure."""

MINUS = "−"
_UNITS = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))
_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_FAR_APART = 1e4  # numbers further apart than this are not forced to one unit


def fixed(value: float, decimals: int) -> str:
    """1234.5 → "1 234.50". What is not finite reads "∞", "−∞" or "undefined"."""
    if math.isnan(value):
        return "undefined"
    sign = MINUS if value < 0 else ""
    if math.isinf(value):
        return f"{sign}∞"
    text = f"{abs(value):,.{decimals}f}".replace(",", SPACE)
    return text if not text.strip("0.") else sign + text


def significant(value: float, digits: int = 3) -> str:
    """As many decimals as it takes to show that many digits: 0.803, 87.2, 1 234."""
    return fixed(value, _decimals(value, digits))


def significant_tick(value: float) -> str:
    """A value at an axis: 0.50 → "0.5"."""
    return _trimmed(significant(value))


def count(value: float, digits: int = 3) -> str:
    """41 300 000 → "41.3 M", 240 → "240", 2 000 000 → "2 M"."""
    if not math.isfinite(value):
        return fixed(value, 0)
    for scale, unit in _UNITS:
        if abs(value) >= scale * (1 - 0.5 * 10.0**-digits):
            return f"{_trimmed(significant(value / scale, digits))}{SPACE}{unit}"
    return _trimmed(significant(value, digits))


def percent(share: float, decimals: int = 2) -> str:
    """0.9241 → "92.41 %"."""
    return f"{fixed(100 * share, decimals)}{SPACE}%"


def percent_tick(value: float) -> str:
    """A value that is in percent already, at an axis: 92.5 → "92.5 %"."""
    return f"{_trimmed(fixed(value, 2))}{SPACE}%"


def points(share: float) -> str:
    """A difference of two metrics in percentage points: 0.0012 → "0.12"."""
    return fixed(100 * share, 2)


def ratio(value: float) -> str:
    """11.4 → "11.4×"."""
    return f"{significant(value, 3 if value >= 1 else 2)}×"


def scientific(value: float) -> str:
    """0.0000012 → "1.2 × 10⁻⁶"; 0 stays "0"."""
    if value == 0 or not math.isfinite(value):
        return fixed(value, 0)
    mantissa, exponent = f"{value:.1e}".split("e")
    return f"{mantissa.replace('-', MINUS)}{SPACE}×{SPACE}10{str(int(exponent)).translate(_SUPERSCRIPT)}"


def aligned(values: Sequence[float | None], digits: int = 3, blank: str = BLANK) -> list[str]:
    """One column of a table: the same number of decimals in every row, enough for the smallest value."""
    sizes = [abs(value) for value in values if value is not None and value and math.isfinite(value)]
    decimals = _decimals(min(sizes), digits) if sizes else 0
    return [blank if value is None else fixed(value, decimals) for value in values]


def aligned_counts(values: Sequence[float]) -> list[str]:
    """One column of counts in one unit, that of the smallest: "41.30 M" above "3.62 M"."""
    sizes = [abs(value) for value in values if value and math.isfinite(value)]
    if not sizes or max(sizes) / min(sizes) > _FAR_APART or min(sizes) < 1e3:
        return [count(value) for value in values]
    scale, unit = next(pair for pair in _UNITS if pair[0] <= min(sizes))
    return [f"{text}{SPACE}{unit}" for text in aligned([value / scale for value in values])]


def aligned_ratios(pairs: Sequence[tuple[float | None, float | None]]) -> list[str]:
    """One column of quotients, above ÷ below: "16.44×" above "3.40×"."""
    texts = aligned([above / below if above and below else None for above, below in pairs], blank=BLANK)
    return [text if text == BLANK else f"{text}×" for text in texts]


def _decimals(value: float, digits: int) -> int:
    if value == 0 or not math.isfinite(value):
        return 0
    # Rounding first: 9.996 shows three digits as 10.0, not as 10.00.
    exponent = int(f"{abs(value):.{digits - 1}e}".split("e")[1])
    return min(max(digits - 1 - exponent, 0), 9)


def _trimmed(text: str) -> str:
    return text.rstrip("0").rstrip(".") if "." in text else text
