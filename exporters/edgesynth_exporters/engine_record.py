"""What the agent's builder answers (edgesynth.engine/1): an engine, or why there is none."""

from typing import Annotated, Literal

from pydantic import Field, TypeAdapter

from edgesynth_exporters.document import Document
from edgesynth_exporters.targets import Precision

__all__ = ["EngineAnswer", "EngineFailure", "EngineKey", "EngineRecord", "Module"]

Module = Literal["tensorrt", "tensorrt_rtx"]
Digest = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class SourceFile(Document):
    """The ONNX file that an engine was built from."""

    path: str
    sha256: Digest


class PlanFile(Document):
    """The engine, serialized."""

    path: str
    sha256: Digest
    bytes: int


class TensorInfo(Document):
    """An input or output as the builder sees it; TensorRT 8 makes INT64 int32."""

    name: str
    shape: tuple[int, ...]
    dtype: str


class TimingCache(Document):
    """Where the builder's measurements of kernels lie, and whether earlier ones were used."""

    path: str
    hit: bool
    bytes: int


class EngineKey(Document):
    """What two plans must have in common to be the same plan. `device_model` is None for one built ahead of time."""

    device_model: str | None
    module: Module
    module_version: str
    precision: Precision
    flags: tuple[str, ...]
    compute_capabilities: tuple[str, ...]
    onnx_sha256: Digest
    calibration_sha256: Digest | None


class Failure(Document):
    """What was wrong, where, and what to do next."""

    what: str
    where: str
    next: str


class ParserFinding(Document):
    """What TensorRT says, and of which node; None where it names none."""

    node: str | None
    operator: str | None
    reason: str


class EngineRecord(Document):
    """An engine that was built. This document also lies beside the plan, as its manifest.

    `build_s` is the time inside TensorRT's builder, `peak_memory_mib` that of the whole process. With `strongly_typed`
    the ONNX alone decided the precision, else `flags` allowed it, layer by layer.
    """

    schema_: Literal["edgesynth.engine/1"] = Field("edgesynth.engine/1", alias="schema")
    built: Literal[True] = True
    module: Module
    version: str
    agent: str
    precision: Precision
    strongly_typed: bool
    flags: tuple[str, ...]
    workspace_mib: int
    onnx: SourceFile
    plan: PlanFile
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    build_s: float
    peak_memory_mib: float
    timing_cache: TimingCache | None
    key: EngineKey
    warnings: tuple[str, ...]
    error: None = None
    findings: tuple[ParserFinding, ...] = ()


class EngineFailure(Document):
    """Why there is no engine."""

    schema_: Literal["edgesynth.engine/1"] = Field("edgesynth.engine/1", alias="schema")
    built: Literal[False] = False
    module: Module
    error: Failure
    findings: tuple[ParserFinding, ...]


EngineAnswer: TypeAdapter[EngineRecord | EngineFailure] = TypeAdapter(EngineRecord | EngineFailure)
