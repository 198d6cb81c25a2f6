"""Devices: how the workstation reaches an agent, and who answers for a target."""

from edgesynth.devices.client import AgentClient, Health
from edgesynth.devices.deadline import Deadline
from edgesynth.devices.host import HostAgent
from edgesynth.devices.jobs import QUICK_BOARD, QUICK_HOST, SCREEN_HOST, SIMULATED_BOARD, Job, JobRequest, Schedule
from edgesynth.devices.lease import HeldLease
from edgesynth.devices.oracle import EstimateOracle, FakeOracle, HostOracle, Oracle, open_oracle, reachable_target

__all__ = [
    "QUICK_BOARD",
    "QUICK_HOST",
    "SCREEN_HOST",
    "SIMULATED_BOARD",
    "AgentClient",
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
    "open_oracle",
    "reachable_target",
]
