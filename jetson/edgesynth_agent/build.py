"""`edgesynth-agent build`: an ONNX file in, a plan with its manifest out, and one document that says how it went.

Run it as a process of its own: TensorRT can crash, and takes memory that it does not give back.
"""

import hashlib
import os
import re
import resource
import sys
import traceback
from contextlib import contextmanager
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Tuple

from edgesynth_agent import __version__
from edgesynth_agent.engines.tensorrt_api import builds_ahead_of_time, load_module
from edgesynth_agent.engines.tensorrt_builder import Order, Plan, build_plan
from edgesynth_agent.errors import (
    AgentError,
    BuildError,
    EngineError,
    RefusedError,
    RequestError,
    StorageError,
    UnsupportedError,
    internal_error,
)
from edgesynth_agent.files import open_file, sha256_of, write_together
from edgesynth_agent.gpu import device_model
from edgesynth_agent.plan import SCHEMA, PlanKey, manifest_path, plain, write_plan

__all__ = ["BuildRequest", "run_build"]

_MAX_TEXT = 2000


class BuildRequest(NamedTuple):
    """The options of the command, as they were given; of the two timing caches one at most."""

    onnx: str
    out: str
    module: str = "tensorrt"
    precision: str = "fp32"
    workspace_mib: int = 1024
    timing_cache: Optional[str] = None
    timing_cache_folder: Optional[str] = None
    calibration_cache: Optional[str] = None
    compute_capabilities: Tuple[str, ...] = ()
    device_model: Optional[str] = None
    batch: Optional[int] = None


def run_build(request: BuildRequest) -> Tuple[Dict[str, Any], int]:
    """Build; the document (`schemas/engine-1.json`) and the exit code: 0 built, 1 TensorRT does not take the network,
    2 bad usage or input, 3 TensorRT failed. When it is not 0, nothing at `request.out` has changed."""
    try:
        with _stdout_kept_clean():
            return _build(request), 0
    except AgentError as error:
        failure = error
    except MemoryError:
        failure = EngineError("the memory of this device is full", request.onnx, "lower --workspace-mib or free memory")
    except Exception as error:
        traceback.print_exc()
        failure = internal_error(error, "the build of " + request.onnx)
    document = {
        "schema": SCHEMA,
        "built": False,
        "module": request.module,
        "error": {key: plain(text, _MAX_TEXT) for key, text in failure.document().items()},
        "findings": [_plain(one) for one in failure.findings] if isinstance(failure, BuildError) else [],
    }
    return document, _exit_code(failure)


def _plain(finding: Dict[str, Optional[str]]) -> Dict[str, Optional[str]]:
    """Names of nodes, and TensorRT's words with such names in them, come from the file."""
    return {key: None if text is None else plain(text, _MAX_TEXT) for key, text in finding.items()}


def _exit_code(error: AgentError) -> int:
    if isinstance(error, UnsupportedError):
        return 1
    return 2 if isinstance(error, (RequestError, RefusedError)) else 3


def _build(request: BuildRequest) -> Dict[str, Any]:
    _check_places(request)
    onnx_sha256 = _digest(request.onnx)
    calibration = None if request.calibration_cache is None else _content(request.calibration_cache)
    trt = load_module(request.module)
    model = _device_model(trt, request)
    warnings: List[str] = []
    timing_path = _timing_path(trt, request, model)
    plan = build_plan(
        trt,
        Order(
            onnx=request.onnx,
            precision=request.precision,
            workspace_mib=request.workspace_mib,
            compute_capabilities=request.compute_capabilities,
            calibration_cache=calibration,
            timing_cache=None if timing_path is None else _timing_cache(timing_path, warnings),
            batch=request.batch,
        ),
    )
    # Who names a file wants to know that it is of no use; who names a folder leaves it to the agent.
    if plan.timing_cache_note is not None and (request.timing_cache is not None or plan.timing_cache is not None):
        warnings.append(plan.timing_cache_note)
    if timing_path is not None and plan.timing_cache is not None:
        _save_timing_cache(timing_path, plan.timing_cache, warnings)
    key = PlanKey(
        device_model=model,
        module=request.module,
        module_version=trt.__version__,
        precision=request.precision,
        flags=plan.flags,
        compute_capabilities=list(request.compute_capabilities),
        onnx_sha256=onnx_sha256,
        calibration_sha256=None if calibration is None else hashlib.sha256(calibration).hexdigest(),
    )
    document = _document(request, key, plan, timing_path, warnings)
    write_plan(request.out, plan.data, document)
    return document


def _check_places(request: BuildRequest) -> None:
    """What the build writes must not take the place of a folder, a device, or a file that it reads."""
    given = [request.onnx, request.calibration_cache, request.timing_cache]
    timing = request.timing_cache
    if timing is not None and any(one is not None and _same(one, timing) for one in given[:2]):
        raise RequestError("the build reads that file as another", "--timing-cache " + timing, "name another file")
    for path in (request.out, manifest_path(request.out)):
        if any(one is not None and _same(one, path) for one in given):
            raise RequestError("the build reads that file", "--out " + request.out, "name another file")
        if (os.path.exists(path) and not os.path.isfile(path)) or not os.path.isdir(
            os.path.dirname(os.path.abspath(path))
        ):
            raise RequestError(
                "it is no place for a file", "--out " + request.out, "name a file in a folder that exists"
            )


def _same(one: str, other: str) -> bool:
    return os.path.exists(one) and os.path.exists(other) and os.path.samefile(one, other)


def _document(
    request: BuildRequest, key: PlanKey, plan: Plan, timing_path: Optional[str], warnings: List[str]
) -> Dict[str, Any]:
    return {
        "schema": SCHEMA,
        "built": True,
        "module": key.module,
        "version": key.module_version,
        "agent": __version__,
        "precision": key.precision,
        "strongly_typed": plan.strongly_typed,
        "flags": plan.flags,
        "workspace_mib": request.workspace_mib,
        "onnx": {"path": os.path.abspath(request.onnx), "sha256": key.onnx_sha256},
        "plan": {
            "path": os.path.abspath(request.out),
            "sha256": hashlib.sha256(plan.data).hexdigest(),
            "bytes": plan.data.nbytes,
        },
        "inputs": plan.inputs,
        "outputs": plan.outputs,
        "build_s": plan.build_s,
        "peak_memory_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024.0,
        "timing_cache": None
        if plan.timing_cache is None
        else {"path": timing_path, "hit": plan.timing_cache_hit, "bytes": len(plan.timing_cache)},
        "key": dict(key._asdict()),
        "warnings": plan.warnings + warnings,
        "error": None,
        "findings": [],
    }


def _device_model(trt: Any, request: BuildRequest) -> Optional[str]:
    """What the plan is tied to; None when it is built ahead of time."""
    if request.device_model is not None:
        return request.device_model
    if builds_ahead_of_time(trt) and "current" not in request.compute_capabilities:
        return None
    model = device_model()
    if model is None:
        raise EngineError(
            "it has no NVIDIA GPU that says its name, and {} builds on the device that the engine is for".format(
                request.module
            ),
            "this machine",
            "build on that device, or give --device-model if this is one",
        )
    return model


def _digest(path: str) -> str:
    try:
        return sha256_of(path)
    except OSError as error:
        raise _unreadable(path, error) from error


def _content(path: str) -> bytes:
    try:
        with open_file(path) as file:
            return file.read()
    except OSError as error:
        raise _unreadable(path, error) from error


def _unreadable(path: str, error: OSError) -> RequestError:
    return RequestError("it cannot be read ({})".format(error.strerror), path, "name a file that can be read")


def _timing_path(trt: Any, request: BuildRequest, model: Optional[str]) -> Optional[str]:
    if request.timing_cache_folder is None:
        return request.timing_cache
    name = "-".join((request.module, trt.__version__, model or "ahead-of-time"))
    return os.path.join(request.timing_cache_folder, re.sub(r"[^\w.]+", "-", name) + ".cache")


def _timing_cache(path: str, warnings: List[str]) -> bytes:
    """Its content; b"", which starts a new one, when there is none yet."""
    try:
        with open_file(path) as file:
            return file.read()
    except FileNotFoundError:
        pass
    except OSError as error:
        warnings.append("the timing cache {} cannot be read ({})".format(path, error.strerror))
    return b""


def _save_timing_cache(path: str, data: bytes, warnings: List[str]) -> None:
    try:
        os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
        write_together([(path, data)])
    except (OSError, StorageError) as error:
        warnings.append("the timing cache was not saved: {}".format(error))


@contextmanager
def _stdout_kept_clean() -> Iterator[None]:
    """What a runtime prints from C goes to stderr: stdout is for the document alone."""
    sys.stdout.flush()
    stdout = os.dup(1)
    os.dup2(2, 1)
    try:
        yield
    finally:
        os.dup2(stdout, 1)
        os.close(stdout)
