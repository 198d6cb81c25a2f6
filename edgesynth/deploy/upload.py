"""The files of a package onto the device: only what is not there, compared by the device itself."""

import shlex
from typing import Any

from edgesynth.deploy.board import BoardSession
from edgesynth.deploy.package import Package
from edgesynth.devices.transport import Transport, error_of_exit
from edgesynth.errors import RefusedByDeviceError, StorageError

__all__ = ["upload"]

FULL = ("No space left on device", "Disk quota exceeded")


def upload(session: BoardSession, transport: Transport, package: Package, name: str) -> tuple[dict[str, Any], int]:
    """What the device staged (`Steps.stage` of the agent), and how many bytes were sent.

    A file that an earlier deploy left half sent is gone on with, once: where the whole is not right then, it is sent
    anew. Raises RefusedByDeviceError for files that arrive as something else, StorageError where the disk is full.
    """
    order, sent = package.order(name), 0
    for last in (False, True):
        staged = session.ask("stage", order=order)
        if staged["state"] != "partial":
            return staged, sent
        resumed = False
        for role, file in staged["files"].items():
            left = order["files"][role]["bytes"] - file["have"]
            resumed = resumed or file["have"] > 0
            if left:
                _send(transport, package, role, f"{staged['folder']}/{file['name']}", file["have"])
                sent += left
        try:
            session.ask("verify")
        except RefusedByDeviceError:
            if last or not resumed:
                raise
            continue
        break
    return staged, sent


def _send(transport: Transport, package: Package, role: str, place: str, have: int) -> None:
    with package.files[role].open("rb") as file:
        file.seek(have)
        # What it says is looked at: the user's configuration may send the language along.
        answer = transport.send(file, f"export LC_ALL=C; cat {'>>' if have else '>'}{shlex.quote(place)}")
    if answer.code == 0:
        return
    if any(words in answer.err for words in FULL):
        raise StorageError(f"{transport.host}: its disk is full; free some space there, and deploy again")
    raise error_of_exit(transport.host, f"{role} could not be sent", answer)
