"""Candidates of a choice, before it is made: boards are asked about those that would be taken."""

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from edgesynth_exporters.targets import find_target

from edgesynth.devices.screen import ScreeningOracle
from edgesynth.records import Measurement
from edgesynth.space.surgery import materialise
from edgesynth.synthesis.scoring import Score, Scorer, measured_value, network_file

__all__ = ["Order", "settled", "settles"]

Order = Callable[[Sequence[Score]], list[int]]
"""The indices of all, best first."""


def settles(scorer: Scorer) -> bool:
    """Whether requirements speak of a board, so that there is anybody to be asked."""
    return bool(_boards(scorer))


def settled(scorer: Scorer, scores: Sequence[Score], order: Order, first: int) -> list[Score]:
    """The scores with what is known now of what requirements ask of boards: those that would be among the `first` are
    measured as far as `--measure` allows, the figures of the others are estimates set right by all measurements so far.
    """
    known = list(scores)
    for target, screen in _boards(scorer).items():
        known = _settled_on(scorer, target, screen, known, order, first)
    return known


def _settled_on(
    scorer: Scorer, target: str, screen: ScreeningOracle, scores: Sequence[Score], order: Order, first: int
) -> list[Score]:
    def by_records(records: Sequence[Measurement]) -> list[int]:
        return order(_told(scorer, target, scores, records))

    with tempfile.TemporaryDirectory(prefix="edgesynth-") as folder:
        files = [Path(folder) / f"candidate-{index}.onnx" for index in range(len(scores))]
        for path, score in zip(files, scores, strict=True):
            network = materialise(scorer.space, score.genome, scorer.ranking)
            path.write_bytes(network_file(network, scorer.space.example, find_target(target).opset))
        records = screen.settle(files, by_records, first)
    return _told(scorer, target, scores, records)


def _boards(scorer: Scorer) -> dict[str, ScreeningOracle]:
    screens = {target: scorer.screens[target] for target in sorted(set(scorer.wanted.values()))}
    return {target: screen for target, screen in screens.items() if isinstance(screen, ScreeningOracle)}


def _told(scorer: Scorer, target: str, scores: Sequence[Score], records: Sequence[Measurement]) -> list[Score]:
    """The scores with a target's figures from these records."""
    quantities = {r.key: r.quantity for r in scorer.requirements if scorer.wanted.get(r.key) == target}
    return [
        score.model_copy(
            update={"on_target": score.on_target | {key: measured_value(q, record) for key, q in quantities.items()}}
        )
        for score, record in zip(scores, records, strict=True)
    ]
