"""Answers about many candidates for a board, few of which are measured: the rest a model estimates, set right by those
that were."""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from edgesynth.devices.oracle import Oracle
from edgesynth.energy.correction import Correction
from edgesynth.errors import DeviceError
from edgesynth.records import Latency, Measurement, Record

__all__ = ["Residual", "ScreeningOracle"]

FEATURES = ("kernels", "macs", "params")
"""What an estimate tells of a network besides its latency, under `engine.flags`."""
PRIOR = 0.35
"""Standard deviation of ln(measured / estimated) before anything was measured: a factor of 2 either way, at 95 %."""
TOLERANCE = 0.02
"""A network is measured while the model's figure is less certain than this (standard deviation of its logarithm)."""
PATIENCE = 3
"""So many failures in a row, and the board is left alone."""


class Residual(Record):
    """One measured network: its features, and ln(measured / estimated) of latency and energy; None where unknown."""

    features: tuple[float, ...]
    latency: float
    energy: float | None


class ScreeningOracle(Oracle):
    """For choosing among candidates, never for the record. Its records say "measured" (or "simulated") where `board`
    answered, else "estimated", as `target`, the board's.

    At most `budget` networks are measured: those whose figures are the least certain, as they come by. Where the board
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
        self._model, self._board = model, board
        self._budget = budget
        self._residuals = list(residuals)
        self._on_residual = on_residual
        self._failures: list[str] = []
        self._latency, self._energy = self._corrections()

    @property
    def measured(self) -> int:
        """Networks that were measured, by earlier processes too."""
        return len(self._residuals)

    def _hold(self) -> AbstractContextManager[None]:
        return self._both()

    @contextmanager
    def _both(self) -> Iterator[None]:
        with ExitStack() as stack:
            stack.enter_context(self._model)
            try:
                stack.enter_context(self._board)
            except DeviceError as error:
                self._failures = [str(error)] * PATIENCE
            yield

    def _measure(self, onnx: Path, batch: int) -> Measurement:
        estimate = self._model.measure(onnx, batch=batch)
        features = _features(estimate)
        at = np.array([features])
        deviation = max(float(each.predict(at)[1][0]) for each in (self._latency, self._energy))
        if deviation > TOLERANCE and self.measured < self._budget and len(self._failures) < PATIENCE:
            measured = self._ask(onnx, batch)
            if measured is not None and self._learn(features, estimate, measured):
                return measured
        by_latency, by_energy = (math.exp(float(each.predict(at)[0][0])) for each in (self._latency, self._energy))
        return self._corrected(estimate, by_latency, by_energy)

    def _ask(self, onnx: Path, batch: int) -> Measurement | None:
        try:
            measured = self._board.measure(onnx, batch=batch)
        except DeviceError as error:
            self._failures.append(str(error))
            return None
        self._failures = []
        return measured

    def _learn(self, features: tuple[float, ...], estimate: Measurement, measured: Measurement) -> bool:
        """Whether there is something to learn from."""
        if measured.latency_ms is None or estimate.latency_ms is None:
            return False
        known = measured.energy_mj is not None and estimate.energy_mj is not None
        residual = Residual(
            features=features,
            latency=math.log(measured.latency_ms.mean / estimate.latency_ms.mean),
            energy=math.log((measured.energy_mj or 1) / (estimate.energy_mj or 1)) if known else None,
        )
        self._residuals.append(residual)
        self._latency, self._energy = self._corrections()
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
        warnings = [f"estimated by {self._model.target}, set right by {self.measured} measurements on {self.target}"]
        if self._failures:
            warnings.append(f"{self.target} did not answer: {self._failures[-1]}")
        changes: dict[str, Any] = {
            "target": self.target,
            "latency_ms": None if latency_ms is None else Latency(mean=latency_ms, p50=None, p90=None, p99=None),
            "energy_mj": energy_mj,
            "power_w": None if energy_mj is None or latency_ms is None else energy_mj / latency_ms,
            "inferences_per_joule": None if energy_mj is None else 1e3 / energy_mj,
            # The model's own intervals are not those of what it says when set right.
            "ci95": dict.fromkeys(estimate.ci95),
            "warnings": [*warnings, *estimate.warnings],
        }
        return estimate.model_copy(update=changes)


def _features(estimate: Measurement) -> tuple[float, ...]:
    """Logarithms, so that distances are ratios."""
    values = [0.0 if estimate.latency_ms is None else math.log(estimate.latency_ms.mean)]
    return (*values, *(math.log(max(1.0, float(estimate.engine.flags.get(name, 1)))) for name in FEATURES))
