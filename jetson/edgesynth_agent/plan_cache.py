"""Plans that are kept beside the models: the one that is there for exactly this, else a new one.

A plan is looked at through `check_plan` alone, and nothing but this device writes into the folder.
"""

import hashlib
import json
import os
import subprocess
import sys
from typing import Any, Callable, Dict, NamedTuple, Optional

from edgesynth_agent.build import BuildRequest
from edgesynth_agent.errors import EngineError, RefusedError, StorageError
from edgesynth_agent.files import sha256_of
from edgesynth_agent.plan import check_plan, manifest_path
from edgesynth_agent.plan_folder import PlanFolder

__all__ = ["PlanWanted", "ReadyPlan", "build_in_child", "plan_for"]

# Scratch memory that a layer may use: a GPU of a Jetson shares its memory with everything else.
_WORKSPACE_MIB = 1024

Build = Callable[[BuildRequest], Dict[str, Any]]


class PlanWanted(NamedTuple):
    """What the plan is to be of; `device_model` as `gpu.device_model` gives it."""

    onnx: str
    module: str
    module_version: str
    device_model: Optional[str]
    precision: str
    batch: int
    calibration_cache: Optional[str] = None


class ReadyPlan(NamedTuple):
    """The checked bytes of a plan, its manifest, and whether it was there before."""

    data: bytes
    manifest: Dict[str, Any]
    hit: bool


def plan_for(
    wanted: PlanWanted, folder: PlanFolder, build: Optional[Build] = None, on_build: Callable[[], None] = lambda: None
) -> ReadyPlan:
    """The plan in `folder`, built if need be, after a call of `on_build`; then the folder is trimmed.

    Raises EngineError when it cannot be built, RefusedError when what was built is for something else, StorageError
    when the folder cannot be written.
    """
    try:
        onnx_sha256 = sha256_of(wanted.onnx)
        calibration = None if wanted.calibration_cache is None else sha256_of(wanted.calibration_cache)
        os.makedirs(folder.root, mode=0o700, exist_ok=True)
    except OSError as error:
        raise StorageError(
            error.strerror or str(error), str(error.filename), "free space, or upload it again"
        ) from error
    key = dict(wanted._asdict(), onnx=onnx_sha256, calibration_cache=calibration, workspace_mib=_WORKSPACE_MIB)
    name = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:32]
    path = folder.path(name)
    hit = True
    try:
        data = _checked(wanted, path, onnx_sha256, calibration)
    except RefusedError:  # not there, cut off, or of a module that was replaced under its name
        hit = False
        on_build()
        (build or build_in_child)(
            BuildRequest(
                onnx=wanted.onnx,
                out=path,
                module=wanted.module,
                precision=wanted.precision,
                workspace_mib=_WORKSPACE_MIB,
                timing_cache_folder=folder.root,
                calibration_cache=wanted.calibration_cache,
                device_model=wanted.device_model,
                batch=wanted.batch,
            )
        )
        data = _checked(wanted, path, onnx_sha256, calibration)
    with open(manifest_path(path), encoding="utf-8") as file:
        manifest = json.load(file)
    folder.trim(path)
    return ReadyPlan(data, manifest, hit)


def build_in_child(request: BuildRequest) -> Dict[str, Any]:
    """`edgesynth-agent build` in a process of its own, which gives its memory back; the document that it prints.

    It ends when this process does. Raises EngineError with what it said, or how it died.
    """
    arguments = ["--out", request.out, "--module", request.module, "--precision", request.precision]
    arguments += ["--workspace-mib", str(request.workspace_mib)]
    for option, value in (
        ("--batch", request.batch),
        ("--timing-cache", request.timing_cache),
        ("--timing-cache-folder", request.timing_cache_folder),
        ("--calibration-cache", request.calibration_cache),
        ("--device-model", request.device_model),
    ):
        arguments += [] if value is None else [option, str(value)]
    for capability in request.compute_capabilities:
        arguments += ["--compute-capability", capability]
    process = subprocess.Popen(
        [sys.executable, "-m", "edgesynth_agent", "build", request.onnx] + arguments + ["--until-eof"],
        stdin=subprocess.PIPE,  # open as long as this process lives
        stdout=subprocess.PIPE,
    )
    with process:
        assert process.stdout is not None
        said = process.stdout.read()
        code = process.wait()
    try:
        document = json.loads(said.decode())
        error = document["error"]
    except (KeyError, TypeError, ValueError):
        how = "died of signal {}".format(-code) if code < 0 else "ended with exit code {}".format(code)
        raise EngineError(
            "the process that builds the engine " + how, request.onnx, "see the agent's log; free memory and try again"
        ) from None
    if error is not None:
        raise EngineError(error["what"], error["where"], error["next"])
    return document  # type: ignore[no-any-return]  # as `run_build` makes it


def _checked(wanted: PlanWanted, path: str, onnx_sha256: str, calibration_sha256: Optional[str]) -> bytes:
    return check_plan(
        path,
        device_model=wanted.device_model,
        module=wanted.module,
        version=wanted.module_version,
        precision=wanted.precision,
        onnx_sha256=onnx_sha256,
        calibration_sha256=calibration_sha256,
    )
