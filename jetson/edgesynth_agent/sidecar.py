"""What may be uploaded beside a model: the reference and the calibration cache of an export, and nothing else.

A file is taken by its first bytes, so a serialized engine, or anything else that would be loaded as code, never lies
on the device. What it really is, the job finds out that uses it, in a process with limits: `engines.reference` and
`read_calibration`.
"""

import re

from edgesynth_agent.errors import RefusedError
from edgesynth_agent.files import open_file

__all__ = ["check_form", "read_calibration"]

_MOST_CALIBRATION_BYTES = 16 * 1024 * 1024
_ZIP = b"PK\x03\x04"
# As a calibrator of the class IInt8EntropyCalibrator2 reads it: a line with TensorRT's version, then for each tensor
# its name and its scale, a float32 as eight hexadecimal digits (ReadDynamicRange in github.com/microsoft/onnxruntime,
# onnxruntime/core/providers/tensorrt/tensorrt_execution_provider_utils.h; github.com/NVIDIA/TensorRT/issues/2036).
_HEADER = re.compile(rb"TRT-[0-9]{1,8}-EntropyCalibration2\r?\n")
_LINE = re.compile(rb"[^\x00-\x1f\x7f]{1,4096}: [0-9a-fA-F]{8}\r?")
_HEAD_BYTES = 100


def check_form(path: str) -> None:
    """Raises RefusedError for a file that begins neither as a reference does nor as a calibration cache."""
    with open_file(path) as file:
        head = file.read(_HEAD_BYTES)
    if not head.startswith(_ZIP) and not _HEADER.match(head):
        what = "it is neither a reference (.reference.npz) nor a calibration cache (.calibration)"
        raise RefusedError(what, "the uploaded file", "upload what `edgesynth export` put beside the model")


def read_calibration(path: str) -> bytes:
    """The content of a calibration cache, every line of which is one. Raises RefusedError."""
    with open_file(path) as file:
        data = file.read(_MOST_CALIBRATION_BYTES + 1)
    header = _HEADER.match(data)
    if header is None or len(data) > _MOST_CALIBRATION_BYTES:
        raise _no_calibration(path, "it has no first line of one" if header is None else "it is too large")
    lines = data[header.end() :].split(b"\n")
    if not lines[-1]:
        lines.pop()
    if not lines:
        raise _no_calibration(path, "it has no scales")
    for number, line in enumerate(lines, start=2):
        if not _LINE.fullmatch(line):
            raise _no_calibration(path, "line {} is no tensor with its scale".format(number))
    return data


def _no_calibration(path: str, why: str) -> RefusedError:
    return RefusedError("it is no calibration cache: " + why, path, "send the one that lies beside the model")
