"""Cells of the comparison: which there are, where their files lie, which are missing."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.classification.protocol import CONTESTANTS, Protocol

__all__ = ["HERE", "Cell", "Places", "architecture_digest", "cells_of", "is_done", "read_result"]

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Cell:
    """One contestant's network for one budget and one seed."""

    contestant: str
    budget: int
    seed: int

    @property
    def name(self) -> str:
        return f"{self.contestant}-macs{self.budget}-seed{self.seed}"


@dataclass(frozen=True)
class Places:
    """Where things are: `results` is kept in the repository, `work` is not."""

    results: Path
    work: Path

    @classmethod
    def of(cls, protocol: Protocol, work: Path | None = None) -> "Places":
        """The full protocol's and the family's lie beside this file; others are no results, and lie in `work`."""
        root = HERE / "work" if work is None else work
        results = HERE / "results" if work is None else work / "results"
        if protocol.name == "full":
            return cls(results, root)
        if protocol.name == "family":
            return cls(results / "family", root / "family")
        return cls(root / protocol.name / "results", root / protocol.name)

    def result(self, cell: Cell) -> Path:
        return self.results / f"{cell.name}.json"

    def prototype_result(self, seed: int) -> Path:
        return self.results / f"prototype-seed{seed}.json"

    def onnx(self, name: str) -> Path:
        return self.work / "onnx" / f"{name}.onnx"

    def folder(self, cell: Cell) -> Path:
        """What a cell needs to go on after it was stopped."""
        return self.work / "cells" / cell.name


def cells_of(
    protocol: Protocol,
    only: Sequence[str] = (),
    budgets: Sequence[int] = (),
    seeds: Sequence[int] = (),
) -> Iterator[Cell]:
    """The cells asked for, all if nothing is: whole comparisons one by one, the tightest budget first."""
    for budget in budgets or protocol.budgets:
        for seed in seeds or protocol.seeds:
            for contestant in only or CONTESTANTS:
                yield Cell(contestant, budget, seed)


def read_result(path: Path) -> dict[str, Any] | None:
    """A result file; None if there is none."""
    try:
        document: dict[str, Any] = json.loads(path.read_text())
    except FileNotFoundError:
        return None
    return document


def is_done(places: Places, protocol: Protocol, cell: Cell) -> bool:
    """Whether the cell has a result, good or bad, of this very protocol."""
    result = read_result(places.result(cell))
    return result is not None and result["protocol_digest"] == protocol.digest(cell.contestant)


def architecture_digest(result: Mapping[str, Any]) -> str:
    """12 hexadecimal digits over what a network is rebuilt from."""
    text = json.dumps([result.get("genome"), result.get("widths")], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]
