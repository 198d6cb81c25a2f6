"""Devices: how the workstation reaches an agent, and who answers for a target."""

from edgesynth.devices.agent_oracle import AgentOracle, HostOracle
from edgesynth.devices.beside import Beside, beside
from edgesynth.devices.client import AgentClient, Health
from edgesynth.devices.deadline import Deadline
from edgesynth.devices.host import HostAgent
from edgesynth.devices.jobs import (
    QUICK_BOARD,
    QUICK_HOST,
    QUICK_METERED,
    SCREEN_HOST,
    SIMULATED_BOARD,
    Job,
    JobRequest,
    Schedule,
    schedule_for,
)
from edgesynth.devices.lease import HeldLease
from edgesynth.devices.oracle import EstimateOracle, FakeOracle, Oracle, open_device, open_oracle, reachable_target

__all__ = [
    "QUICK_BOARD",
    "QUICK_HOST",
    "QUICK_METERED",
    "SCREEN_HOST",
    "SIMULATED_BOARD",
    "AgentClient",
    "AgentOracle",
    "Beside",
    "Deadline",
    "EstimateOracle",
    "FakeOracle",
    "Health",
    "HeldLease",
    "HostAgent",
    "HostOracle",
    "Job",
    "JobRequest",
    "Oracle",
    "Schedule",
    "beside",
    "open_device",
    "open_oracle",
    "reachable_target",
    "schedule_for",
]
