"""Answers about many candidates for a board, few of which are measured: the rest a model estimates, set right by those
that were."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgesynth.devices.oracle import Oracle
from edgesynth.energy.correction import Correction
from edgesynth.errors import DeviceError
from edgesynth.records import Latency, Measurement, Record

__all__ = ["Residual", "ScreeningOracle", "VerifyingOracle"]

Floats = NDArray[np.float64]

FEATURES = ("kernels", "macs", "params")
"""What an estimate tells of a network besides its latency, under `engine.flags`."""
PRIOR = 0.35
"""Standard deviation of ln(measured / estimated) before anything was measured: a factor of 2 either way, at 95 %."""
TOLERANCE = 0.02
"""A network is measured while the model's figure is less certain than this (standard deviation of its logarithm)."""
AT_ONCE = 8
"""Networks to choose from, for each board."""
HOPE = 2.0
"""By so many standard deviations may a candidate be better than it is estimated, to be worth a measurement."""
PATIENCE = 3
"""So many failures in a row, and the board is left alone."""


class Residual(Record):
    """One measured network: its features, and ln(measured / estimated) of latency and energy; None where unknown.
    `candidate` says that it was measured to choose by, and not for the record."""

    features: tuple[float, ...]
    latency: float
    energy: float | None
    candidate: bool = True

    def says_the_same(self, other: "Residual") -> bool:
        """Whether both are of one measurement, whatever it was taken for."""
        return self.model_copy(update={"candidate": other.candidate}) == other


class ScreeningOracle(Oracle):
    """For choosing among candidates; `verify` is for the record. Its records say "measured" (or "simulated") where
    `board` answered, else "estimated", as `target`, the board's.

    At most `budget` candidates are measured. Half of it is for those that are asked about together (`try_many`), of
    which the least certain are measured; the rest for a choice (`settle`), of which the first are. Where the board
    fails, for one network or for good, the estimate stands, and the record says so. `residuals` are what an earlier
    process learned; each further one goes to `on_residual`.
    """

    def __init__(
        self,
        model: Oracle,
        board: Oracle,
        budget: int,
        residuals: Sequence[Residual] = (),
        on_residual: Callable[[Residual], None] = lambda _: None,
    ) -> None:
        self.target = board.target
        self.at_once = AT_ONCE * board.at_once
        self._model, self._board = model, board
        self._budget = budget
        self._residuals = list(residuals)
        self._on_residual = on_residual
        self._failed: DeviceError | None = None
        self._failures: list[str] = []
        self._latency, self._energy = self._corrections()

    @property
    def measured(self) -> int:
        """Candidates that were measured, by earlier processes too."""
        return sum(residual.candidate for residual in self._residuals)

    def alive(self) -> bool:
        return self._failed is None and self._board.alive()

    def _hold(self) -> AbstractContextManager[None]:
        return self._both()

    @contextmanager
    def _both(self) -> Iterator[None]:
        with ExitStack() as stack:
            stack.enter_context(self._model)
            try:
                stack.enter_context(self._board)
            except DeviceError as error:
                self._failed = error
            yield

    def _measure(self, onnx: Path, batch: int) -> Measurement:
        return self._one_of_many(onnx, batch)

    def try_many(self, files: Sequence[Path], *, batch: int = 1) -> list[Measurement | DeviceError]:
        estimates, features = self._estimated(files, batch)
        measured = self._ask({i: files[i] for i in self._least_certain(features)}, estimates, features, batch)
        return list(self._known(estimates, features, measured))

    def settle(
        self,
        files: Sequence[Path],
        order: Callable[[Sequence[Measurement]], Sequence[int]],
        first: int = 1,
        *,
        batch: int = 1,
    ) -> list[Measurement]:
        """What is known of candidates of which the `first` are to be taken; `order` tells, best first, the indices of
        all by records of all.

        Time and again those are measured that would be the first if whatever is not measured turned out as well as it
        may, until the first are measured ones, or the budget is spent: so none is taken because its estimate flatters
        it, and few are passed over because theirs does not.
        """
        estimates, features = self._estimated(files, batch)
        measured: dict[int, Measurement] = {}
        asked: set[int] = set()
        while not self._is_given_up():
            hoped = self._known(estimates, features, measured, HOPE)
            # One that the board failed on is not in the way of the next.
            taken = [i for i in order(hoped) if i in measured or i not in asked][:first]
            due = [i for i in taken if i not in measured][: max(0, self._budget - self.measured)]
            if not due:
                break
            asked.update(due)
            measured |= self._ask({i: files[i] for i in due}, estimates, features, batch)
        return self._known(estimates, features, measured)

    def verify(self, onnx: Path, *, batch: int = 1) -> Measurement:
        """For the record: what the board says, however often it was asked; the estimate and why, where it says
        nothing. That record is no proof: its source is "estimated"."""
        estimate = self._model.measure(onnx, batch=batch)
        features = _features(estimate)
        answer = self._failed if self._failed is not None else self._board._try(onnx, batch)
        if isinstance(answer, Measurement):
            if self._learn(features, estimate, answer, candidate=False):
                self._latency, self._energy = self._corrections()
            return answer
        (corrected,) = self._known([estimate], np.array([features]), {})
        unverified = f"unverified: {self.target} did not measure it: {answer}"
        return corrected.model_copy(update={"warnings": [unverified, *corrected.warnings]})

    def _estimated(self, files: Sequence[Path], batch: int) -> tuple[list[Measurement], Floats]:
        """The model's estimates, and the networks' features (N, K)."""
        estimates = [self._model.measure(onnx, batch=batch) for onnx in files]
        return estimates, np.array([_features(estimate) for estimate in estimates]).reshape(-1, 1 + len(FEATURES))

    def _known(
        self, estimates: Sequence[Measurement], features: Floats, measured: Mapping[int, Measurement], hope: float = 0.0
    ) -> list[Measurement]:
        """What was measured; of the others the estimates, set right, and better by `hope` standard deviations."""
        factors = []
        for each in (self._latency, self._energy):
            mean, deviation = each.predict(features)
            factors.append(np.exp(mean - hope * np.hypot(deviation, each.scatter)).tolist())
        return [measured.get(i) or self._corrected(e, factors[0][i], factors[1][i]) for i, e in enumerate(estimates)]

    def _is_given_up(self) -> bool:
        return self._failed is not None or len(self._failures) >= PATIENCE

    def _least_certain(self, features: Floats) -> list[int]:
        """Which of the networks to measure: time and again the one that is the least certain, given that those before
        it are measured, until all are certain enough."""
        chosen: list[int] = []
        if self._is_given_up():
            return chosen
        while len(chosen) < self._budget - self._budget // 2 - self.measured:
            at = features[chosen]
            spread = np.maximum(*(each.expecting(at).predict(features)[1] for each in (self._latency, self._energy)))
            spread[chosen] = 0.0
            if not len(spread) or spread.max() <= TOLERANCE:
                break
            chosen.append(int(spread.argmax()))
        return chosen

    def _ask(
        self, files: Mapping[int, Path], estimates: Sequence[Measurement], features: Floats, batch: int
    ) -> dict[int, Measurement]:
        """What the board says, and learned from; failures in a row are counted."""
        if not files:
            return {}
        answers = self._board.try_many(list(files.values()), batch=batch)
        measured = {i: answer for i, answer in zip(files, answers, strict=True) if isinstance(answer, Measurement)}
        failures = [str(answer) for answer in answers if isinstance(answer, DeviceError)]
        self._failures = failures if measured else [*self._failures, *failures]
        learned = {i: m for i, m in measured.items() if self._learn(tuple(features[i].tolist()), estimates[i], m)}
        if learned:
            self._latency, self._energy = self._corrections()
        return learned

    def _learn(
        self, features: tuple[float, ...], estimate: Measurement, measured: Measurement, *, candidate: bool = True
    ) -> bool:
        """Whether there is something to learn from. What a database says again is learned, and counted, once."""
        if measured.latency_ms is None or estimate.latency_ms is None:
            return False
        known = measured.energy_mj is not None and estimate.energy_mj is not None
        residual = Residual(
            features=features,
            latency=math.log(measured.latency_ms.mean / estimate.latency_ms.mean),
            energy=math.log((measured.energy_mj or 1) / (estimate.energy_mj or 1)) if known else None,
            candidate=candidate,
        )
        if not any(residual.says_the_same(known) for known in self._residuals):
            self._residuals.append(residual)
            self._on_residual(residual)
        return True

    def _corrections(self) -> tuple[Correction, Correction]:
        """Of latency and of energy. A board that tells no joules leaves the model's energy to follow latency."""
        features = np.array([r.features for r in self._residuals]).reshape(-1, 1 + len(FEATURES))
        latency = Correction(features, np.array([r.latency for r in self._residuals]), PRIOR)
        told = [r for r in self._residuals if r.energy is not None]
        if not told:
            return latency, latency
        energies = np.array([r.energy for r in told], dtype=np.float64)
        return latency, Correction(np.array([r.features for r in told]), energies, PRIOR)

    def _corrected(self, estimate: Measurement, by_latency: float, by_energy: float) -> Measurement:
        energy_mj = None if estimate.energy_mj is None else estimate.energy_mj * by_energy
        latency = estimate.latency_ms
        latency_ms = None if latency is None else latency.mean * by_latency
        known = len(self._residuals)
        warnings = [f"estimated by {self._model.target}, set right by {known} measurements on {self.target}"]
        if self._failed is not None or self._failures:
            warnings.append(f"{self.target} did not answer: {self._failed or self._failures[-1]}")
        changes: dict[str, Any] = {
            "target": self.target,
            "latency_ms": None if latency_ms is None else Latency(mean=latency_ms, p50=None, p90=None, p99=None),
            "energy_mj": energy_mj,
            "power_w": None if energy_mj is None or latency_ms is None else energy_mj / latency_ms,
            "inferences_per_joule": None if energy_mj is None else 1e3 / energy_mj,
            # The model's own intervals are not those of what it says when set right.
            "ci95": dict.fromkeys(estimate.ci95),
            # Nor do its layers add up to that.
            "layers": None,
            "warnings": [*warnings, *estimate.warnings],
        }
        return estimate.model_copy(update=changes)


class VerifyingOracle(Oracle):
    """For the record, through a screen that is entered: its board measures, or the record says that it did not."""

    def __init__(self, screen: ScreeningOracle) -> None:
        self.target = screen.target
        self._screen = screen

    def alive(self) -> bool:
        return self._screen.alive()

    def _measure(self, onnx: Path, batch: int) -> Measurement:
        return self._screen.verify(onnx, batch=batch)


def _features(estimate: Measurement) -> tuple[float, ...]:
    """Logarithms, so that distances are ratios."""
    values = [0.0 if estimate.latency_ms is None else math.log(estimate.latency_ms.mean)]
    return (*values, *(math.log(max(1.0, float(estimate.engine.flags.get(name, 1)))) for name in FEATURES))
