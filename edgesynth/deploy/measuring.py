"""What a network needs on the device that it was just deployed to, measured by the agent there."""

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from edgesynth.deploy.lease import AgentLease
from edgesynth.deploy.package import Package
from edgesynth.devices import QUICK_BOARD, SIMULATED_BOARD, Deadline, JobRequest
from edgesynth.errors import DeviceError
from edgesynth.records import Measurement

__all__ = ["measure"]

START_S = 60.0
"""Loading, and windows that end late because one inference takes long, beside twice the schedule."""
BUILD_S = 1800.0


def measure(lease: AgentLease, package: Package, facts: Mapping[str, Any], simulated: bool) -> Measurement:
    """The quick tier; on a device that is played, and with `simulated`, a short one that no figure is wanted of.

    Figures carry the target's name only where the agent says that the board is one. Raises DeviceError.
    """
    client, schedule = lease.client, SIMULATED_BOARD if simulated else QUICK_BOARD
    backend = facts["runtime"]["backend"]
    calibration = package.files.get("calibration") if backend == "tensorrt" else None
    limit_s = START_S + 2 * (schedule.warmup_max_s + (schedule.windows + 2) * schedule.window_s)
    job = client.submit(
        JobRequest(
            model=client.upload(package.files["onnx"]),
            target=package.target.name if package.target.name in facts["targets"] else "host",
            batch=package.batch,
            limit_s=limit_s,
            schedule=schedule,
            precision=package.precision if backend == "tensorrt" else None,
            build_limit_s=BUILD_S if backend == "tensorrt" else None,
            calibration=None if calibration is None else client.upload_file(calibration),
        ),
        lease.lease,
    )
    try:
        return client.wait(job.id, Deadline(limit_s + BUILD_S))
    except BaseException:  # an interrupt too must not leave the device busy
        with suppress(DeviceError):  # what went wrong first is what counts
            client.cancel(job.id)
        raise
