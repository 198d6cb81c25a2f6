"""Operational requirements: from text to the indicator 1_r.

    requirement = quantity ["@" target] (">=" | "<=") bound
    bound       = number | [number "*"] "prototype" [("+" | "-" | "*" | "/") number]
    number      = digits, with an optional suffix: k (10³), M (10⁶), G (10⁹) or % (10⁻²)

`accuracy>=prototype-0.5%`, `macs<=prototype/10`, `params<=50k`, `inferences_per_joule@tx2-sim>=4*prototype`.
"""

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from edgesynth.errors import RequirementError

__all__ = [
    "METRICS",
    "Requirement",
    "check_consistent",
    "parse_requirement",
    "parse_requirements",
]

METRICS = frozenset({"accuracy"})
"""Quantities that are a task's metric: shares in [0, 1], read on the validation split."""

SIZES = frozenset({"macs", "params"})
ON_TARGET = frozenset({"latency_ms", "energy_mj", "inferences_per_joule"})

_NUMBER = r"([0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?)([kMG%]?)"
_REQUIREMENT = re.compile(r"([a-z_]+)(?:@([A-Za-z0-9._-]+))?(>=|<=)(.+)")
_ABSOLUTE = re.compile(_NUMBER)
_RELATIVE = re.compile(rf"(?:{_NUMBER}\*)?prototype(?:([-+*/]){_NUMBER})?")
_SUFFIX = {"": 1.0, "k": 1e3, "M": 1e6, "G": 1e9, "%": 1e-2}
_EXAMPLE = "write it like accuracy>=0.93, macs<=prototype/10 or latency_ms@host<=2"


@dataclass(frozen=True)
class Requirement:
    """One bound on one quantity. The bound is factor · (the prototype's value) + offset."""

    text: str
    quantity: str
    target: str | None
    operator: Literal[">=", "<="]
    factor: float
    offset: float

    @property
    def key(self) -> str:
        """The quantity with its target, as values are looked up: `latency_ms@host`."""
        return self.quantity if self.target is None else f"{self.quantity}@{self.target}"

    @property
    def relative(self) -> bool:
        """Whether the bound depends on the prototype."""
        return self.factor != 0

    def bound(self, prototype_value: float | None) -> float:
        """The bound as a number. Raises RequirementError if it is relative and the prototype's value is unknown."""
        if not self.relative:
            return self.offset
        if prototype_value is None:
            raise RequirementError(f"requirement '{self.text}': the prototype's {self.key} is unknown")
        return self.factor * prototype_value + self.offset

    def met(self, value: float | None, prototype_value: float | None) -> bool | None:
        """1_r for a network with this value; None where the value is unknown."""
        if value is None or (self.relative and prototype_value is None):
            return None
        return self.violation(value, prototype_value) <= 0

    def violation(self, value: float, prototype_value: float | None) -> float:
        """How far the value is on the wrong side of the bound, in its own unit; <= 0 when the bound holds."""
        bound = self.bound(prototype_value)
        # A bound such as prototype/4 is rarely a whole number: leave room for rounding of the arithmetic, no more.
        slack = 1e-9 * max(abs(value), abs(bound))
        return (bound - value if self.operator == ">=" else value - bound) - slack


def parse_requirement(text: str) -> Requirement:
    """Parse one requirement. Raises RequirementError that says what is wrong with it."""
    text = re.sub(r"\s+", "", text)
    match = _REQUIREMENT.fullmatch(text)
    if match is None:
        raise RequirementError(f"requirement '{text}' does not parse: {_EXAMPLE}")
    quantity, target, operator, bound = match.groups()
    known = METRICS | SIZES | ON_TARGET
    if quantity not in known:
        raise RequirementError(f"requirement '{text}': unknown quantity '{quantity}', known are {_listed(known)}")
    if quantity in ON_TARGET and target is None:
        raise RequirementError(f"requirement '{text}': {quantity} needs a target, as in {quantity}@host")
    if quantity not in ON_TARGET and target is not None:
        raise RequirementError(f"requirement '{text}': {quantity} is the same on every target; leave out @{target}")
    factor, offset = _parse_bound(text, bound)
    requirement = Requirement(text, quantity, target, "<=" if operator == "<=" else ">=", factor, offset)
    _check_possible(requirement)
    return requirement


def parse_requirements(texts: Iterable[str]) -> list[Requirement]:
    """Parse several; the same one twice counts once. Raises RequirementError at the first that is wrong."""
    return list({requirement.text: requirement for requirement in map(parse_requirement, texts)}.values())


def check_consistent(requirements: Iterable[Requirement], prototype: Mapping[str, float]) -> None:
    """Raise RequirementError if two requirements exclude each other, or one excludes every network.

    `prototype` holds what is known of the prototype by `Requirement.key`; bounds that need more are passed over.
    """
    lower: dict[str, tuple[float, Requirement]] = {}
    upper: dict[str, tuple[float, Requirement]] = {}
    for requirement in requirements:
        key = requirement.key
        if requirement.relative and key not in prototype:
            continue
        bound = requirement.bound(prototype.get(key))
        if requirement.quantity in METRICS and requirement.operator == ">=" and bound > 1:
            raise RequirementError(f"requirement '{requirement.text}' asks for {bound:.4g}: no metric exceeds 1")
        if requirement.operator == "<=" and (bound < 0 or (bound == 0 and requirement.quantity not in METRICS)):
            raise RequirementError(f"requirement '{requirement.text}' asks for {bound:.4g}: no network is that small")
        if requirement.operator == ">=":
            lower[key] = max(lower.get(key, (-math.inf, requirement)), (bound, requirement), key=lambda b: b[0])
        else:
            upper[key] = min(upper.get(key, (math.inf, requirement)), (bound, requirement), key=lambda b: b[0])
    for key in lower.keys() & upper.keys():
        if lower[key][0] > upper[key][0]:
            raise RequirementError(
                f"requirements '{lower[key][1].text}' and '{upper[key][1].text}' contradict each other: "
                f"{key} cannot be at least {lower[key][0]:.6g} and at most {upper[key][0]:.6g}"
            )


def _parse_bound(text: str, bound: str) -> tuple[float, float]:
    """(factor, offset) of a bound."""
    if match := _ABSOLUTE.fullmatch(bound):
        return 0.0, _finite(text, bound, _number(*match.groups()))
    match = _RELATIVE.fullmatch(bound)
    if match is None:
        hint = "; write the decimal point as '.'" if "," in bound else ""
        raise RequirementError(f"requirement '{text}': the bound '{bound}' does not parse{hint}; {_EXAMPLE}")
    factor_digits, factor_suffix, sign, digits, suffix = match.groups()
    factor = _number(factor_digits, factor_suffix) if factor_digits else 1.0
    number = _number(digits, suffix) if digits else 0.0
    offset = 0.0
    if sign == "/":
        factor = factor / number if number else 0.0
    elif sign == "*":
        factor *= number
    else:
        offset = -number if sign == "-" else number
    if factor == 0:
        raise RequirementError(f"requirement '{text}': the bound '{bound}' is not a share of the prototype")
    return _finite(text, bound, factor), _finite(text, bound, offset)


def _finite(text: str, bound: str, number: float) -> float:
    if not math.isfinite(number):
        raise RequirementError(f"requirement '{text}': the bound '{bound}' is too large a number")
    return number


def _number(digits: str, suffix: str) -> float:
    return float(digits) * _SUFFIX[suffix]


def _check_possible(requirement: Requirement) -> None:
    if requirement.relative:
        return
    if requirement.quantity in METRICS and requirement.offset > 1:
        hint = (
            f"; write {requirement.offset:g}% for percent"
            if requirement.offset <= 100 and "%" not in requirement.text
            else ""
        )
        raise RequirementError(f"requirement '{requirement.text}': {requirement.quantity} is a share in 0..1{hint}")


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names))
