"""The seam "who answers: how fast, and at how many joules?"."""

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

from edgesynth_exporters.targets import Target, find_target, model_of

from edgesynth.devices.client import AgentClient
from edgesynth.devices.deadline import Deadline
from edgesynth.devices.host import HostAgent
from edgesynth.devices.jobs import QUICK_HOST, SCREEN_HOST, JobRequest, Schedule
from edgesynth.devices.lease import HeldLease
from edgesynth.errors import DeviceError, EdgesynthError, ModelFileError
from edgesynth.records import Engine, Latency, Measurement

__all__ = ["EstimateOracle", "FakeOracle", "HostOracle", "Oracle", "open_oracle", "reachable_target"]


class Oracle(ABC):
    """Answers for one target. A context manager: `measure` may be called only inside its `with` block.

    May be entered again after it was left. Not for several threads: figures taken side by side disturb each other.
    """

    target: str
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
        if self._held is None:
            raise RuntimeError(f"{type(self).__name__}.measure outside of its with block")
        return self._measure(onnx, batch)

    def _hold(self) -> AbstractContextManager[None]:
        """What is needed from entering to leaving; nothing unless overridden."""
        return nullcontext()

    @abstractmethod
    def _measure(self, onnx: Path, batch: int) -> Measurement: ...


class HostOracle(Oracle):
    """Measures on this machine, through one agent that lives as long as the `with` block."""

    target = "host"

    def __init__(
        self, schedule: Schedule = QUICK_HOST, on_progress: Callable[[str, float], None] | None = None
    ) -> None:
        self._schedule = schedule
        self._on_progress = on_progress
        self._client: AgentClient
        self._lease: HeldLease

    @contextmanager
    def _hold(self) -> Iterator[None]:
        with HostAgent() as self._client, self._client.lease(f"edgesynth, process {os.getpid()}") as self._lease:
            yield

    def _measure(self, onnx: Path, batch: int) -> Measurement:
        # Beyond the schedule: loading, and windows that end late because one inference takes long.
        limit_s = 60 + 2 * (self._schedule.warmup_max_s + self._schedule.windows * self._schedule.window_s)
        model = self._client.upload(onnx)
        job = self._client.submit(
            JobRequest(model=model, target=self.target, batch=batch, limit_s=limit_s, schedule=self._schedule),
            self._lease,
        )
        try:
            measured = self._client.wait(job.id, Deadline(limit_s + 60), self._on_progress)
        except BaseException:  # an interrupt too must not leave the machine busy
            with suppress(DeviceError):  # what went wrong first is what counts
                self._client.cancel(job.id)
            raise
        from edgesynth.energy.measured_network import with_network

        return with_network(measured, onnx)


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


def open_oracle(target: str, *, screening: bool = False) -> Oracle:
    """Who answers for the target of that name; `screening` for figures that are quick and for choosing only.

    Raises EdgesynthError for an unknown target, and for a board.
    """
    if reachable_target(target).kind == "model":
        return EstimateOracle(target)
    return HostOracle(SCREEN_HOST if screening else QUICK_HOST)


def reachable_target(name: str) -> Target:
    """The target of that name, which something on this machine answers for: an agent, or a model.

    Raises EdgesynthError for an unknown target, and for a board, since this version knows no addresses of boards.
    """
    target = find_target(name)
    if target.kind == "board":
        model = model_of(target)
        instead = (
            "there is no model of it either" if model is None else f"use {model.name}, the model of a {model.based_on}"
        )
        raise EdgesynthError(
            f"{name} is a board that has to be reached, and this version knows no addresses of devices yet; {instead}"
        )
    return target
