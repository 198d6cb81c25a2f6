"""Bringing a file onto a device: what is there already is not sent again, and a line that broke costs what was lost."""

import hashlib
import time
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO, Literal

from edgesynth.devices.deadline import Deadline
from edgesynth.devices.http import AgentHttp
from edgesynth.errors import ConnectionLostError, ModelFileError

__all__ = ["upload"]

PATIENCE_S = 120.0
"""How long to go on without a byte more having come across. An agent waits some 30 s for the rest of a broken upload,
and takes no other of that file meanwhile."""
PAUSE_S = 0.5


def upload(
    http: AgentHttp, kind: Literal["models", "files"], path: Path, headers: Mapping[str, str] | None = None
) -> str:
    """The SHA-256 of the file, which is on the device then; `headers` go with what is sent.

    Raises ModelFileError if it is unreadable, DeviceError.
    """
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            _send(http, f"/v1/{kind}/{digest}", file, file.seek(0, 2), headers or {})
    except OSError as error:
        raise ModelFileError(f"{path}: {error.strerror or error}; give a file that can be read") from error
    return digest


def _send(http: AgentHttp, place: str, file: BinaryIO, length: int, headers: Mapping[str, str]) -> None:
    farthest, deadline = 0, Deadline(PATIENCE_S)
    while True:
        try:
            here = _offset(http, place)
            if here is None:
                return
            if here > farthest:
                farthest, deadline = here, Deadline(PATIENCE_S)
            # All of it without the agent's having looked at it: it was stopped then, and looks at what begins anew.
            first = here if here < length else 0
            file.seek(first)
            # Without a range, the agent would keep nothing of it if the line broke.
            part = {"Content-Range": f"bytes {first}-{length - 1}/{length}"} if length else {}
            answer = http.exchange("PUT", place, file, length - first, {**headers, **part})
        except ConnectionLostError:
            if deadline.expired:
                raise
        else:
            if answer.status == 201:
                return
            if answer.status != 409 or deadline.expired:
                raise http.refusal(answer)
        time.sleep(PAUSE_S)


def _offset(http: AgentHttp, place: str) -> int | None:
    """How many bytes are there; None when it is there whole. Raises DeviceError."""
    answer = http.exchange("GET", place)
    if answer.status == 200:
        return None
    if answer.status != 404:
        raise http.refusal(answer)
    text = answer.headers.get("upload-offset", "0")
    return int(text) if text.isdecimal() else 0
