"""The command line: `edgesynth-agent serve`, and `worker`, which the agent starts itself."""

import argparse
import logging
import os
import signal
import sys
import threading
from typing import List, Optional

from edgesynth_agent import __version__
from edgesynth_agent.errors import AgentError, RequestError

__all__ = ["main"]

# How often the server looks whether it is to stop: each look takes some microseconds from what is being measured.
_STOP_POLL_S = 0.1


def main(argv: Optional[List[str]] = None) -> int:
    """Run a command; its exit code: 0 done, 2 bad usage, 3 the agent failed."""
    arguments = _parser().parse_args(argv)
    if arguments.command == "worker":
        from edgesynth_agent.worker import run_worker

        return run_worker()
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s", stream=sys.stderr)
    try:
        return _serve(arguments)
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
    serve = commands.add_parser("serve", help="answer on a Unix socket until SIGTERM")
    serve.add_argument("--socket", required=True, metavar="PATH", help="the socket; only its owner may connect")
    serve.add_argument("--store", required=True, metavar="DIR", help="folder for models, made if need be")
    serve.add_argument(
        "--job-memory-mib", type=int, metavar="N", help="address space that a job may use (default: no limit)"
    )
    serve.add_argument(
        "--until-eof", action="store_true", help="stop when stdin closes, so as to end with the program that started it"
    )
    commands.add_parser("worker", help="carry out one order on stdin (the agent starts this itself)")
    return parser


def _serve(arguments: argparse.Namespace) -> int:
    from edgesynth_agent.device import Device
    from edgesynth_agent.jobs import JobRunner
    from edgesynth_agent.server import AgentServer
    from edgesynth_agent.store import ModelStore

    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    store = ModelStore(arguments.store)
    device = Device()
    server = AgentServer(arguments.socket, store, device, JobRunner(store, device, arguments.job_memory_mib))
    threading.Thread(target=server.serve_forever, args=(_STOP_POLL_S,), daemon=True).start()
    if arguments.until_eof:
        threading.Thread(target=_set_at_eof, args=(stop,), daemon=True).start()
    logging.getLogger("edgesynth_agent").info("edgesynth-agent %s listens on %s", __version__, arguments.socket)
    stop.wait()
    server.stop()
    return 0


def _set_at_eof(stop: threading.Event) -> None:
    # os.read, because a thread that waits inside sys.stdin's lock can hang the interpreter's exit.
    while os.read(0, 4096):
        pass
    stop.set()
