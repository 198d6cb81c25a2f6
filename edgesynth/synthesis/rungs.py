"""How well the cheap scores rank networks: each rung's scores against the finished results, by Spearman's correlation.

Pure arithmetic over records: nothing here needs torch.
"""

import math
from collections.abc import Sequence

from edgesynth.records import Interval, Network, Rung

__all__ = ["LEAST_NETWORKS", "RUNGS", "compared", "rank_correlation", "rungs", "why_unknown"]

RUNGS = ("shared", "recalibrated", "adapted", "predicted", "short")
LEAST_NETWORKS = 5
"""With fewer, the interval holds nearly every correlation that there is."""
TWO_SIDED = 1.959963984540054
"""Standard deviations of a normal that hold 95 % of it."""


def rungs(networks: Sequence[Network]) -> list[Rung]:
    """Every rung, the cheapest first, over the networks that were finished alike."""
    return [_rung(name, compared(networks, name)) for name in RUNGS]


def compared(networks: Sequence[Network], name: str) -> list[Network]:
    """The networks with a score on this rung, out of those trained for the same epochs.

    Where a run has trained for several numbers of epochs, the one with the most networks counts (the greatest, among
    equals). Networks that were not trained at all are no finished results.
    """
    trained = [network.epochs for network in networks if network.epochs > 0]
    epochs = max(trained, key=lambda each: (trained.count(each), each), default=None)
    return [network for network in networks if network.epochs == epochs and name in network.scores]


def rank_correlation(one: Sequence[float], other: Sequence[float]) -> tuple[float, Interval | None] | None:
    """Spearman's rho of two columns, ties sharing their mean rank, and its 95 % interval.

    None with fewer than LEAST_NETWORKS pairs, or where a column holds one value only. The interval is Fisher's z with
    the standard error of Bonett and Wright (2000), sqrt((1 + rho² / 2) / (n − 3)), doi:10.1007/BF02294183; it does not
    exist where the orders agree, or disagree, completely.
    """
    if len(one) < LEAST_NETWORKS or len(set(one)) < 2 or len(set(other)) < 2:
        return None
    # More than a second to import, and every table on the terminal comes by here.
    from scipy.stats import spearmanr

    rho = float(spearmanr(one, other).statistic)
    if abs(rho) > 1 - 1e-12:
        return math.copysign(1.0, rho), None
    reach = TWO_SIDED * math.sqrt((1 + rho**2 / 2) / (len(one) - 3))
    return rho, (math.tanh(math.atanh(rho) - reach), math.tanh(math.atanh(rho) + reach))


def why_unknown(rung: Rung) -> str:
    """In words, why a rung has no correlation."""
    if rung.networks == 0:
        return "no finished network has this score"
    if rung.networks < LEAST_NETWORKS:
        noun = "network has" if rung.networks == 1 else "networks have"
        return f"only {rung.networks} finished {noun} this score, {LEAST_NETWORKS} are the least"
    return "all scores, or all results, are equal"


def _rung(name: str, networks: Sequence[Network]) -> Rung:
    scores = [network.scores[name] for network in networks]
    found = rank_correlation(scores, [network.val_metric for network in networks])
    spearman, ci95 = (None, None) if found is None else found
    return Rung.model_validate({"name": name, "networks": len(networks), "spearman": spearman, "ci95": ci95})
