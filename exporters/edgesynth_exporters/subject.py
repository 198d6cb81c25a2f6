"""What is exported, and how: plain data that the steps of an export work on."""

import os
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
    """A task metric on the first `images` images of a subject: `evaluate` takes the answers (images, …) to them.

    `code` are the lines of Python that make `evaluate` again, for any number of first images, where `labels`
    (images, …) is one of their names.
    """

    name: str
    images: int
    evaluate: Callable[[FloatArray], float]
    labels: NDArray[Any]
    code: str


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
        """Raises EdgesynthError for a name that does not say what the file is or is too long, or a folder that is not
        there or may not be written."""
        endings = (".onnx",) if self.format == "onnx" else (".plan", ".engine")
        if self.out.suffix not in endings:
            raise EdgesynthError(
                f"--out {self.out}: the name of a file of format {self.format} must end in {' or '.join(endings)}"
            )
        folder = self.out.parent
        if not _is_folder(folder):
            raise EdgesynthError(f"--out {self.out}: there is no folder {folder}; make it first")
        longest = max(len(os.fsencode(path.name)) for path in (*self.paths.every, self.paths.failed))
        allowed = os.pathconf(folder, "PC_NAME_MAX")
        if longest > allowed:
            raise EdgesynthError(
                f"--out {self.out}: the name is too long: names there have {allowed} bytes at most, and those of the "
                f"files beside it would have up to {longest}"
            )
        if self.out.is_dir():
            raise EdgesynthError(f"--out {self.out}: that is a folder")
        if not os.access(folder, os.W_OK | os.X_OK):
            raise EdgesynthError(f"--out {self.out}: {folder} may not be written; name another folder")

    @property
    def paths(self) -> "Paths":
        return Paths(self.out)


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:  # a name that is too long, or a link to itself
        return False


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
        return self.out.with_suffix(".export.json")

    @property
    def every(self) -> tuple[Path, ...]:
        """Whatever exports of any format and precision may leave under that name."""
        engines = [self.out.with_suffix(ending) for ending in (".plan", ".engine")]
        records = [path.with_name(f"{path.name}.json") for path in engines]
        return (self.onnx, self.reference, self.calibration, *engines, *records, self.manifest)

    @property
    def engine_record(self) -> Path:
        """Beside an engine, which is `out` itself."""
        return self.out.with_name(f"{self.out.name}.json")

    @property
    def failed(self) -> Path:
        return self.out.with_name(f"{self.out.name}.failed")
