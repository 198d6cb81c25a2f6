"""The section of the page about one generator and its many networks, from family.json alone."""

import statistics
from pathlib import Path
from typing import Any

from benchmarks.classification.cells import read_result
from benchmarks.classification.protocol import Protocol

__all__ = ["family_section"]


def family_section(protocol: Protocol, results: Path) -> str:
    """Empty as long as there is no family of this protocol."""
    document = read_result(results / "family.json")
    if document is None or document["protocol_digest"] != protocol.digest("family"):
        return ""
    prototype, networks = document["prototype"], document["networks"]
    tests = [network["test_metric"] for network in networks]
    median = statistics.median(tests)
    behind = 100 * (median - prototype["test_accuracy"])
    within = ", ".join(f"{number} at 1/{budget}" for budget, number in document["within_budget"].items())
    lines = [
        "## One generator, many networks",
        "",
        "A run of its own (`python -m benchmarks.classification family`), from a prototype that was trained for "
        f"{protocol.prototype_epochs} epochs and reaches {_percent(prototype['test_accuracy'])} on test images.",
        "",
        f"- {len(networks)} networks, each of at most {max(n['macs'] for n in networks):,} MACs (the prototype has "
        f"{prototype['macs']:,}), {networks[0]['epochs']} epochs each: {_percent(median)} of the test images in the "
        f"median ({_percent(min(tests))} to {_percent(max(tests))}), {behind:+.2f} points to the prototype.",
        f"- Their mean pairwise distance is {document['mean_distance']:.3f}: the mean difference over all groups "
        "(share of channels kept) and blocks (kept or not).",
        f"- Asked for other budgets without learning again, of {document['seeds']} seeds so many are within: {within}.",
        f"- `edgesynth generate --count 8 --genomes` takes {document['genomes_s']} s, the start of Python included.",
        f"- Learning the generator took {document['learning_cpu_s']:,.0f} CPU-seconds, "
        f"{document['learning_cpu_s'] / prototype['training_cpu_s']:.2f} times what training the prototype took.",
        *map(_spot, document["spots"]),
    ]
    return "\n".join(lines)


def _spot(spot: dict[str, Any]) -> str:
    number = spot["finished"]
    chosen = "the only one that was finished" if number == 1 else f"the best on validation images of {number}"
    return (
        f"- Under `{'` and `'.join(spot['require'])}`: {_percent(spot['test_metric'])} of the test images, "
        f"{spot['params']:,} parameters, {spot['macs']:,} MACs, {spot['epochs']} epochs; {chosen}, no test-time "
        "augmentation."
    )


def _percent(share: float) -> str:
    return f"{share:.2%}".replace("%", " %")
