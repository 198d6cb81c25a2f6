"""Every error that the agent raises on purpose.

    AgentError                 500: something in the agent failed
    ├── RequestError           400: a request that does not parse, or has a field out of bounds
    ├── LeaseError             403: a job without the lease of the device, or with one that has ended
    ├── NotFoundError          404: no such route, model, job or lease
    ├── BusyError              409: a job or an upload is under way, or another holds the lease, the socket, the store
    ├── TooLargeError          413: a body above its bound
    ├── RefusedError           422: understood but not acceptable: wrong digest, no ONNX, external data, other target
    ├── StorageError           507: the disk is full or cannot be written
    ├── EngineError            a runtime is missing, refused the model, or failed while running it
    │   └── BuildError         TensorRT could not build an engine
    │       └── UnsupportedError  it does not take this network, or the GPU not this precision: the answer is no
    └── WorkerError            the child process of a job died or ran out of time

The number is the HTTP status of the reply. Engine and worker errors end a job, so they travel in the job's document.
Programming mistakes stay what they are; the server answers 500 for them and logs the traceback.
"""

from typing import Dict, List, Optional

__all__ = [
    "AgentError",
    "BuildError",
    "BusyError",
    "EngineError",
    "LeaseError",
    "NotFoundError",
    "RefusedError",
    "RequestError",
    "StorageError",
    "TooLargeError",
    "UnsupportedError",
    "WorkerError",
    "internal_error",
]


class AgentError(Exception):
    """What was wrong, where, and what to do next, each a phrase without a full stop."""

    status = 500

    def __init__(self, what: str, where: str, next_step: str, status: Optional[int] = None) -> None:
        super().__init__("{}: {}; {}".format(where, what, next_step))
        self.what = what
        self.where = where
        self.next_step = next_step
        if status is not None:
            self.status = status

    def document(self) -> Dict[str, str]:
        """The error as the API shows it."""
        return {"what": self.what, "where": self.where, "next": self.next_step}


class RequestError(AgentError):
    status = 400


class LeaseError(AgentError):
    status = 403


class NotFoundError(AgentError):
    status = 404


class BusyError(AgentError):
    status = 409


class TooLargeError(AgentError):
    status = 413


class RefusedError(AgentError):
    status = 422


class StorageError(AgentError):
    status = 507


class EngineError(AgentError):
    pass


class BuildError(EngineError):
    """`findings` are JSON objects {node, operator, reason}; node and operator are None where TensorRT names none."""

    def __init__(
        self, what: str, where: str, next_step: str, findings: Optional[List[Dict[str, Optional[str]]]] = None
    ) -> None:
        super().__init__(what, where, next_step)
        self.findings = findings or []


class UnsupportedError(BuildError):
    pass


class WorkerError(AgentError):
    pass


def internal_error(failure: Exception, where: str) -> AgentError:
    """What to tell of a programming mistake; the traceback belongs in the log."""
    what = "{}: {}".format(type(failure).__name__, failure)
    return AgentError(what, where, "this is a fault of the agent: please report it with the agent's log")
