"""Two networks on one device, taken in turns, so that a device that warms up or slows down favours neither."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

from pydantic import Field
from scipy import stats

from edgesynth.devices.oracle import Oracle
from edgesynth.errors import DeviceError
from edgesynth.records import Measurement, Record

__all__ = ["Comparison", "Ratio", "Round", "compare", "ratio_of"]

FIGURES: dict[str, Callable[[Measurement], float | None]] = {
    "latency_ms": lambda record: None if record.latency_ms is None else record.latency_ms.mean,
    "energy_mj": lambda record: record.energy_mj,
    "inferences_per_joule": lambda record: record.inferences_per_joule,
}


class Ratio(Record):
    """The second network's figure over the first's: geometric mean over the rounds and its 95 % interval (Student's t
    over the logarithms of the rounds). None where a round has no figure."""

    ratio: float
    ci95: tuple[float, float]


class Round(Record):
    """One round, A B B A: what drifts evenly with time cancels."""

    first: tuple[Measurement, Measurement]
    second: tuple[Measurement, Measurement]


class Comparison(Record):
    """`edgesynth.comparison/1`: every measurement, and the ratios by the name of the figure."""

    schema_: Literal["edgesynth.comparison/1"] = Field("edgesynth.comparison/1", alias="schema")
    first: str
    second: str
    rounds: list[Round]
    ratios: dict[str, Ratio | None]
    warnings: list[str]


def compare(
    oracle: Oracle,
    first: Path,
    second: Path,
    *,
    batch: int = 1,
    rounds: int = 3,
    on_round: Callable[[int, int], None] | None = None,
) -> Comparison:
    """Measure both in turns, A B B A a round, with an oracle that is entered.

    A round that fails is the last, and left out; its reason is the first of the warnings. Raises ValueError for fewer
    than two rounds, which have no interval, and what `Oracle.measure` raises before there are two.
    """
    if rounds < 2:
        raise ValueError("an interval takes two rounds or more")
    done: list[Round] = []
    failed: list[str] = []
    for number in range(rounds):
        try:
            a, b, c, d = (oracle.measure(onnx, batch=batch) for onnx in (first, second, second, first))
        except DeviceError as error:
            if number < 2:
                raise
            failed.append(f"round {number + 1} of {rounds} failed, the figures are those before it: {error}")
            break
        done.append(Round(first=(a, d), second=(b, c)))
        if on_round is not None:
            on_round(number + 1, rounds)
    ratios = {name: ratio_of(done, figure) for name, figure in FIGURES.items()}
    unknown = [name for name, ratio in ratios.items() if ratio is None]
    reasons = dict.fromkeys(text for one in done for m in (*one.first, *one.second) for text in m.warnings)
    return Comparison(
        schema="edgesynth.comparison/1",
        first=str(first),
        second=str(second),
        rounds=done,
        ratios=ratios,
        warnings=[*failed, *(f"{name} cannot be compared: a measurement lacks it" for name in unknown), *reasons],
    )


def ratio_of(rounds: Sequence[Round], figure: Callable[[Measurement], float | None]) -> Ratio | None:
    """The ratio of a figure over two rounds or more; None where it is unknown, or zero, in any of them."""
    logs = []
    for one in rounds:
        firsts, seconds = [figure(m) for m in one.first], [figure(m) for m in one.second]
        known = [value for value in (*firsts, *seconds) if value]
        if len(known) < 4:
            return None
        logs.append((math.log(known[2]) + math.log(known[3]) - math.log(known[0]) - math.log(known[1])) / 2)
    mean = sum(logs) / len(logs)
    deviation = math.sqrt(sum((log - mean) ** 2 for log in logs) / (len(logs) - 1))
    half = float(stats.t.ppf(0.975, len(logs) - 1)) * deviation / math.sqrt(len(logs))
    return Ratio(ratio=math.exp(mean), ci95=(math.exp(mean - half), math.exp(mean + half)))
