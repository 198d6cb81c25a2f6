"""The cheap scores against the finished results: one row and one chart a rung."""

from dataclasses import dataclass
from typing import Literal

from edgesynth.records import Network, Results, Rung
from edgesynth.report import numbers
from edgesynth.report.figure import Figure, capital
from edgesynth.report.scatter import Point, scatter
from edgesynth.synthesis.rungs import compared, why_unknown

__all__ = ["RungRow", "rung_charts", "rung_rows"]

_WORDS = {
    "shared": "weights sliced from the shared ones, as they are",
    "recalibrated": "the same, batch norm statistics taken anew",
    "adapted": "the same after a few steps of training: the score that steers",
    "predicted": "what the inquisitor expected, without running the network",
    "short": "after a short training",
}


@dataclass(frozen=True)
class RungRow:
    """One rung. `why` is empty where the correlation is known."""

    name: str
    words: str
    networks: str
    spearman: str
    interval: str
    why: str


def rung_rows(results: Results) -> list[RungRow]:
    """All rungs that the run recorded, the cheapest first."""
    return [
        RungRow(
            name=rung.name,
            words=_WORDS[rung.name],
            networks=numbers.fixed(rung.networks, 0),
            spearman=numbers.BLANK if rung.spearman is None else numbers.fixed(rung.spearman, 2),
            interval=_interval(rung),
            why=why_unknown(rung) if rung.spearman is None else "",
        )
        for rung in results.generator.rungs
    ]


def rung_charts(results: Results) -> list[Figure]:
    """Each rung's scores against the finished metric, where there are at least two networks to look at."""
    figures = []
    for rung in results.generator.rungs:
        networks = compared(results.networks, rung.name)
        if len(networks) > 1:
            figures.append(_chart(results, rung, networks))
    return figures


def _interval(rung: Rung) -> str:
    if rung.spearman is None:
        return numbers.BLANK
    if rung.ci95 is None:
        return "none: all ranks agree" if rung.spearman > 0 else "none: all ranks are reversed"
    return f"{numbers.fixed(rung.ci95[0], 2)} to {numbers.fixed(rung.ci95[1], 2)}"


def _chart(results: Results, rung: Rung, networks: list[Network]) -> Figure:
    metric = results.data.metric
    points = [_point(network, rung.name) for network in networks]
    chart = scatter(
        points,
        [],
        title=f"Finished {metric} against the {rung.name} score",
        description="; ".join(point.detail for point in points) + ".",
        x_title=f"{rung.name} score, scoring split",
        y_title=f"{metric} when finished, validation",
        x_label=numbers.percent_tick,
        y_label=numbers.percent_tick,
        log_x=False,
    )
    if rung.spearman is None:
        caption = f"No rank correlation: {why_unknown(rung)}."
    else:
        caption = f"Spearman {numbers.fixed(rung.spearman, 2)}, 95 % interval {_interval(rung)}, n = {rung.networks}."
    return Figure(f"{capital(rung.name)}: {_WORDS[rung.name]}", chart, caption)


def _point(network: Network, name: str) -> Point:
    score = network.scores[name]
    kind: Literal["met", "unmet"] = "met" if network.satisfied else "unmet"
    detail = f"{network.name}: scored {numbers.percent(score)}, finished {numbers.percent(network.val_metric)}"
    return Point(network.name, kind, 100 * score, 100 * network.val_metric, detail)
