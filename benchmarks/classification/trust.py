"""Can the cheap scores be trusted? Each against the finished result, over all networks that edgesynth has finished."""

import statistics
from collections.abc import Sequence
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
    by_run = {seed: _finished(protocol, places, seed) for seed in protocol.seeds}
    everything = [network for networks in by_run.values() for network in networks]
    if not everything:
        return ""
    columns = {
        f"all {len(everything)} networks": (everything, _everyone),
        "the same, within their run": (everything, _from_mean),
    }
    for budget in protocol.budgets:
        networks = [network for network in everything if network["budget"] == budget]
        columns[f"the {len(networks)} at 1/{budget}, within their run"] = (networks, _from_mean)
    lines = [
        "## Can the cheap scores be trusted?",
        "",
        "Spearman's rank correlation of each score with the validation accuracy after finishing, over the networks "
        "that edgesynth's runs above have finished; 95 % intervals. *Within their run*: of the differences to the mean "
        "of the networks of the same run, as a run only ever compares its own networks, which share weights and "
        "prototype. Over both budgets it is easier to be right: larger networks are better.",
        "",
        "| score | " + " | ".join(columns) + " |",
        "| --- |" + " ---: |" * len(columns),
    ]
    for rung in RUNGS:
        cells = [_correlation(view(networks, rung)) for networks, view in columns.values()]
        lines.append(f"| {WORDS[rung]} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _finished(protocol: Protocol, places: Places, seed: int) -> list[dict[str, Any]]:
    """All networks that edgesynth has finished for a seed, each with the budget it is for and the seed."""
    found = []
    for budget in protocol.budgets:
        cell = Cell("edgesynth", budget, seed)
        result = read_result(places.result(cell)) if is_done(places, protocol, cell) else None
        if result is not None and result["status"] == "finished":
            networks = result["details"]["finished"].get(str(budget), ())
            found += [{**network, "budget": budget, "seed": seed} for network in networks]
    return found


def _everyone(networks: Sequence[dict[str, Any]], rung: str) -> list[tuple[float, float]]:
    """Pairs of score and accuracy."""
    return [(n["scores"][rung], n["val_metric"]) for n in networks if rung in n["scores"]]


def _from_mean(networks: Sequence[dict[str, Any]], rung: str) -> list[tuple[float, float]]:
    """Pairs of score and accuracy, each as its difference to the mean of the run."""
    pairs = []
    for seed in dict.fromkeys(network["seed"] for network in networks):
        told = _everyone([network for network in networks if network["seed"] == seed], rung)
        means = [statistics.fmean(column) for column in zip(*told, strict=True)]
        # Rounded, or what is equal would differ in the last digit and have another rank.
        pairs += [(round(score - means[0], 9), round(accuracy - means[1], 9)) for score, accuracy in told]
    return pairs


def _correlation(pairs: Sequence[tuple[float, float]]) -> str:
    found = rank_correlation([score for score, _ in pairs], [accuracy for _, accuracy in pairs])
    if found is None:
        return "·"
    rho, interval = found
    return f"{rho:.2f}" if interval is None else f"{rho:.2f} ({interval[0]:.2f} to {interval[1]:.2f})"
