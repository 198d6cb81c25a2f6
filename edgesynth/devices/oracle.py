"""The seam "who answers: how fast, and at how many joules?"."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

from edgesynth.errors import DeviceError, ModelFileError
from edgesynth.records import Engine, Latency, Measurement

__all__ = ["EstimateOracle", "FakeOracle", "Oracle"]


class Oracle(ABC):
    """Answers for one target. A context manager: `measure` may be called only inside its `with` block.

    May be entered again after it was left. Not for several threads: figures taken side by side disturb each other.
    """

    target: str
    at_once: int = 1
    """So many files are best asked about together (`try_many`)."""
    _held: ExitStack | None = None

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            stack.enter_context(self._hold())
            self._held = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        held, self._held = self._held, None
        if held is not None:
            held.close()

    def measure(self, onnx: Path, *, batch: int = 1) -> Measurement:
        """Latency and energy of the network in that file, for inferences of `batch` inputs each.

        Raises ModelFileError for a file that cannot be read, DeviceError when there is no answer, RuntimeError
        outside of the `with` block.
        """
        self._check_held()
        return self._measure(onnx, batch)

    def alive(self) -> bool:
        """Whether whoever answers is still there. Only devices can go away."""
        return True

    def _check_held(self) -> None:
        if self._held is None:
            raise RuntimeError(f"{type(self).__name__}.measure outside of its with block")

    def try_many(self, files: Sequence[Path], *, batch: int = 1) -> list[Measurement | DeviceError]:
        """The answer about each file, in their order, or why there is none; one after the other unless overridden."""
        return [self._try(onnx, batch) for onnx in files]

    def _one_of_many(self, onnx: Path, batch: int) -> Measurement:
        """`_measure` of an oracle whose own way is `try_many`."""
        (answer,) = self.try_many([onnx], batch=batch)
        if isinstance(answer, DeviceError):
            raise answer
        return answer

    def _try(self, onnx: Path, batch: int) -> Measurement | DeviceError:
        try:
            return self.measure(onnx, batch=batch)
        except DeviceError as error:
            return error

    def _hold(self) -> AbstractContextManager[None]:
        """What is needed from entering to leaving; nothing unless overridden."""
        return nullcontext()

    @abstractmethod
    def _measure(self, onnx: Path, batch: int) -> Measurement: ...


class EstimateOracle(Oracle):
    """Asks the analytical model of a target; needs no device. On a TX2 a network is deployed in half floats."""

    def __init__(self, target: str, precision: Literal["fp32", "fp16", "int8"] = "fp16") -> None:
        self.target = target
        self._precision = precision

    def _measure(self, onnx: Path, batch: int) -> Measurement:
        from edgesynth.energy.estimate import estimate

        return estimate(onnx, self.target, self._precision, batch)


class FakeOracle(Oracle):
    """For tests: figures by a function of the file, `asked` remembers what for. Its records say "simulated".

    `figures(onnx)` returns latency in ms and energy in mJ of one inference; None for energy that is unknown.
    """

    def __init__(self, target: str, figures: Callable[[Path], tuple[float, float | None]]) -> None:
        self.target = target
        self.asked: list[tuple[Path, int]] = []
        self._figures = figures

    def _measure(self, onnx: Path, batch: int) -> Measurement:
        if not onnx.is_file():
            raise ModelFileError(f"{onnx}: there is no such file; give one that can be read")
        self.asked.append((onnx, batch))
        latency_ms, energy_mj = self._figures(onnx)
        return Measurement(
            schema="edgesynth.measurement/1",
            target=self.target,
            source="simulated",
            device={},
            engine=Engine(backend="fake", version="0", precision="fp32", batch=batch),
            windows=[],
            idle_power_w=None,
            power_w=None if energy_mj is None else energy_mj / latency_ms,
            latency_ms=Latency(mean=latency_ms, p50=latency_ms, p90=latency_ms, p99=latency_ms),
            energy_mj=energy_mj,
            inferences_per_joule=None if energy_mj is None else 1e3 / energy_mj,
            ci95={"latency_ms": None, "energy_mj": None, "inferences_per_joule": None},
            warnings=["made up by a fake oracle", *(["energy is unknown to it"] if energy_mj is None else [])],
        )
