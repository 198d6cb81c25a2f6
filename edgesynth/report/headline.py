"""The first screen: prototype → best FermiNet, in four figures and one verdict."""

from collections.abc import Sequence
from dataclasses import dataclass

from edgesynth.records import Measurement, Network, PrototypeInfo, Results
from edgesynth.report import numbers
from edgesynth.report.quantities import best, counted, last_measurement, of_the_run, targets, value_of, why_unknown

__all__ = ["Headline", "Tile", "headline"]

_SAME = 0.005  # ratios closer to 1 than this are called the same
_SOURCES = ("measured", "simulated", "estimated")


@dataclass(frozen=True)
class Tile:
    """One headline figure: what it is, the figure, from where to where, and how it came about."""

    label: str
    figure: str
    words: str
    detail: str
    source: str | None = None


@dataclass(frozen=True)
class Headline:
    """`best` is None when the run made no network; `all_met` says whether it meets every requirement. `others` speaks
    of networks that were made for other requirements, "" where there are none."""

    best: Network | None
    all_met: bool
    verdict: str
    tiles: list[Tile]
    others: str = ""


def headline(results: Results) -> Headline:
    """The verdict over all networks made for the requirements of the run, and the best one beside the prototype."""
    chosen, own = best(results), of_the_run(results)
    others = _others([network for network in results.networks if network not in own])
    if chosen is None:
        return Headline(None, False, "No FermiNet was made", [], others)
    which = "all requirements" if results.requirements else "all requirements (there are none)"
    verdict = counted(own, which)
    tiles = [
        _macs(results.prototype, chosen),
        _metric(results, chosen),
        _latency(results, chosen),
        _energy(results, chosen),
    ]
    return Headline(chosen, chosen.satisfied, verdict, tiles, others)


def _others(networks: Sequence[Network]) -> str:
    what = "the other requirements that they were asked for"
    return f"{counted(networks, what, 'generated later')}." if networks else ""


def _macs(prototype: PrototypeInfo, chosen: Network) -> Tile:
    detail = " → ".join(numbers.aligned_counts([prototype.macs, chosen.macs]))
    figure, words = _times(prototype.macs, chosen.macs, "fewer", "more")
    return Tile("Multiply-accumulates", figure, words, detail)


def _metric(results: Results, chosen: Network) -> Tile:
    before, after, split = results.prototype.test_metric, chosen.test_metric, "test"
    if before is None or after is None:
        before, after, split = results.prototype.val_metric, chosen.val_metric, "validation"
    points = 100 * (after - before)
    sign = "+" if points > 0 else ""
    detail = f"{numbers.percent(before)} → {numbers.percent(after)}"
    label = f"{results.data.metric[:1].upper()}{results.data.metric[1:]}, {split}"
    return Tile(label, f"{sign}{numbers.fixed(points, 2)}", "points", detail)


def _latency(results: Results, chosen: Network) -> Tile:
    found = _pairs(results, chosen, "latency_ms")
    if not found:
        return Tile("Latency", "unknown", "", "not measured on any target")
    target, before, after, measurement = found[0]
    figure, words = _times(before, after, "faster", "slower")
    detail = f"{' → '.join(numbers.aligned([before, after]))} ms, mean"
    return Tile(f"Latency on {target}", figure, words, detail, measurement.source)


def _energy(results: Results, chosen: Network) -> Tile:
    found = _pairs(results, chosen, "inferences_per_joule")
    if not found:
        known = [last_measurement(chosen, target) for target in targets(results)]
        reasons = [why_unknown(each) for each in known if each is not None]
        return Tile("Inferences per joule", "unknown", "", reasons[0] if reasons else "not measured on any target")
    target, before, after, measurement = found[0]
    figure, words = _times(after, before, "more", "fewer")
    detail = " → ".join(numbers.aligned([before, after]))
    return Tile(f"Inferences per joule on {target}", figure, words, detail, measurement.source)


def _pairs(results: Results, chosen: Network, quantity: str) -> list[tuple[str, float, float, Measurement]]:
    """(target, prototype's value, network's value, the network's measurement), the best kind of source first."""
    pairs = []
    for target in targets(results):
        before, after = value_of(results.prototype, quantity, target), value_of(chosen, quantity, target)
        measurement = last_measurement(chosen, target)
        if before and after and measurement:
            pairs.append((target, before, after, measurement))
    return sorted(pairs, key=lambda pair: _SOURCES.index(pair[3].source))


def _times(before: float, after: float, shrunk: str, grown: str) -> tuple[str, str]:
    """("11.4×", "fewer") from 41.3 to 3.62."""
    if before <= 0 or after <= 0:
        return "unknown", ""
    if abs(before / after - 1) < _SAME:
        return "the same", ""
    return (numbers.ratio(before / after), shrunk) if before > after else (numbers.ratio(after / before), grown)
