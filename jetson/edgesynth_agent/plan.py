"""Plans on the disk: a plan, and beside it the manifest that says what it was built for.

Loading a plan is running code, and TensorRT finds out late or never that one is of another device. So it is read
through `check_plan` alone, which refuses a wrong one before TensorRT sees a byte of it. That keeps mistakes away, and
files that were exchanged or cut; who may write into the folder can write a plan and a manifest that fit. So plans lie
in a folder that the agent alone may write to.
"""

import hashlib
import json
import os
from typing import Any, Dict, List, NamedTuple, Optional, Sequence

from edgesynth_agent.errors import RefusedError
from edgesynth_agent.files import open_file, write_together

__all__ = ["SCHEMA", "PlanKey", "check_plan", "manifest_path", "plain", "write_plan"]

SCHEMA = "edgesynth.engine/1"

_MAX_MANIFEST_BYTES = 1024 * 1024
_MAX_TEXT = 200

_WORDS = {
    "device_model": "device model",
    "module": "module",
    "module_version": "version of the module",
    "precision": "precision",
    "flags": "builder flags",
    "compute_capabilities": "compute capabilities",
    "onnx_sha256": "SHA-256 of the ONNX",
    "calibration_sha256": "SHA-256 of the calibration cache",
}


class PlanKey(NamedTuple):
    """What two plans must have in common to be the same plan.

    `device_model` is None for a plan built ahead of time; it then runs on `compute_capabilities`, by default on those
    that the module chooses.
    """

    device_model: Optional[str]
    module: str
    module_version: str
    precision: str
    flags: List[str]
    compute_capabilities: List[str]
    onnx_sha256: str
    calibration_sha256: Optional[str]


def manifest_path(plan: str) -> str:
    """Where the manifest of a plan lies."""
    return plan + ".json"


def write_plan(path: str, data: memoryview, document: Dict[str, Any]) -> None:
    """Write a plan and its manifest, both or neither. Raises StorageError.

    Between the two names a reader finds an old plan with a new manifest, whose digests differ: `check_plan` refuses.
    """
    manifest = json.dumps(document, indent=2, allow_nan=False).encode() + b"\n"
    write_together([(manifest_path(path), manifest), (path, data)])


def check_plan(
    path: str,
    device_model: Optional[str],
    module: str,
    version: str,
    precision: str,
    flags: Optional[Sequence[str]] = None,
    onnx_sha256: Optional[str] = None,
    calibration_sha256: Optional[str] = None,
    compute_capabilities: Sequence[str] = (),
) -> bytes:
    """The bytes of a plan that its manifest says was built for exactly this; they, and not the file, are what is to be
    loaded.

    `flags` and `onnx_sha256` are compared unless None. `device_model` None asks for a plan built ahead of time,
    `calibration_sha256` None for one without a calibration cache, `compute_capabilities` () for those by default.
    That plan and manifest came from here is not proven: the permissions of their folder must see to that.
    Raises RefusedError that says what differs, also when the manifest is missing or malformed, or not of this plan.
    """
    document = _read_manifest(path)
    key = document["key"]
    wanted = {
        "device_model": device_model,
        "module": module,
        "module_version": version,
        "precision": precision,
        "compute_capabilities": list(compute_capabilities),
        "calibration_sha256": calibration_sha256,
    }  # type: Dict[str, Any]
    if flags is not None:
        wanted["flags"] = sorted(flags)
    if onnx_sha256 is not None:
        wanted["onnx_sha256"] = onnx_sha256
    differing = [
        "its {} is {} and {} is wanted".format(_WORDS[name], _shown(key[name]), _shown(value))
        for name, value in wanted.items()
        if key[name] != value
    ]
    if differing:
        raise _refused(path, ", ".join(differing))
    try:
        with open_file(path) as file:
            data = file.read()
    except OSError as error:
        raise _refused(path, "it cannot be read ({})".format(error.strerror)) from error
    if hashlib.sha256(data).hexdigest() != document["plan"]["sha256"]:
        raise _refused(path, "it is not the plan that its manifest describes: the SHA-256 differs")
    return data


def _read_manifest(path: str) -> Dict[str, Any]:
    try:
        with open_file(manifest_path(path)) as file:
            text = file.read(_MAX_MANIFEST_BYTES + 1)
    except OSError as error:
        raise _refused(path, "its manifest cannot be read ({})".format(error.strerror)) from error
    try:
        document = json.loads(text[:_MAX_MANIFEST_BYTES].decode())
    except (ValueError, RecursionError):
        document = None
    if not _is_manifest(document):
        raise _refused(path, "its manifest is malformed")
    return document  # type: ignore[no-any-return]  # checked


def _is_manifest(document: Any) -> bool:
    """Whether it is of a plan that was built, has the whole key, and says the same of it in both places."""
    if not (isinstance(document, dict) and document.get("schema") == SCHEMA and document.get("built") is True):
        return False
    key, plan, onnx = (document.get(part) for part in ("key", "plan", "onnx"))
    if not (isinstance(key, dict) and isinstance(plan, dict) and isinstance(onnx, dict)):
        return False
    pairs = [("module", "module"), ("version", "module_version"), ("precision", "precision"), ("flags", "flags")]
    return (
        set(key) == set(PlanKey._fields)
        and isinstance(plan.get("sha256"), str)
        and all(document.get(above) == key[name] for above, name in pairs)
        and onnx.get("sha256") == key["onnx_sha256"]
    )


def plain(text: str, limit: int = _MAX_TEXT) -> str:
    """Text from outside as one printable line of that length at most: it may hold what steers a terminal."""
    shown = "".join(letter if letter.isprintable() else "?" for letter in text[: limit + 1])
    return shown if len(shown) <= limit else shown[:limit] + "..."


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return plain("+".join(str(one) for one in value)) or "none"
    return "none" if value is None else "'{}'".format(plain(str(value)))


def _refused(path: str, why: str) -> RefusedError:
    return RefusedError(
        "it is not loaded: " + why,
        "plan " + os.path.abspath(path),
        "build it again on this device: edgesynth-agent build MODEL.onnx --out {}".format(path),
    )
