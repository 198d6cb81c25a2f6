"""Which engine runs a network: TensorRT where it works, else ONNX Runtime, or the one that is asked for."""

import importlib
import os
from typing import Callable, List, NamedTuple, Optional

from edgesynth_agent.engines.base import Engine
from edgesynth_agent.engines.buffers import Buffers, PyCudaBuffers
from edgesynth_agent.engines.onnxruntime_engine import OnnxRuntimeEngine
from edgesynth_agent.engines.tensorrt_api import MODULES, load_module
from edgesynth_agent.engines.tensorrt_engine import TensorRtEngine
from edgesynth_agent.errors import EngineError, RequestError
from edgesynth_agent.gpu import device_model
from edgesynth_agent.onnx_file import read_summary
from edgesynth_agent.plan_cache import Build, PlanWanted, plan_for
from edgesynth_agent.plan_folder import PlanFolder

__all__ = ["BACKENDS", "EngineWanted", "OpenEngine", "open_engine", "why_no_tensorrt"]

BACKENDS = ("onnxruntime",) + MODULES


class EngineWanted(NamedTuple):
    """`model` is the ONNX file. `backend` None chooses, `precision` None is the file's own. `plans` is where plans are
    kept, by default beside the model."""

    model: str
    batch: int
    backend: Optional[str] = None
    precision: Optional[str] = None
    calibration_cache: Optional[str] = None
    plans: Optional[PlanFolder] = None


class OpenEngine(NamedTuple):
    """The engine, and what the record should say of the choice."""

    engine: Engine
    warnings: List[str]


def open_engine(
    wanted: EngineWanted,
    buffers: Callable[[], Buffers] = PyCudaBuffers,
    build: Optional[Build] = None,
    gpu: Callable[[], Optional[str]] = device_model,
    on_build: Callable[[], None] = lambda: None,
) -> OpenEngine:
    """Load the network, not yet prepared. A TensorRT plan that is not there is built first, after a call of `on_build`.

    Raises EngineError, RequestError for a precision or scales that the engine does not take, RefusedError for a file
    that is refused, StorageError.
    """
    warnings: List[str] = []
    backend = wanted.backend
    if backend is None:
        reason = why_no_tensorrt(buffers, gpu)
        backend = "tensorrt" if reason is None else "onnxruntime"
        if reason is not None and gpu() is not None:
            warnings.append("TensorRT is not used: " + reason)
    if backend == "onnxruntime":
        return OpenEngine(_onnxruntime(wanted), warnings)
    trt = load_module(backend)
    precision = wanted.precision or read_summary(wanted.model).precision
    folder = wanted.plans or PlanFolder(os.path.join(os.path.dirname(os.path.abspath(wanted.model)), "plans"))
    model = gpu()
    if model is None:
        raise EngineError("it has no NVIDIA GPU that says its name", "this device", "ask for the engine onnxruntime")
    order = PlanWanted(
        onnx=wanted.model,
        module=backend,
        module_version=trt.__version__,
        device_model=model,
        precision=precision,
        batch=wanted.batch,
        calibration_cache=wanted.calibration_cache,
    )
    plan = plan_for(order, folder, build, on_build)
    warnings += plan.manifest["warnings"]
    flags = {
        "builder_flags": plan.manifest["flags"],
        "strongly_typed": plan.manifest["strongly_typed"],
        "workspace_mib": plan.manifest["workspace_mib"],
        "build_s": plan.manifest["build_s"],
        "plan_sha256": plan.manifest["plan"]["sha256"],
        "plan_cached": plan.hit,
    }
    return OpenEngine(TensorRtEngine(trt, plan.data, precision, flags, buffers()), warnings)


def _onnxruntime(wanted: EngineWanted) -> Engine:
    if wanted.calibration_cache is not None:
        raise RequestError(
            "ONNX Runtime takes no calibration cache",
            "field 'calibration'",
            "ask for tensorrt, or export with QuantizeLinear and DequantizeLinear nodes",
        )
    engine = OnnxRuntimeEngine(wanted.model)
    if wanted.precision not in (None, engine.precision):
        engine.close()
        raise RequestError(
            "ONNX Runtime runs the file as it is, in {}".format(engine.precision),
            "field 'precision'",
            "ask for {}, or export it in {}".format(engine.precision, wanted.precision),
        )
    return engine


def why_no_tensorrt(buffers: Callable[[], Buffers], gpu: Callable[[], Optional[str]]) -> Optional[str]:
    """Why TensorRT does not run networks here, in words; None where it does."""
    if gpu() is None:
        return "there is no NVIDIA GPU that says its name"
    try:
        load_module("tensorrt")
        if buffers is PyCudaBuffers:
            importlib.import_module("pycuda.driver")
    except EngineError as error:
        return error.what
    except Exception as error:  # a broken installation raises whatever it likes
        return "pycuda cannot be imported ({}: {})".format(type(error).__name__, error)
    return None
