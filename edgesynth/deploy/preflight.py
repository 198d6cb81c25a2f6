"""What speaks for and against deploying to a device, before anything is changed there; each with what mends it."""

import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from edgesynth_exporters.targets import Target

__all__ = ["Finding", "examine"]

MIB = 1024 * 1024
SPARE_BYTES = 64 * MIB
COPIES = 3
"""Of what is sent, at most: the upload, the engine built from it, and the agent's own copy for measuring."""
LEAST_MEMORY_BYTES = 512 * MIB
SKEW_S = 120.0


@dataclass(frozen=True)
class Finding:
    """`error` stops a deploy, `warning` does not. `command` mends it, on the device; None where no command does."""

    severity: Literal["error", "warning"]
    what: str
    reason: str
    command: str | None = None
    refuses: bool = False
    """The answer is no, rather than that the device failed."""

    def __str__(self) -> str:
        return f"{self.what}: {self.reason}" + ("" if self.command is None else f"; {self.command}")


def examine(
    facts: Mapping[str, Any], target: Target, size: int, now_unix_s: float, allow_simulated: bool
) -> list[Finding]:
    """`facts` as the device's session tells them (`look`), `size` bytes are to be deployed."""
    return [
        *_machine(facts, target, allow_simulated),
        *_software(facts, target),
        *_room(facts, size),
        *_clock(facts, now_unix_s),
        *_power(facts, target),
        *_service(facts),
    ]


def _machine(facts: Mapping[str, Any], target: Target, allow_simulated: bool) -> Iterator[Finding]:
    machine, boards = facts["machine"], [name for name in facts["targets"] if name != "host"]
    if facts["simulated"] is not None:
        severity: Literal["error", "warning"] = "warning" if allow_simulated else "error"
        remedy = None if allow_simulated else "deploy with --allow-simulated; all figures then say so"
        yield Finding(severity, "simulated", f"it is no real {target.name} ({facts['simulated']})", remedy, True)
    elif machine != "aarch64":
        reason = f"its processor is {machine}, and a {target.name} has aarch64"
        if allow_simulated:
            yield Finding("warning", "architecture", f"{reason}; figures are those of a host")
        else:
            yield Finding("error", "architecture", reason, "name the right --host, or --allow-simulated", True)
    known = {target.name, target.based_on}
    if boards and not known & set(boards):
        yield Finding("error", "board", f"it says that it is a {', '.join(boards)}", f"--target {boards[0]}", True)
    elif not boards and machine == "aarch64":
        reason = f"its device tree ({facts['model'] or 'without a model'}) does not say that it is a {target.name}"
        yield Finding("warning", "board", f"{reason}; figures are recorded as those of a host")


def _software(facts: Mapping[str, Any], target: Target) -> Iterator[Finding]:
    runtime = facts["runtime"]
    versions = {name: each["version"] for name, each in runtime["runtimes"].items()}
    if target.l4t is not None and facts["l4t"] is not None and _major(facts["l4t"]) != _major(target.l4t):
        yield Finding("warning", "L4T", f"it has {facts['l4t']}, and {target.name} is described with {target.l4t}")
    found = versions["tensorrt"]
    if found is not None and target.tensorrt is not None and found.split(".")[:2] != target.tensorrt.split(".")[:2]:
        reason = f"it has {found}, and the network was checked for {target.tensorrt}"
        yield Finding("warning", "TensorRT", reason, "describe the board in targets.toml (edgesynth targets show)")
    if runtime["backend"] == "tensorrt":
        return
    command = "sudo apt-get install python3-libnvinfer"
    if found is not None and versions["pycuda"] is None:
        command = "sudo apt-get install python3-pip cuda-toolkit-10-2; sudo -H pip3 install pycuda"
    if runtime["backend"] is None:
        reason = f"nothing there runs networks: {runtime['reason']}; ONNX Runtime: {_reason(runtime, 'onnxruntime')}"
        yield Finding("error", "TensorRT", reason, command)
        return
    what = "pycuda" if found is not None else "TensorRT"
    reason = f"it is not used ({runtime['reason']}): the engine is ONNX Runtime {versions['onnxruntime']} on the CPU"
    yield Finding("warning", what, reason, None if facts["simulated"] else command)


def _room(facts: Mapping[str, Any], size: int) -> Iterator[Finding]:
    needed, free = COPIES * size + SPARE_BYTES, facts["disk_free_bytes"]
    if free < needed:
        reason = f"{free // MIB} MiB are free in {facts['disk']}, and up to {needed // MIB} are needed"
        yield Finding(
            "error", "disk", reason, f"du -xh {shlex.quote(facts['disk'])} | sort -h | tail shows what is large"
        )
    available = facts["memory_available_bytes"]
    if available is not None and available < LEAST_MEMORY_BYTES + 4 * size:
        yield Finding(
            "warning",
            "memory",
            f"{available // MIB} MiB are available: building an engine may fail",
            "sudo systemctl isolate multi-user.target ends the desktop",
        )


def _clock(facts: Mapping[str, Any], now_unix_s: float) -> Iterator[Finding]:
    skew_s = facts["unix_s"] - now_unix_s
    if abs(skew_s) > SKEW_S:
        way = "ahead" if skew_s > 0 else "behind"
        yield Finding(
            "warning", "clock", f"it is {abs(skew_s):.0f} s {way} of this machine's", "sudo timedatectl set-ntp true"
        )


def _power(facts: Mapping[str, Any], target: Target) -> Iterator[Finding]:
    if not target.power_modes:
        return
    mode, fastest = facts["power_mode"], target.power_modes[0]
    if mode is None:
        yield Finding("warning", "power mode", f"it is not known ({facts['power_mode_reason']})")
    elif mode["id"] != fastest.id:
        name = mode["name"] or f"mode {mode['id']}"
        yield Finding(
            "warning",
            "power mode",
            f"it is {name}, not {fastest.name}: figures are those of that mode",
            # Not the agent's own unit for it: on a bare board there is none yet.
            f"sudo nvpmodel -m {fastest.id} && sudo jetson_clocks",
        )


def _service(facts: Mapping[str, Any]) -> Iterator[Finding]:
    if facts["service"] == "session":
        yield Finding(
            "warning",
            "systemd",
            "there is none for this: the agent runs during deploys alone",
            "sudo loginctl enable-linger $USER, and log in again" if facts["linger"] is False else None,
        )
    elif facts["linger"] is False:
        yield Finding(
            "warning", "agent", "it ends when this user logs out", "sudo loginctl enable-linger $USER keeps it running"
        )


def _major(version: str) -> str:
    return version.split(".")[0]


def _reason(runtime: Mapping[str, Any], name: str) -> str:
    return str(runtime["runtimes"][name]["reason"])
