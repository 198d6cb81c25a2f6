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
    REPORTED_BOARD,
    REPORTED_METERED,
    SCREEN_HOST,
    SIMULATED_BOARD,
    Job,
    JobRequest,
    Schedule,
    Tier,
    schedule_for,
)
from edgesynth.devices.lease import HeldLease
from edgesynth.devices.opening import Answering, Patience, open_answering, open_device, parse_addresses
from edgesynth.devices.oracle import EstimateOracle, FakeOracle, Oracle

__all__ = [
    "QUICK_BOARD",
    "QUICK_HOST",
    "QUICK_METERED",
    "REPORTED_BOARD",
    "REPORTED_METERED",
    "SCREEN_HOST",
    "SIMULATED_BOARD",
    "AgentClient",
    "AgentOracle",
    "Answering",
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
    "Patience",
    "Schedule",
    "Tier",
    "beside",
    "open_answering",
    "open_device",
    "parse_addresses",
    "schedule_for",
]
