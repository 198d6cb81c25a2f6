"""What an export was: the manifest beside the files (edgesynth.export/1)."""

from typing import Any, Literal

from pydantic import Field

from edgesynth_exporters.document import Document
from edgesynth_exporters.engine_record import EngineRecord
from edgesynth_exporters.targets import Precision

__all__ = [
    "CalibrationInfo",
    "CheckInfo",
    "ExportRecord",
    "FileInfo",
    "ImagesInfo",
    "MetricInfo",
    "OutputParity",
    "SchemeInfo",
    "StepInfo",
    "TargetInfo",
    "TensorInfo",
]


class TargetInfo(Document):
    """What the export was made for; `opset` is the greatest that the target takes."""

    name: str
    tensorrt: str | None
    compute_capability: str | None
    opset: int


class SchemeInfo(Document):
    """How the precision reaches the target. `flags` are to be set when the engine is built there."""

    kind: Literal["plain", "fp16-flag", "fp16-casts", "int8-cache", "int8-qdq"]
    flags: tuple[str, ...]
    why: str


class TensorInfo(Document):
    """An input or output of the file. An input image is (p / 255 - mean) / std, p its 8-bit pixels, channel by channel;
    `classes` names the second dimension of an output. None where the export was not told."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    classes: tuple[str, ...] | None = None


class FileInfo(Document):
    """A file beside the manifest."""

    path: str
    sha256: str
    bytes: int


class ImagesInfo(Document):
    """What the file was compared with PyTorch on: images of a data set, or noise where none was given."""

    inputs: Literal["real", "noise"]
    origin: str
    count: int


class OutputParity(Document):
    """One output of a file, run by ONNX Runtime on the CPU, against PyTorch's in fp32. Errors in units of the output;
    `tolerance` is the greatest error allowed, None where the figures are only reported. `argmax_agreement` is the share
    of `answers` with the same greatest channel: one answer an image, or one a position in it."""

    images: int
    max_abs_error: float
    mean_abs_error: float
    greatest: float
    tolerance: float | None
    answers: int
    argmax_agreement: float | None


class MetricInfo(Document):
    """The task metric of PyTorch's answers, and of those of the file in the precision asked for, on labelled images
    that it was not calibrated on. `drop` is the difference."""

    name: str
    images: int
    pytorch: float
    exported: float
    drop: float


class CalibrationInfo(Document):
    """What int8 ranges come from. `errors` are the relative errors by method, of which the least was taken."""

    images: int
    origin: str
    method: str
    errors: dict[str, float]


class CheckInfo(Document):
    """The verdict of `edgesynth check`, which must be a yes for an export, and what it remarked."""

    ok: bool
    findings: list[dict[str, Any]]


class StepInfo(Document):
    """One step and its wall time."""

    name: str
    seconds: float


class ExportRecord(Document):
    """`edgesynth.export/1`. `files` are those beside the manifest by what they are: onnx, reference, calibration,
    engine, engine_record. `parity` holds the outputs of the file in fp32, and in the precision asked for where that is
    another one."""

    schema_: Literal["edgesynth.export/1"] = Field("edgesynth.export/1", alias="schema")
    name: str
    source: dict[str, Any]
    target: TargetInfo
    precision: Precision
    scheme: SchemeInfo
    format: Literal["onnx", "tensorrt", "tensorrt-rtx"]
    opset: int
    inputs: list[TensorInfo]
    outputs: list[TensorInfo]
    files: dict[str, FileInfo]
    images: ImagesInfo
    parity: dict[Precision, dict[str, OutputParity]]
    metric: MetricInfo | None
    calibration: CalibrationInfo | None
    check: CheckInfo
    engine: EngineRecord | None
    steps: list[StepInfo]
    tools: dict[str, str]
    warnings: list[str]
