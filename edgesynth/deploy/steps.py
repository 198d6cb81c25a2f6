"""The states of a deploy, as data: their order, what each one does, and what becomes of the device when it fails."""

from dataclasses import dataclass
from typing import Literal

__all__ = ["STATES", "Outcome", "State", "state"]

Outcome = Literal["done", "kept", "skipped", "failed", "planned"]
"""`kept`: what it would make was there."""


@dataclass(frozen=True)
class State:
    """`on_failure`: what holds on the device when it fails, or is cut off, in this state. Each may be repeated."""

    name: str
    does: str
    on_failure: str


STATES = (
    State(
        "lease",
        "connect, take the deploy lock, and the lease of the agent where one runs",
        "nothing was changed; both end with the connection",
    ),
    State(
        "preflight",
        "look at processor, board, L4T, TensorRT, Python, disk, memory, clock, power mode",
        "nothing was changed",
    ),
    State(
        "agent",
        "install this version of the agent beside the former one, switch over, wait until it is ready",
        "the former agent runs again, or none where there was none",
    ),
    State(
        "upload",
        "send what is not there into releases/ID.partial, compare SHA-256, write to the disk",
        "what arrived stays, and is gone on with; it is no release",
    ),
    State("build", "build the engine on the device, with the timing cache", "there is no new release"),
    State("parity", "compare its outputs with those of the export", "there is no new release"),
    State("smoke", "run it back to back", "there is no new release"),
    State(
        "activate",
        "name the release, and let `current` lead to it in one step",
        "`current` leads to the release of before, or is gone where there was none",
    ),
    State("measure", "measure latency and energy through the agent", "`current` leads to the release of before"),
    State("commit", "write down that it is good, remove old releases", "`current` leads to the release of before"),
)


def state(name: str) -> State:
    """The state of that name. Raises KeyError."""
    return {each.name: each for each in STATES}[name]
