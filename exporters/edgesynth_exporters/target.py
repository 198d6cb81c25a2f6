"""What a target is: a kind of device, or the model of one, and where each fact about it comes from."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

__all__ = ["FACTS", "Kind", "PowerMode", "Precision", "Target"]

Precision = Literal["fp32", "fp16", "int8"]
Kind = Literal["board", "host", "model"]

FACTS = (
    "module",
    "jetpack",
    "l4t",
    "python",
    "cuda",
    "tensorrt",
    "opset",
    "precisions",
    "memory_mib",
    "compute_capability",
    "rails",
    "total_power",
    "power_modes",
)
"""The fields of a target that each have a source, or a reason why they are unknown or empty."""


@dataclass(frozen=True)
class PowerMode:
    """A mode of nvpmodel: the processors it leaves on, and greatest clocks. None is a clock that it does not cap."""

    id: int
    name: str
    cpus: str
    cpu_mhz: float | None = None
    gpu_mhz: float | None = None
    memory_mhz: float | None = None
    default: bool = False


@dataclass(frozen=True)
class Target:
    """A kind of device, as far as a model file and a measurement depend on it.

    `source` is what a figure for this target is called when it comes from this machine: a board measures, a
    model estimates. `opset` is the greatest ONNX opset that its runtime takes. `tensorrt` is the version of TensorRT
    on it ("8.2.1"), None where another runtime runs the network. `precisions` are those that its hardware computes
    in, `memory_mib` is all the memory that its system has (on a Jetson CPU and GPU share it), None where unknown.

    `kind` is a "board" to be reached, this "host", or a "model" of the board `based_on`; a board of the user's may be
    based on one of these too. `module` is the exact model that the facts are of. `rails` are the power sensors that
    tegrastats prints. `total_power` has alternatives: the first whose rails are all printed counts, and its rails are
    added up; no rail is inside another of the same alternative.

    `sources` says for each of FACTS where it comes from, `reasons` for one that is None or empty why. `defined_in` is
    the file of the user's that defines the target, None for one that edgesynth knows. `constants` is the file with the
    constants of a model of the user's, None for every other target.
    """

    name: str
    description: str
    source: Literal["measured", "estimated"]
    opset: int
    tensorrt: str | None = None
    precisions: tuple[Precision, ...] = ("fp32",)
    memory_mib: int | None = None
    compute_capability: str | None = None
    kind: Kind = "board"
    based_on: str | None = None
    module: str | None = None
    jetpack: str | None = None
    l4t: str | None = None
    python: str | None = None
    cuda: str | None = None
    rails: tuple[str, ...] = ()
    total_power: tuple[tuple[str, ...], ...] = ()
    power_modes: tuple[PowerMode, ...] = ()
    sources: Mapping[str, str] = field(default_factory=dict, hash=False)
    reasons: Mapping[str, str] = field(default_factory=dict, hash=False)
    defined_in: str | None = None
    constants: str | None = None
