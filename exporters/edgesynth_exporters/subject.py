"""What is exported, and how: plain data that the steps of an export work on."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from torch import nn

from edgesynth_exporters.errors import EdgesynthError
from edgesynth_exporters.precision import Format
from edgesynth_exporters.targets import Precision, Target

__all__ = ["Metric", "Order", "Subject"]

FloatArray = NDArray[np.float32]


@dataclass(frozen=True)
class Metric:
    """A task metric on the first `images` images of a subject: `evaluate` takes the answers (images, …) to them."""

    name: str
    images: int
    evaluate: Callable[[FloatArray], float]


@dataclass(frozen=True)
class Subject:
    """A network and what is known of it.

    `images` (N, C, H, W) are what it takes, real ones or noise, from `origin`; the first are enough to compare outputs,
    all of them give the metric. `calibration` are others, for int8; None where there are no real ones. `classes` name
    the second dimension of its only output.

    `source` says for the record where it comes from. `code` are the lines of Python that make `module` again, apart
    from its weights.
    """

    name: str
    module: nn.Module
    images: FloatArray
    inputs: Literal["real", "noise"]
    origin: str
    source: Mapping[str, Any]
    code: str
    calibration: FloatArray | None = None
    calibration_origin: str = ""
    metric: Metric | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    classes: tuple[str, ...] | None = None
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Order:
    """What is asked for. `out` is the file to make: MODEL.onnx or, for an engine, its plan; all others are named after
    it. The metric may fall by `max_drop`, a share, at a lower precision. `command` is for the log."""

    target: Target
    precision: Precision
    format: Format
    out: Path
    max_drop: float = 0.02
    command: str = "edgesynth export"

    def __post_init__(self) -> None:
        """Raises EdgesynthError for a name that does not say what the file is, or a folder that is not there."""
        endings = (".onnx",) if self.format == "onnx" else (".plan", ".engine")
        if self.out.suffix not in endings:
            raise EdgesynthError(
                f"--out {self.out}: the name of a file of format {self.format} must end in {' or '.join(endings)}"
            )
        if not self.out.parent.is_dir():
            raise EdgesynthError(f"--out {self.out}: there is no folder {self.out.parent}; make it first")
        if self.out.is_dir():
            raise EdgesynthError(f"--out {self.out}: that is a folder")

    @property
    def paths(self) -> "Paths":
        return Paths(self.out)


@dataclass(frozen=True)
class Paths:
    """The files of one export, all in one folder."""

    out: Path

    @property
    def onnx(self) -> Path:
        return self.out.with_suffix(".onnx")

    @property
    def reference(self) -> Path:
        return self.out.with_suffix(".reference.npz")

    @property
    def calibration(self) -> Path:
        return self.out.with_suffix(".calibration")

    @property
    def manifest(self) -> Path:
        return self.out.with_suffix(".json")

    @property
    def failed(self) -> Path:
        return self.out.with_name(f"{self.out.name}.failed")
