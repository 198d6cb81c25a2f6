"""Every error that edgesynth raises on purpose.

    EdgesynthError                exit code 2: bad usage or bad input, unless said otherwise
    ├── RequirementError          a requirement that does not parse, or that contradicts another
    ├── DataError                 a data set that is unknown, missing, damaged or too small
    ├── PrototypeError            a network that cannot be loaded, traced or pruned
    ├── RunError                  a run directory that is missing, foreign, busy or of another version
    ├── ModelFileError            a model file that is missing, no ONNX, or unusable for what was asked
    ├── ExportError               (3) a network could not be written as ONNX
    │   ├── ParityError           (3) the exported file computes something else than PyTorch
    │   └── EngineError           (3) TensorRT built no engine, crashed, or ran out of time
    │       └── EngineRefusedError  (1) TensorRT does not take the network
    ├── IncompatibleError         (1) a target cannot take what was asked for
    ├── ToolError                 (3) something outside edgesynth failed
    │   ├── StorageError          (3) the disk is full or cannot be written
    │   └── DeviceError           (3) a device or its agent failed or is out of reach
    │       ├── ConnectionLostError  (3) the connection to an agent broke, or no answer came
    │       ├── BusyDeviceError      (3) somebody else has the device
    │       └── RefusedByDeviceError (3) a device did not take what it was given
    ├── DeployFailedError         (that of its cause) a deploy failed (edgesynth.deploy.request)
    └── MissingExtraError         an optional package is not installed; ends in the command that installs it

Programming mistakes stay what they are (TypeError, ValueError …) and are never caught as one of these.
"""

from edgesynth_exporters.errors import (
    EdgesynthError,
    EngineError,
    EngineRefusedError,
    ExportError,
    IncompatibleError,
    MissingExtraError,
    ModelFileError,
    ParityError,
)

__all__ = [
    "BusyDeviceError",
    "ConnectionLostError",
    "DataError",
    "DeviceError",
    "EdgesynthError",
    "EngineError",
    "EngineRefusedError",
    "ExportError",
    "IncompatibleError",
    "MissingExtraError",
    "ModelFileError",
    "ParityError",
    "PrototypeError",
    "RefusedByDeviceError",
    "RequirementError",
    "RunError",
    "StorageError",
    "ToolError",
]


class RequirementError(EdgesynthError):
    """A requirement that does not parse, cannot be met by any network, or contradicts another."""


class DataError(EdgesynthError):
    """A data set that is unknown, missing, damaged or too small."""


class PrototypeError(EdgesynthError):
    """A prototype that cannot be loaded, traced or pruned."""


class RunError(EdgesynthError):
    """A run directory that is missing, belongs to another question, is in use, or is of another version."""


class ToolError(EdgesynthError):
    """Something outside edgesynth failed: a disk, a device, another program."""

    exit_code = 3


class StorageError(ToolError):
    """The disk is full or cannot be written. What was recorded before stays intact."""


class DeviceError(ToolError):
    """A device or its agent failed, refused, or is out of reach."""


class BusyDeviceError(DeviceError):
    """Somebody else deploys there. `silent_s`: how long ago they were last heard of, None where that is not known."""

    def __init__(self, message: str, silent_s: float | None) -> None:
        super().__init__(message)
        self.silent_s = silent_s


class RefusedByDeviceError(DeviceError):
    """A device did not take what it was given: an upload that is not what it should be."""


class ConnectionLostError(DeviceError):
    """The connection to an agent broke, or no answer came: to ask again may help."""
