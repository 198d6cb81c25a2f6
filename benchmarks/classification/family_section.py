"""The section of the page about one generator and its many networks, from family.json alone."""

import statistics
from pathlib import Path

from benchmarks.classification.cells import read_result

__all__ = ["family_section"]


def family_section(results: Path) -> str:
    """A section of the page; empty as long as there is no family."""
    document = read_result(results / "family.json")
    if document is None:
        return ""
    prototype, networks = document["prototype"], document["networks"]
    tests = [network["test_metric"] for network in networks]
    median = statistics.median(tests)
    lines = [
        "## One generator, many networks",
        "",
        f"A run of its own (`python -m benchmarks.classification family`), from a prototype of "
        f"{prototype['test_accuracy']:.2%} on test images.",
        "",
        f"- {len(networks)} networks, each of at most {max(n['macs'] for n in networks):,} MACs (the prototype has "
        f"{prototype['macs']:,}), {networks[0]['epochs']} epochs each: test accuracy {median:.2%} in the median "
        f"({min(tests):.2%} to {max(tests):.2%}), {100 * (median - prototype['test_accuracy']):+.2f} points to the "
        "prototype.",
        f"- Their mean pairwise distance is {document['mean_distance']:.3f}: the mean difference over all groups "
        "(share of channels kept) and blocks (kept or not).",
        "- Asked for other budgets without learning again, the share of seeds within it: "
        + ", ".join(f"{share:.0%} at 1/{budget}" for budget, share in document["within_budget"].items())
        + ".",
        f"- `edgesynth generate --count 8 --genomes` takes {document['genomes_s']} s, the start of Python included.",
        f"- Learning the generator took {document['learning_cpu_s']:,.0f} CPU-seconds, "
        f"{document['learning_cpu_s'] / prototype['training_cpu_s']:.2f} times what training the prototype took.",
    ]
    lines += [
        f"- Under `{'` and `'.join(spot['require'])}`: {spot['test_metric']:.2%} on test images, {spot['params']:,} "
        f"parameters, {spot['macs']:,} MACs, {spot['epochs']} epochs, chosen on validation images, one look at each "
        "test image."
        for spot in document["spots"]
    ]
    return "\n".join(lines)
