"""Oracles that measure: through the agent of a device."""

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

from edgesynth.devices.client import AgentClient
from edgesynth.devices.deadline import Deadline
from edgesynth.devices.host import HostAgent
from edgesynth.devices.jobs import EngineName, JobRequest, Precision, Schedule, Tier, schedule_for
from edgesynth.devices.lease import HeldLease
from edgesynth.devices.measured import MeasurementKey, Measurements, key_facts
from edgesynth.devices.oracle import Oracle
from edgesynth.devices.power_mode import WantedMode, modes_seen
from edgesynth.devices.traces import Traces, with_trace
from edgesynth.errors import DeviceError
from edgesynth.records import Measurement

__all__ = ["AgentOracle", "HostOracle"]

BUILD_LIMIT_S = 1800.0
"""TensorRT may take minutes for a network on a small board, once: the agent keeps what it built."""


class AgentOracle(Oracle):
    """Measures as `target` on the device behind `agent`, which gives a client for as long as its `with` block lasts.

    Holds the device's lease all the while. `schedule` None is that of the `tier`, which None leaves to what the device
    can meter. `engine` and `precision` None leave that to the agent. Nothing is measured in another power mode than
    `mode`; None is as the device is. What `memory` has of just this device and network is not measured again. The raw
    samples of what is measured go to `traces`, where there is one.
    """

    def __init__(
        self,
        target: str,
        agent: AbstractContextManager[AgentClient],
        schedule: Schedule | None = None,
        on_progress: Callable[[str, float], None] | None = None,
        *,
        screening: bool = False,
        engine: EngineName | None = None,
        precision: Precision | None = None,
        tier: Tier | None = None,
        mode: WantedMode | None = None,
        memory: Measurements | None = None,
        traces: Traces | None = None,
    ) -> None:
        self.target = target
        self._agent = agent
        self._wanted = schedule
        self._on_progress = on_progress
        self._screening = screening
        self._engine = engine
        self._precision = precision
        self._tier = tier
        self._mode = mode
        self._memory = memory
        self._traces = traces
        self._schedule: Schedule
        self._client: AgentClient
        self._lease: HeldLease

    def measure(
        self, onnx: Path, *, batch: int = 1, reference: Path | None = None, calibration: Path | None = None
    ) -> Measurement:
        """As every oracle. Outputs are first compared with those of `reference`, a DeviceError if they differ, and what
        came of it is in the record; `calibration` has the scales of int8. Both are files of an export."""
        self._check_held()
        if self._memory is None or reference is not None or calibration is not None:
            return self._take(onnx, batch, reference, calibration)
        facts = self._client.device()
        key = self._key(onnx, batch, facts)
        known = self._memory.latest(key)
        if known is not None:
            return known
        measured = self._take(onnx, batch, None, None)
        # Joules that a sensor failed to tell are worth asking for again.
        told = measured.energy_mj is not None or facts["power"].get("sensor") is None
        if told and _in_mode_of(facts, measured):
            self._memory.add(key, measured)
        return measured

    def _take(self, onnx: Path, batch: int, reference: Path | None, calibration: Path | None) -> Measurement:
        if self._mode is not None:
            self._mode.require(self._client)
        request = JobRequest(
            model=self._client.upload(onnx, self._lease),
            target=self.target,
            batch=batch,
            limit_s=self._limit_s,
            schedule=self._schedule,
            engine=self._engine,
            precision=self._precision,
            reference=None if reference is None else self._client.upload_file(reference, self._lease),
            calibration=None if calibration is None else self._client.upload_file(calibration, self._lease),
            # An agent that chooses may choose TensorRT; none builds anything for ONNX Runtime.
            build_limit_s=None if self._engine == "onnxruntime" else BUILD_LIMIT_S,
        )
        job = self._client.submit(request, self._lease)
        try:
            longest_s = self._limit_s + (request.build_limit_s or 0.0) + 60
            measured = self._client.wait(job.id, Deadline(longest_s), self._on_progress)
        except BaseException:  # an interrupt too must not leave the machine busy
            with suppress(DeviceError):  # what went wrong first is what counts
                self._client.cancel(job.id)
            raise
        if self._mode is not None:
            self._mode.require_throughout(self._client.name, measured)
        measured = measured.model_copy(update={"measured_unix_s": time.time()})
        if self._traces is not None:
            measured = with_trace(measured, self._traces, lambda: self._client.trace(job.id))
        from edgesynth.energy.measured_network import with_network  # it takes its time to import

        return with_network(measured, onnx)

    @contextmanager
    def _hold(self) -> Iterator[None]:
        with (
            self._agent as self._client,
            self._client.lease(f"edgesynth, process {os.getpid()}") as self._lease,
            nullcontext() if self._mode is None else self._mode.held(self._client),
        ):
            self._schedule = self._wanted or schedule_for(
                self._client.device(), screening=self._screening, tier=self._tier
            )
            yield

    def alive(self) -> bool:
        """An agent that was started anew knows nothing of the lease: it is there, and will measure nothing for us."""
        try:
            self._client.heartbeat(self._lease.id)
        except DeviceError:
            return False
        return True

    def _measure(self, onnx: Path, batch: int) -> Measurement:
        return self.measure(onnx, batch=batch)

    def _key(self, onnx: Path, batch: int, facts: Mapping[str, Any]) -> MeasurementKey:
        from edgesynth_exporters.graph_digest import graph_digest  # it takes its time to import

        return MeasurementKey(
            graph=graph_digest(onnx),
            target=self.target,
            source=facts["source"],
            engine=self._engine or "the agent's choice",
            precision=self._precision or "the file's",
            batch=batch,
            schedule=self._schedule.model_dump_json(),
            **key_facts(self._client.name, facts),
        )

    @property
    def _limit_s(self) -> float:
        # Beyond the schedule: loading, and windows that end late because one inference takes long.
        schedule = self._schedule
        return 60 + 2 * (schedule.warmup_max_s + schedule.windows * schedule.window_s)


def _in_mode_of(facts: Mapping[str, Any], measured: Measurement) -> bool:
    """Whether the power mode of the facts held throughout; an agent that records no conditions is taken at its word."""
    return measured.conditions is None or all(mode == facts.get("power_mode") for mode in modes_seen(measured))


class HostOracle(AgentOracle):
    """Measures on this machine, through one agent that lives as long as the `with` block."""

    def __init__(
        self,
        schedule: Schedule | None = None,
        on_progress: Callable[[str, float], None] | None = None,
        *,
        screening: bool = False,
        engine: EngineName | None = None,
        precision: Precision | None = None,
        tier: Tier | None = None,
        traces: Traces | None = None,
    ) -> None:
        super().__init__(
            "host",
            HostAgent(),
            schedule,
            on_progress,
            screening=screening,
            engine=engine,
            precision=precision,
            tier=tier,
            traces=traces,
        )
