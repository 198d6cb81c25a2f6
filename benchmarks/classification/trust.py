"""Can the cheap scores be trusted? Each against the finished result, over all networks that edgesynth has finished."""

from collections.abc import Iterator, Sequence
from typing import Any

from benchmarks.classification.cells import Cell, Places, is_done, read_result
from benchmarks.classification.protocol import Protocol
from edgesynth.synthesis.rungs import RUNGS, rank_correlation

__all__ = ["trust"]

WORDS = {
    "shared": "weights sliced from the shared ones, as they are",
    "recalibrated": "the same, batch norm measured anew",
    "adapted": "the same after a few steps of training: **the score that steers**",
    "predicted": "the inquisitor's expectation, without running the network",
    "short": "after a quarter of the finishing",
}


def trust(protocol: Protocol, places: Places) -> str:
    """A section of the page; empty as long as no run of edgesynth says anything."""
    by_budget = {budget: list(_finished(protocol, places, budget)) for budget in protocol.budgets}
    everything = [network for networks in by_budget.values() for network in networks]
    if not everything:
        return ""
    columns = {f"all {len(everything)} networks": everything}
    columns |= {f"the {len(networks)} at 1/{budget}": networks for budget, networks in by_budget.items()}
    lines = [
        "## Can the cheap scores be trusted?",
        "",
        "Spearman's rank correlation of each score with the validation accuracy after finishing, over all networks "
        "that edgesynth's runs above have finished, whatever their seed; 95 % intervals. Over both budgets it is "
        "easier to be right: larger networks are better.",
        "",
        "| score | " + " | ".join(columns) + " |",
        "| --- |" + " ---: |" * len(columns),
    ]
    for rung in RUNGS:
        cells = [_correlation(networks, rung) for networks in columns.values()]
        lines.append(f"| {WORDS[rung]} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _finished(protocol: Protocol, places: Places, budget: int) -> Iterator[dict[str, Any]]:
    """All networks that edgesynth has finished for a budget, of every seed."""
    for seed in protocol.seeds:
        cell = Cell("edgesynth", budget, seed)
        result = read_result(places.result(cell)) if is_done(places, protocol, cell) else None
        if result is not None and result["status"] == "finished":
            yield from result["details"]["finished"].get(str(budget), ())


def _correlation(networks: Sequence[dict[str, Any]], rung: str) -> str:
    told = [(n["scores"][rung], n["val_metric"]) for n in networks if rung in n["scores"]]
    found = rank_correlation([score for score, _ in told], [accuracy for _, accuracy in told])
    if found is None:
        return "·"
    rho, interval = found
    return f"{rho:.2f}" if interval is None else f"{rho:.2f} ({interval[0]:.2f} to {interval[1]:.2f})"
