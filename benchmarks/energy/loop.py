"""How many measurements the loop needs to find the network that measuring every candidate finds.

The question of each search: the most inferences per joule among candidates whose score is at least so much. The boards
are hidden ones, the candidates those that searches have looked at, in their order; model, screen and correction are
those of edgesynth.
"""

import random
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.energy.candidates import Candidates, candidates_of, names, save
from benchmarks.energy.hidden_boards import HiddenBoard
from edgesynth.devices import EstimateOracle, FakeOracle, Oracle
from edgesynth.devices.screen import Residual, ScreeningOracle
from edgesynth.records import Measurement

__all__ = ["Search", "compare_loop"]

FIRST_BOARD, BOARDS = 12, 12
"""What the correction and the choice take for likely was settled with the boards before these."""
BUDGETS = (2, 4, 8, 16, 32)
BOUNDS = (0.25, 0.5, 0.75, 0.9)
"""The score that is asked for: that of the candidate at this quantile."""
WANTED_REGRET, WANTED_SHARE = 0.02, 0.1


class _Remembered(Oracle):
    """What the model says, asked once for each file: a search with another board asks the same."""

    target = "tx2-sim"

    def __init__(self, answers: Mapping[Path, Measurement]) -> None:
        self._answers = answers

    def _measure(self, onnx: Path, batch: int) -> Measurement:
        return self._answers[onnx]


@dataclass(frozen=True)
class Search:
    """Candidates, and one board: `true_mj` are its energies, `measured` what it says, in ms and mJ."""

    files: Sequence[Path]
    scores: Sequence[float]
    estimates: Mapping[Path, Measurement]
    true_mj: Sequence[float]
    measured: Mapping[Path, tuple[float, float]]

    @classmethod
    def of(cls, files: Sequence[Path], scores: Sequence[float], board: HiddenBoard) -> "Search":
        with EstimateOracle("tx2-sim") as model:
            estimates = {path: model.measure(path) for path in files}
        return cls.on(files, scores, estimates, board)

    @classmethod
    def on(
        cls, files: Sequence[Path], scores: Sequence[float], estimates: Mapping[Path, Measurement], board: HiddenBoard
    ) -> "Search":
        truths = {path: board.truth(path) for path in files}
        measured = {path: board.measured(path, truth) for path, truth in truths.items()}
        return cls(files, scores, estimates, [energy_mj for _, energy_mj in truths.values()], measured)

    def screen(self, budget: int, residuals: Sequence[Residual] = ()) -> tuple[ScreeningOracle, FakeOracle]:
        board = FakeOracle("tx2", self.measured.__getitem__)
        return ScreeningOracle(_Remembered(self.estimates), board, budget, residuals), board

    def order(self, bound: float, records: Sequence[Measurement]) -> list[int]:
        """Those that meet the bound first, then the fewest joules."""
        return sorted(range(len(records)), key=lambda i: (self.scores[i] < bound, records[i].energy_mj))

    def outcome(self, bound: float, chosen: int, asked: set[Path]) -> tuple[float, int]:
        """Joules above those of the best, as a share; networks that were measured, the chosen one for the record."""
        best = min(mj for mj, score in zip(self.true_mj, self.scores, strict=True) if score >= bound)
        return self.true_mj[chosen] / best - 1, len(asked | {self.files[chosen]})


Way = Callable[[Search, Sequence[float]], list[tuple[float, int]]]


def everything(search: Search, bounds: Sequence[float]) -> list[tuple[float, int]]:
    records = [search.measured[path][1] for path in search.files]
    return [
        search.outcome(bound, min(_meeting(search, bound), key=records.__getitem__), set(search.files))
        for bound in bounds
    ]


def loop(search: Search, bounds: Sequence[float], budget: int) -> list[tuple[float, int]]:
    """As edgesynth does it: the least certain while it searches, then those that would be chosen."""
    told: list[Residual] = []
    asked, _ = _searched(search, budget, told)
    found = []
    for bound in bounds:
        screen, board = search.screen(budget, told)
        with screen:
            records = screen.settle(search.files, partial(search.order, bound))
        found.append(search.outcome(bound, search.order(bound, records)[0], asked | {path for path, _ in board.asked}))
    return found


def _a_tenth(search: Search, bounds: Sequence[float]) -> list[tuple[float, int]]:
    """One is left for the record, should the chosen network be none of the measured ones."""
    return loop(search, bounds, int(WANTED_SHARE * len(search.files)) - 1)


def least_certain(search: Search, bounds: Sequence[float], budget: int) -> list[tuple[float, int]]:
    """All measurements on the least certain, and estimates stay as they were given."""
    asked, records = _searched(search, 2 * budget, [])
    return [search.outcome(bound, search.order(bound, records)[0], asked) for bound in bounds]


def at_random(search: Search, bounds: Sequence[float], budget: int) -> list[tuple[float, int]]:
    """As many, drawn at random; the same correction learned from them."""
    drawn = random.Random(budget).sample(range(len(search.files)), budget)
    screen, _ = search.screen(0)
    with screen:
        answers = {i: screen.verify(search.files[i]) for i in drawn}
        records = [answers.get(i, record) for i, record in enumerate(screen.settle(search.files, _as_they_are))]
    asked = {search.files[i] for i in drawn}
    return [search.outcome(bound, search.order(bound, records)[0], asked) for bound in bounds]


def compare_loop(boards: int = BOARDS, count: int | None = None) -> dict[str, Any]:
    """Each way to search, over all boards, candidates and bounds; `count` takes the first candidates alone."""
    torch.set_num_threads(1)
    ways: dict[str, Way] = {"every candidate": everything, "the model alone": partial(at_random, budget=0)}
    for budget in BUDGETS:
        ways[f"the loop, {budget}"] = partial(loop, budget=budget)
    ways["the loop, a tenth"] = _a_tenth
    for budget in BUDGETS:
        ways[f"the least certain alone, {budget}"] = partial(least_certain, budget=budget)
    for budget in BUDGETS:
        ways[f"at random, {budget}"] = partial(at_random, budget=budget)
    outcomes: dict[str, list[dict[str, Any]]] = {name: [] for name in ways}
    errors, populations = [], []
    with tempfile.TemporaryDirectory() as folder:
        for name in names():
            candidates = candidates_of(name)
            files = _files(candidates, Path(folder) / name, count)
            scores = candidates.scores[: len(files)]
            bounds = [float(np.quantile(scores, share)) for share in BOUNDS]
            populations.append(
                {"name": name, "source": candidates.source, "score": candidates.score_is, "count": len(files)}
            )
            with EstimateOracle("tx2-sim") as model:
                estimates = {path: model.measure(path) for path in files}
            for seed in range(FIRST_BOARD, FIRST_BOARD + boards):
                search = Search.on(files, scores, estimates, HiddenBoard.of(seed))
                errors.append({"candidates": name, "board": seed, **_model_errors(search)})
                for way, ask in ways.items():
                    for share, (regret, measured) in zip(BOUNDS, ask(search, bounds), strict=True):
                        outcomes[way].append(
                            {"candidates": name, "board": seed, "bound": share, "regret": round(regret, 5),
                             "measured": measured, "share": round(measured / len(files), 4)}
                        )  # fmt: skip
    return {
        "boards": boards,
        "bounds": list(BOUNDS),
        "candidates": populations,
        "model": errors,
        "ways": {name: _summary(found) for name, found in outcomes.items()},
        "worst": sorted(outcomes["the loop, a tenth"], key=lambda outcome: -outcome["regret"])[:8],
    }


def _files(candidates: Candidates, folder: Path, count: int | None) -> list[Path]:
    folder.mkdir()
    return save(candidates, folder, count)


def _searched(search: Search, budget: int, told: list[Residual]) -> tuple[set[Path], list[Measurement]]:
    """What was measured and what was said while searching, in the order of the search; `told` gains what was
    learned."""
    board = FakeOracle("tx2", search.measured.__getitem__)
    said: list[Measurement] = []
    with ScreeningOracle(_Remembered(search.estimates), board, budget, on_residual=told.append) as screen:
        for start in range(0, len(search.files), screen.at_once):
            answers = screen.try_many(search.files[start : start + screen.at_once])
            said += [answer for answer in answers if isinstance(answer, Measurement)]
    return {path for path, _ in board.asked}, said


def _as_they_are(records: Sequence[Measurement]) -> list[int]:
    return list(range(len(records)))


def _meeting(search: Search, bound: float) -> list[int]:
    return [index for index, score in enumerate(search.scores) if score >= bound]


def _model_errors(search: Search) -> dict[str, float]:
    """ln(true / estimated) over the candidates: what they share, and how they differ."""
    estimated = np.array([search.estimates[path].energy_mj for path in search.files], dtype=np.float64)
    errors = np.log(np.array(search.true_mj) / estimated)
    return {"mean": round(float(errors.mean()), 4), "least": round(float(errors.min()), 4),
            "greatest": round(float(errors.max()), 4), "deviation": round(float(errors.std()), 4)}  # fmt: skip


def _summary(outcomes: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    regrets = np.array([outcome["regret"] for outcome in outcomes])
    shares = np.array([outcome["share"] for outcome in outcomes])
    good = [o["regret"] <= WANTED_REGRET and o["share"] <= WANTED_SHARE for o in outcomes]
    return {
        "searches": len(outcomes),
        "measured": round(float(np.mean([outcome["measured"] for outcome in outcomes])), 1),
        "share": round(float(shares.mean()), 4),
        "greatest_share": round(float(shares.max()), 4),
        "regret": {f"p{share}": round(float(np.percentile(regrets, share)), 5) for share in (50, 90, 95, 100)},
        "within": round(float((regrets <= WANTED_REGRET).mean()), 4),
        "as_wanted": round(float(np.mean(good)), 4),
    }
