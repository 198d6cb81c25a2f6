"""The command line: `edgesynth-agent serve`, `health`, `build`, `recompute` …, and `worker`, which it starts itself."""

import argparse
import json
import logging
import os
import sys
import threading
from typing import Any, List, NoReturn, Optional

from edgesynth_agent import __version__
from edgesynth_agent.engines.tensorrt_api import MODULES
from edgesynth_agent.engines.tensorrt_builder import PRECISIONS
from edgesynth_agent.errors import AgentError, RequestError
from edgesynth_agent.machine import RUNTIME

__all__ = ["main"]

_MAX_WORKSPACE_MIB = 1024 * 1024
# The OpenBLAS in numpy does not come up with less than about 50: it waits for memory for ever.
_LEAST_JOB_MIB = 128


def main(argv: Optional[List[str]] = None) -> int:
    """Run a command; its exit code: 0 done, 1 the answer is no, 2 bad usage or input, 3 agent or TensorRT failed."""
    arguments = _parser().parse_args(argv)
    if arguments.command == "worker":
        from edgesynth_agent.worker import run_worker

        return run_worker()
    if arguments.command == "tegrastats":
        from edgesynth_agent.tegrastats.command import run_tegrastats

        return run_tegrastats(arguments.file)
    if arguments.command == "recompute":
        return _recompute(arguments.trace)
    if arguments.command == "health":
        from edgesynth_agent.health import run_health

        return run_health(arguments.socket, arguments.timeout)
    if arguments.command == "deploy-session":
        from edgesynth_agent.releases.session import run_session

        return run_session(arguments)
    if arguments.command == "build":
        _build(arguments)
    from edgesynth_agent.serve import run_serve

    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s", stream=sys.stderr)
    try:
        return run_serve(arguments)
    except AgentError as error:
        print("edgesynth-agent: {}".format(error), file=sys.stderr)
        return 2 if isinstance(error, RequestError) else 3


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="edgesynth-agent", description="Measures neural networks on the device that it runs on."
    )
    parser.add_argument("--version", action="version", version="edgesynth-agent " + __version__)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    commands.required = True
    _add_serve(commands.add_parser("serve", help="answer on a Unix socket until SIGTERM"))
    health = commands.add_parser("health", help="does the agent behind a socket answer? exit code 0 yes, 1 no")
    health.add_argument("--socket", required=True, metavar="PATH")
    health.add_argument("--timeout", type=_seconds, default=5.0, metavar="SECONDS", help="default: %(default)s")
    _add_build(commands.add_parser("build", help="an ONNX file -> a TensorRT engine of this device, and what it is"))
    tegrastats = commands.add_parser(
        "tegrastats",
        help="lines of tegrastats -> one JSON object a line",
        description="t is in seconds: for stdin the monotonic clock at reading, for FILE what the line says, or null.",
    )
    tegrastats.add_argument("file", nargs="?", metavar="FILE", help="a log of them (default: stdin, while it prints)")
    recompute = commands.add_parser("recompute", help="the trace of a job -> its measurement, computed again")
    recompute.add_argument("trace", metavar="TRACE", help="as GET /v1/jobs/ID/trace gave it")
    _add_session(commands)
    commands.add_parser("worker", help="carry out one order on stdin (the agent starts this itself)")
    return parser


def _add_serve(serve: argparse.ArgumentParser) -> None:
    serve.add_argument("--socket", required=True, metavar="PATH", help="the socket")
    serve.add_argument(
        "--socket-mode",
        choices=("600", "660"),
        default="600",
        help="who may connect: the agent's user, or its group as well (default: %(default)s)",
    )
    serve.add_argument("--store", required=True, metavar="DIR", help="folder for uploads and jobs, made if need be")
    serve.add_argument("--plans", metavar="DIR", help="folder for engines that were built (default: STORE/plans)")
    serve.add_argument(
        "--root",
        default=os.environ.get("EDGESYNTH_ROOT") or "/",
        metavar="DIR",
        help="where /etc, /proc, /sys and /usr are looked for; any but / makes all figures simulated"
        " (default: $EDGESYNTH_ROOT, else /)",
    )
    serve.add_argument(
        "--runtime",
        default=os.environ.get("EDGESYNTH_RUNTIME") or RUNTIME,
        metavar="DIR",
        help="folder that the agents of this machine lock so that one measures at a time (default: $EDGESYNTH_RUNTIME,"
        " else " + RUNTIME + ")",
    )
    serve.add_argument(
        "--job-memory-mib",
        type=_job_mib,
        metavar="N",
        help="memory that a process of a job may have (default: 3/4 of this machine's)",
    )
    for option, default, about in (
        ("--model-mib", 2048, "size of the largest model that is taken (default: %(default)s)"),
        ("--file-mib", 512, "size of the largest reference or calibration cache (default: %(default)s)"),
        ("--store-mib", 4096, "size of all uploads together; the longest unused go first (default: %(default)s)"),
        ("--plans-mib", 2048, "size of all built engines together, beside the uploads (default: %(default)s)"),
        ("--trace-mib", 1024, "size of all traces together; the oldest go first (default: %(default)s)"),
        ("--keep-jobs", 1000, "how many jobs to remember (default: %(default)s)"),
    ):
        serve.add_argument(option, type=_count, default=default, metavar="N", help=about)
    serve.add_argument(
        "--until-eof", action="store_true", help="stop when stdin closes, so as to end with the program that started it"
    )


def _add_build(build: argparse.ArgumentParser) -> None:
    build.description = "Builds a TensorRT engine, and prints one JSON document: the engine, or why there is none."
    build.add_argument("onnx", metavar="MODEL.onnx")
    build.add_argument(
        "--out", required=True, metavar="PLAN", help="the engine; PLAN.json beside it says what it is of"
    )
    build.add_argument("--module", choices=MODULES, default="tensorrt", help="default: %(default)s")
    build.add_argument("--precision", choices=PRECISIONS, default="fp32", help="default: %(default)s")
    build.add_argument(
        "--batch", type=_count, metavar="N", help="for an open first dimension (default: one is refused)"
    )
    build.add_argument(
        "--workspace-mib",
        type=_workspace_mib,
        default=1024,
        metavar="N",
        help="scratch memory that a layer may use, in MiB (default: %(default)s)",
    )
    timing = build.add_mutually_exclusive_group()
    timing.add_argument("--timing-cache", metavar="FILE", help="read if it is there, written after the build")
    timing.add_argument("--timing-cache-folder", metavar="DIR", help="one such file for each device and TensorRT")
    build.add_argument("--calibration-cache", metavar="FILE", help="scales for int8, where the ONNX has none")
    build.add_argument(
        "--compute-capability",
        action="append",
        default=[],
        metavar="X.Y",
        help="of the GPUs to build for, or 'current' (tensorrt_rtx only; may be repeated; default: all that it can)",
    )
    build.add_argument("--device-model", type=_text, metavar="TEXT", help="default: what this device calls itself")
    build.add_argument(
        "--until-eof", action="store_true", help="stop when stdin closes, so as to end with the program that started it"
    )


def _add_session(commands: Any) -> None:
    session = commands.add_parser("deploy-session", help="one deploy, told what to do (edgesynth deploy starts this)")
    session.add_argument("--user", action="store_true", help="without root: in the home of this user")
    session.add_argument("--look", action="store_true", help="change nothing, and wait for nobody")
    session.add_argument("--sent", action="store_true", help="this file was sent for the session: it goes with it")
    session.add_argument("--holder", default="somebody", metavar="TEXT", help="who deploys, for those who find it busy")
    session.add_argument("--root", default="/", metavar="DIR", help="where the system's folders are (default: /)")
    session.add_argument(
        "--silence", type=_seconds, default=20.0, metavar="SECONDS", help="how long to wait for a sign of life"
    )


def _recompute(path: str) -> int:
    from edgesynth_agent.run_trace import recompute

    try:
        document = recompute(path)
    except AgentError as error:
        print("edgesynth-agent: {}".format(error), file=sys.stderr)
        return 2
    try:
        print(json.dumps(document, indent=2, allow_nan=False), flush=True)
    except BrokenPipeError:
        # Whoever read this has seen enough. The interpreter must not fail at flushing what is left.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def _count(text: str) -> int:
    count = int(text)
    if count < 1:
        raise argparse.ArgumentTypeError("it is less than 1")
    return count


def _job_mib(text: str) -> int:
    size = int(text)
    if size < _LEAST_JOB_MIB:
        raise argparse.ArgumentTypeError("it is less than {}, which runtimes need to start".format(_LEAST_JOB_MIB))
    return size


def _workspace_mib(text: str) -> int:
    size = int(text)
    if not 1 <= size <= _MAX_WORKSPACE_MIB:
        raise argparse.ArgumentTypeError("it is between 1 and {}".format(_MAX_WORKSPACE_MIB))
    return size


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 < seconds <= 3600:
        raise argparse.ArgumentTypeError("it is above 0 and at most 3600")
    return seconds


def _text(text: str) -> str:
    if not text.strip():
        raise argparse.ArgumentTypeError("it is empty")
    return text.strip()


def _build(arguments: argparse.Namespace) -> NoReturn:
    from edgesynth_agent.build import BuildRequest, run_build

    if arguments.until_eof:
        threading.Thread(target=_exit_at_eof, daemon=True).start()
    document, code = run_build(
        BuildRequest(
            onnx=arguments.onnx,
            out=arguments.out,
            module=arguments.module,
            precision=arguments.precision,
            workspace_mib=arguments.workspace_mib,
            timing_cache=arguments.timing_cache,
            timing_cache_folder=arguments.timing_cache_folder,
            calibration_cache=arguments.calibration_cache,
            compute_capabilities=tuple(arguments.compute_capability),
            device_model=arguments.device_model,
            batch=arguments.batch,
        )
    )
    if document["error"] is not None:
        print("edgesynth-agent: {where}: {what}; {next}".format(**document["error"]), file=sys.stderr)
    for finding in document["findings"]:
        print("  node '{node}' ({operator}): {reason}".format(**finding), file=sys.stderr)
    print(json.dumps(document, indent=2, allow_nan=False))
    sys.stdout.flush()
    sys.stderr.flush()
    # Runtimes have crashed while being taken down; all is written, so there is nothing left to take down for.
    os._exit(code)


def _exit_at_eof() -> None:
    while os.read(0, 4096):
        pass
    os._exit(3)
