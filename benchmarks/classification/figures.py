"""From result files to the rows of a table: medians over seeds, and nothing that is not in a file."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.classification.cells import Cell, Places, architecture_digest, read_result
from benchmarks.classification.protocol import CONTESTANTS, Protocol

__all__ = ["Band", "Row", "Table", "tables"]


@dataclass(frozen=True)
class Band:
    """Median, least and greatest of a figure over seeds."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float | None]) -> "Band | None":
        """None without values: a figure that is not there is not 0."""
        known = [value for value in values if value is not None]
        return cls(statistics.median(known), min(known), max(known)) if known else None


@dataclass(frozen=True)
class Row:
    """A contestant at one budget. `accuracies` are of the test split, by seed; `behind` is its fall below the
    prototype and `lead` that of edgesynth over it, both seed by seed, in shares of images. `missing` seeds have no
    result; `failures` are the reasons of those that failed, by seed."""

    contestant: str
    accuracies: dict[int, float]
    accuracy: Band | None
    behind: Band | None
    lead: Band | None
    macs: Band | None
    params: Band | None
    search_cpu_s: Band | None
    finish_cpu_s: Band | None
    latency_ratio: Band | None
    tx2_mj: Band | None
    computed: dict[int, str]
    """By seed, the precision of training and the processor."""
    missing: tuple[int, ...]
    failures: dict[int, str]


@dataclass(frozen=True)
class Table:
    """All contestants at one budget; `macs_limit` is None as long as nothing has been run."""

    budget: int
    macs_limit: int | None
    rows: tuple[Row, ...]


def tables(protocol: Protocol, places: Places) -> tuple[Row, list[Table]]:
    """The prototype's row, and a table for each budget."""
    prototypes = {
        seed: result
        for seed in protocol.seeds
        if (result := read_result(places.prototype_result(seed))) is not None
        and result["protocol_digest"] == protocol.digest()
    }
    latency = _Latency(places)
    own = _row("prototype", protocol, prototypes, prototypes, {}, latency, "prototype")
    return own, [_table(protocol, places, budget, prototypes, latency) for budget in protocol.budgets]


class _Latency:
    """What latency.json says of a network, as long as it was measured on that very architecture."""

    def __init__(self, places: Places) -> None:
        document = read_result(places.results / "latency.json")
        self._networks: dict[str, dict[str, Any]] = {} if document is None else document["networks"]

    def of(self, name: str, result: dict[str, Any], figure: str) -> float | None:
        measured = self._networks.get(name)
        if measured is None or measured["architecture"] != architecture_digest(result):
            return None
        value: float | None = measured[figure]
        return value


def _table(
    protocol: Protocol, places: Places, budget: int, prototypes: dict[int, dict[str, Any]], latency: _Latency
) -> Table:
    results = {name: _results(protocol, places, name, budget) for name in CONTESTANTS}
    ours = {seed: result for seed, result in results["edgesynth"].items() if result["status"] == "finished"}
    limits = [result["macs_limit"] for by_seed in results.values() for result in by_seed.values()]
    rows = tuple(
        _row(name, protocol, by_seed, prototypes, ours, latency, f"{name}-macs{budget}")
        for name, by_seed in results.items()
    )
    return Table(budget, limits[0] if limits else None, rows)


def _results(protocol: Protocol, places: Places, contestant: str, budget: int) -> dict[int, dict[str, Any]]:
    found = {seed: read_result(places.result(Cell(contestant, budget, seed))) for seed in protocol.seeds}
    digest = protocol.digest(contestant)
    return {seed: r for seed, r in found.items() if r is not None and r["protocol_digest"] == digest}


def _row(
    contestant: str,
    protocol: Protocol,
    results: dict[int, dict[str, Any]],
    prototypes: dict[int, dict[str, Any]],
    ours: dict[int, dict[str, Any]],
    latency: _Latency,
    network: str,
) -> Row:
    done = {seed: result for seed, result in results.items() if result.get("status", "finished") == "finished"}
    accuracies = {seed: result["test_accuracy"] for seed, result in done.items()}
    is_peer = contestant not in ("prototype", "edgesynth")

    def band(figure: str) -> Band | None:
        return Band.of([result.get(figure) for result in done.values()])

    def measured(figure: str) -> Band | None:
        return Band.of([latency.of(f"{network}-seed{seed}", result, figure) for seed, result in done.items()])

    return Row(
        contestant=contestant,
        accuracies=accuracies,
        accuracy=Band.of(list(accuracies.values())),
        behind=Band.of(
            [a - prototypes[s]["test_accuracy"] for s, a in accuracies.items() if s in prototypes]
            if contestant != "prototype"
            else []
        ),
        lead=Band.of([ours[s]["test_accuracy"] - a for s, a in accuracies.items() if s in ours] if is_peer else []),
        macs=band("macs"),
        params=band("params"),
        search_cpu_s=band("search_cpu_s"),
        finish_cpu_s=band("finish_cpu_s"),
        latency_ratio=measured("ratio"),
        tx2_mj=measured("tx2_mj"),
        computed={seed: _computed(result["environment"]) for seed, result in done.items()},
        missing=tuple(seed for seed in protocol.seeds if seed not in results),
        failures={seed: result["reason"] for seed, result in results.items() if result.get("status") == "failed"},
    )


def _computed(environment: dict[str, Any]) -> str:
    # The first results are from before there was a choice.
    return f"in {environment.get('precision', 'float32')} on {environment['cpu']}"
