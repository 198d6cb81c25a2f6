"""What a worker does with a release that is being made: build its engine, compare it with the reference, run it.

Orders are {"do": "trial", "step": one of STEPS, …}; see `worker`. The result is a JSON object.
"""

import os
import time
from typing import Any, Callable, Dict, List, Optional

from edgesynth_agent import board
from edgesynth_agent.build import BuildRequest
from edgesynth_agent.choose import why_no_tensorrt
from edgesynth_agent.engines import Engine
from edgesynth_agent.engines.buffers import PyCudaBuffers
from edgesynth_agent.engines.onnxruntime_engine import OnnxRuntimeEngine
from edgesynth_agent.engines.reference import Reference, compare, read_reference, require
from edgesynth_agent.engines.tensorrt_api import load_module
from edgesynth_agent.engines.tensorrt_engine import TensorRtEngine
from edgesynth_agent.errors import EngineError
from edgesynth_agent.files import sha256_of
from edgesynth_agent.gpu import device_model
from edgesynth_agent.plan import check_plan
from edgesynth_agent.plan_cache import build_in_child
from edgesynth_agent.releases.order import ENGINE, FILES
from edgesynth_agent.stats import quantile

__all__ = ["STEPS", "carry_out"]

STEPS = ("look", "build", "parity", "smoke")

_WORKSPACE_MIB = 1024  # scratch memory that a layer may use, as for measurements
_SEED = 0
_RUNS = 20

Emit = Callable[[Dict[str, Any]], None]


def carry_out(order: Dict[str, Any], emit: Emit) -> Dict[str, Any]:
    """One step. Raises EngineError when the network does not pass it, RefusedError for files that do not belong."""
    if order["step"] == "look":
        return _look()
    steps = {"build": _build, "parity": _parity, "smoke": _smoke}
    return steps[order["step"]](order)


def _look() -> Dict[str, Any]:
    """What runs networks here: {backend, version, device_model, reason, runtimes}; backend None where nothing does."""
    runtimes = {name: _runtime(name) for name in ("numpy", "onnxruntime", "tensorrt", "pycuda")}
    reason = why_no_tensorrt(PyCudaBuffers, device_model)
    backend: Optional[str] = "tensorrt"
    if reason is not None:
        both = runtimes["onnxruntime"]["version"] and runtimes["numpy"]["version"]
        backend = "onnxruntime" if both else None
    version = None if backend is None else runtimes[backend]["version"]
    return {
        "backend": backend,
        "version": version,
        "device_model": device_model() if backend == "tensorrt" else _model(),
        "reason": reason,
        "runtimes": runtimes,
    }


def _runtime(name: str) -> Dict[str, Optional[str]]:
    try:
        module = __import__(name)
    except Exception as error:  # a broken installation raises whatever it likes
        return {"version": None, "reason": "{}: {}".format(type(error).__name__, error)}
    version = getattr(module, "__version__", None) or getattr(module, "VERSION_TEXT", None)  # the second is pycuda's
    return {"version": str(version) if version else "unknown", "reason": None}


def _build(order: Dict[str, Any]) -> Dict[str, Any]:
    """The engine into the folder order["out"]; what it is. ONNX Runtime has no engine file: the network is loaded."""
    onnx = os.path.join(order["folder"], FILES["onnx"])
    calibration = os.path.join(order["folder"], FILES["calibration"])
    begin_s = time.monotonic()
    if order["backend"] == "onnxruntime":
        engine = OnnxRuntimeEngine(onnx)
        engine.close()
        warnings = [] if engine.precision == order["precision"] else [_computes_as_it_is(engine, order["precision"])]
        return dict(_facts(engine), file=None, build_s=time.monotonic() - begin_s, warnings=warnings)
    document = build_in_child(
        BuildRequest(
            onnx=onnx,
            out=os.path.join(order["out"], ENGINE),
            module=order["backend"],
            precision=order["precision"],
            workspace_mib=_WORKSPACE_MIB,
            timing_cache_folder=order["timing"],
            calibration_cache=calibration if os.path.exists(calibration) else None,
            device_model=device_model(),
            batch=order["batch"],
        )
    )
    return {
        "backend": document["module"],
        "version": document["version"],
        "precision": document["precision"],
        "flags": {"builder_flags": document["flags"], "workspace_mib": document["workspace_mib"]},
        "device_model": document["key"]["device_model"],
        "file": ENGINE,
        "build_s": document["build_s"],
        "warnings": document["warnings"],
    }


def _computes_as_it_is(engine: Engine, wanted: str) -> str:
    return "there is no TensorRT: ONNX Runtime computes in {}, as the file says, and not in {}".format(
        engine.precision, wanted
    )


def _facts(engine: Engine) -> Dict[str, Any]:
    return {
        "backend": engine.backend,
        "version": engine.version,
        "precision": engine.precision,
        "flags": engine.flags,
        "device_model": _model(),
    }


def _model() -> Optional[str]:
    """What this device calls itself, without starting CUDA."""
    return board.first_text(os.path.join(board.device_tree(), "model"))


def _parity(order: Dict[str, Any]) -> Dict[str, Any]:
    reference = _reference(order)
    engine = _open(order)
    try:
        engine.prepare(order["batch"], _SEED)
        comparison = compare(engine, reference, order["batch"])
    finally:
        engine.close()
    require(comparison, "network " + order["name"])
    return comparison


def _smoke(order: Dict[str, Any]) -> Dict[str, Any]:
    """Runs back to back, as an application would have them: {runs, latency_ms}, the median."""
    import numpy

    reference = _reference(order)
    rows = numpy.arange(order["batch"]) % reference.images
    engine = _open(order)
    try:
        engine.prepare(order["batch"], _SEED)
        latencies: List[float] = []
        for _ in range(_RUNS):
            begin_s = time.monotonic()
            engine.run()
            latencies.append(time.monotonic() - begin_s)
        answers = engine.outputs({name: values[rows] for name, values in reference.inputs.items()})
    finally:
        engine.close()
    for name, values in answers.items():
        if not numpy.isfinite(numpy.asarray(values, dtype=numpy.float64)).all():
            what = "output '{}' holds values that are no finite numbers".format(name)
            raise EngineError(what, "network " + order["name"], "try fp32, or export it again")
    return {"runs": _RUNS, "latency_ms": quantile(sorted(latencies), 0.5) * 1e3}


def _reference(order: Dict[str, Any]) -> Reference:
    onnx = os.path.join(order["folder"], FILES["onnx"])
    return read_reference(os.path.join(order["folder"], FILES["reference"]), sha256_of(onnx))


def _open(order: Dict[str, Any]) -> Engine:
    onnx = os.path.join(order["folder"], FILES["onnx"])
    if order["backend"] == "onnxruntime":
        return OnnxRuntimeEngine(onnx)
    calibration = os.path.join(order["folder"], FILES["calibration"])
    trt = load_module(order["backend"])
    plan = check_plan(
        os.path.join(order["folder"], ENGINE),
        device_model=device_model(),
        module=order["backend"],
        version=trt.__version__,
        precision=order["precision"],
        onnx_sha256=sha256_of(onnx),
        calibration_sha256=sha256_of(calibration) if os.path.exists(calibration) else None,
    )
    return TensorRtEngine(trt, plan, order["precision"], {}, PyCudaBuffers())
