"""What a workstation wants deployed: checked, and with the identity that the release of it has."""

import hashlib
import json
import re
from typing import Any, Dict, NamedTuple, Optional

from edgesynth_agent.engines.tensorrt_builder import PRECISIONS
from edgesynth_agent.errors import RequestError
from edgesynth_agent.releases.layout import checked_name

__all__ = ["ENGINE", "FILES", "EngineKey", "FileOrder", "ReleaseOrder", "parse_order", "release_id"]

FILES = {"onnx": "model.onnx", "reference": "reference.npz", "calibration": "calibration.cache"}
"""The files of a release that are uploaded: their name by what they are."""
ENGINE = "engine.plan"
"""What is built from them, where the runtime has such files."""

_DIGEST = re.compile(r"[0-9a-f]{64}")
_MOST_BYTES = 2 * 1024**3
_MOST_FACTS = 512 * 1024
_MOST_BATCH = 1024
_ID_LETTERS = 16


class FileOrder(NamedTuple):
    sha256: str
    bytes: int


class ReleaseOrder(NamedTuple):
    """`files` by FILES; `facts` is any JSON object for the manifest: inputs, outputs, source."""

    name: str
    target: str
    precision: str
    batch: int
    files: Dict[str, FileOrder]
    facts: Dict[str, Any]

    def document(self) -> Dict[str, Any]:
        files = {role: dict(file._asdict()) for role, file in self.files.items()}
        return dict(self._asdict(), files=files)


class EngineKey(NamedTuple):
    """What runs networks on this device; an engine of another key is another release."""

    backend: str
    version: str
    device_model: Optional[str]


def parse_order(document: Any) -> ReleaseOrder:
    """Raises RequestError naming the first field that is missing, unknown or not what it should be."""
    if not isinstance(document, dict) or set(document) != set(ReleaseOrder._fields):
        raise _wrong("it has not exactly the fields " + ", ".join(ReleaseOrder._fields), "the order")
    files, facts, target = document["files"], document["facts"], document["target"]
    if not isinstance(target, str) or not 1 <= len(target) <= 64 or not target.isprintable():
        raise _wrong("it is no name of a target", "target")
    if document["precision"] not in PRECISIONS:
        raise _wrong("it is none of " + ", ".join(PRECISIONS), "precision")
    batch = document["batch"]
    if isinstance(batch, bool) or not isinstance(batch, int) or not 1 <= batch <= _MOST_BATCH:
        raise _wrong("it is no whole number of 1 to {}".format(_MOST_BATCH), "batch")
    if not isinstance(files, dict) or not {"onnx", "reference"} <= set(files) <= set(FILES):
        raise _wrong("onnx and reference are wanted, and calibration perhaps", "files")
    if not isinstance(facts, dict) or len(json.dumps(facts)) > _MOST_FACTS:
        raise _wrong("it is no JSON object of {} bytes at most".format(_MOST_FACTS), "facts")
    return ReleaseOrder(
        name=checked_name(document["name"]),
        target=target,
        precision=document["precision"],
        batch=batch,
        files={role: _file(role, value) for role, value in files.items()},
        facts=facts,
    )


def release_id(order: ReleaseOrder, engine: EngineKey) -> str:
    """The same for the same files, facts, target and precision under the same runtime, and for nothing else."""
    content = {"order": order.document(), "engine": list(engine)}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:_ID_LETTERS]


def _file(role: str, value: Any) -> FileOrder:
    if not isinstance(value, dict) or set(value) != set(FileOrder._fields):
        raise _wrong("sha256 and bytes are wanted", "files." + role)
    digest, size = value["sha256"], value["bytes"]
    if not isinstance(digest, str) or not _DIGEST.fullmatch(digest):
        raise _wrong("it is no SHA-256", "files.{}.sha256".format(role))
    if isinstance(size, bool) or not isinstance(size, int) or not 0 < size <= _MOST_BYTES:
        raise _wrong("1 to {} are taken".format(_MOST_BYTES), "files.{}.bytes".format(role))
    return FileOrder(digest, size)


def _wrong(what: str, where: str) -> RequestError:
    return RequestError(what, where, "deploy with a workstation of the agent's version")
