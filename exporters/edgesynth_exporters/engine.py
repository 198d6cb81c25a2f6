"""ONNX -> TensorRT engine, by the agent's builder in a child process: what TensorRT crashes is not this process."""

import importlib.util
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from pydantic import ValidationError

from edgesynth_exporters.engine_record import EngineAnswer, EngineFailure, EngineRecord, Module
from edgesynth_exporters.errors import (
    EdgesynthError,
    EngineError,
    EngineRefusedError,
    MissingExtraError,
    ModelFileError,
)
from edgesynth_exporters.targets import Precision

__all__ = ["EngineRecord", "Module", "build_engine"]

_LIMIT_S = 1200.0
_SHOWN_FINDINGS = 3


def build_engine(
    onnx: Path,
    plan: Path,
    *,
    module: Module,
    precision: Precision,
    timing_cache: Path | None = None,
    calibration_cache: Path | None = None,
    limit_s: float = _LIMIT_S,
) -> EngineRecord:
    """Build `onnx` with `module` into `plan`, with the record as its manifest, `plan`.json, beside it.

    "tensorrt" builds for the GPU of this machine, "tensorrt_rtx" ahead of time for GPUs that need not be here; up to
    TensorRT 10 the precision is a choice of the builder, in TensorRT 11 and TensorRT-RTX that of the ONNX.
    `timing_cache` is by default one for each device and TensorRT in the user's cache folder.

    Raises EngineRefusedError, which names the node, when TensorRT does not take the network; ModelFileError for a file
    that is no ONNX or not of that precision; MissingExtraError when the module is not installed; EngineError when the
    build fails, crashes, or takes more than `limit_s` seconds. `plan` is then as it was before.
    """
    if importlib.util.find_spec(module) is None:
        raise MissingExtraError(f"building an engine with {module}", module.replace("_", "-"))
    timing = ("--timing-cache-folder", _timing_folder()) if timing_cache is None else ("--timing-cache", timing_cache)
    calibration = () if calibration_cache is None else ("--calibration-cache", calibration_cache)
    files = [onnx, "--out", plan, *timing, *calibration]
    command = [sys.executable, "-m", "edgesynth_agent", "build", "--module", module, "--precision", precision]
    command += [str(part.absolute()) if isinstance(part, Path) else part for part in files]
    code, said, complaints = _run([*command, "--until-eof"], limit_s, f"{module} on {onnx}")
    if code < 0:
        why = " (the system does that to what takes too much memory)" if -code == signal.SIGKILL else ""
        again = f"to see it again: {shlex.join(command)}"
        raise EngineError(f"{module} was killed by {_signal_name(-code)} while it built {onnx}{why}; {again}")
    try:
        answer = EngineAnswer.validate_json(said)
    except ValidationError:
        last = (complaints.strip().splitlines() or ["it said nothing"])[-1]
        raise EngineError(f"{onnx}: the builder ended with exit code {code} and no answer: {last}") from None
    if isinstance(answer, EngineFailure):
        raise _error(onnx, answer, code)
    return answer


def _error(onnx: Path, failure: EngineFailure, code: int) -> EdgesynthError:
    error = failure.error
    if code != 1:
        kind = ModelFileError if code == 2 else EngineError
        return kind(f"{error.where}: {error.what}; {error.next}")
    findings = [(finding.node, finding.operator, finding.reason) for finding in failure.findings]
    shown = [
        reason if node is None and operator is None else f"node '{node or ''}' ({operator}): {reason}"
        for node, operator, reason in findings[:_SHOWN_FINDINGS]
    ]
    if len(findings) > len(shown):
        shown.append(f"and {len(findings) - len(shown)} more")
    said = "; ".join(shown) or error.what
    return EngineRefusedError(f"{failure.module} does not take {onnx}: {said}; {error.next}", findings)


def _timing_folder() -> Path:
    """$XDG_CACHE_HOME/edgesynth/timing or ~/.cache/edgesynth/timing; a relative $XDG_CACHE_HOME is ignored, as the XDG
    base directory specification demands."""
    base = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return (base if base.is_absolute() else Path.home() / ".cache") / "edgesynth" / "timing"


def _run(command: Sequence[str], limit_s: float, what: str) -> tuple[int, bytes, str]:
    """Exit code (negative: killed by that signal), stdout and stderr. The child ends with this process."""
    with _child(command) as process:
        try:
            stdout, stderr = process.communicate(timeout=limit_s)
        except subprocess.TimeoutExpired:
            raise EngineError(
                f"{what}: no engine after {limit_s:g} s; allow more time, or shrink the network"
            ) from None
    return process.returncode, stdout, stderr.decode(errors="replace")


@contextmanager
def _child(command: Sequence[str]) -> Iterator[subprocess.Popen[bytes]]:
    """A process in a group of its own, which is gone when the block ends, however it ends."""
    # Its stdin closes when this process dies, and with --until-eof it ends by that.
    reading, writing = os.pipe()
    try:
        process = subprocess.Popen(
            command,
            stdin=reading,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            # -m puts the working folder before everything on the import path: it must not be anyone's download.
            cwd="/",
            env=_environment(),
            start_new_session=True,
        )
    finally:
        os.close(reading)
    try:
        yield process
    finally:
        if process.returncode is None:  # not reaped yet, so the number of its group is still its own
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
        os.close(writing)


def _environment() -> dict[str, str]:
    """With the agent importable in the child. It is found, not imported: the two sides share no code."""
    spec = importlib.util.find_spec("edgesynth_agent")
    if spec is None or spec.origin is None:
        raise EngineError("the package edgesynth_agent is not installed; install edgesynth again")
    root = str(Path(spec.origin).parent.parent)
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))}


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
