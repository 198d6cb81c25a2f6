"""Targets: the kinds of device that edgesynth knows."""

from dataclasses import dataclass
from typing import Literal

from edgesynth_exporters.errors import EdgesynthError

__all__ = ["TARGETS", "Precision", "Target", "find_target"]

Precision = Literal["fp32", "fp16", "int8"]


@dataclass(frozen=True)
class Target:
    """A kind of device, as far as a model file and a measurement depend on it.

    `source` is what a figure for this target is called when it comes from this machine: a board measures, a
    model estimates. `opset` is the greatest ONNX opset that its runtime takes. `tensorrt` is the version of TensorRT
    on it ("8.2.1"), None where another runtime runs the network. `precisions` are those that its hardware computes
    in, `memory_mib` all of its memory (on a Jetson CPU and GPU share it), None where unknown.
    """

    name: str
    description: str
    source: Literal["measured", "estimated"]
    opset: int
    tensorrt: str | None = None
    precisions: tuple[Precision, ...] = ("fp32",)
    memory_mib: int | None = None
    compute_capability: str | None = None


# TensorRT 8.2, the last one for a TX2, takes opset 13 at most (onnx-tensorrt, branch 8.2-GA, docs/operators.md).
TARGETS = {
    target.name: target
    for target in (
        Target("host", "this machine, through the agent and ONNX Runtime", "measured", opset=13),
        Target(
            "tx2-sim",
            "analytical model of a Jetson TX2 under TensorRT 8.2",
            "estimated",
            opset=13,
            tensorrt="8.2.1",
            precisions=("fp32", "fp16"),
            memory_mib=7850,
            compute_capability="6.2",
        ),
    )
}


def find_target(name: str) -> Target:
    """The target of that name. Raises EdgesynthError listing the known ones."""
    if name not in TARGETS:
        raise EdgesynthError(f"unknown target '{name}': known are {', '.join(TARGETS)}")
    return TARGETS[name]
