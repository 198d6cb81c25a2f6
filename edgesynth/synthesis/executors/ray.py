"""A Ray cluster (https://docs.ray.io), an extra: pip install 'edgesynth[ray]'."""

import importlib.util
import logging
import os
import pickle
import signal
import socket
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Self

import torch

import edgesynth
from edgesynth.errors import MissingExtraError, ToolError
from edgesynth.synthesis.compute import device, precision
from edgesynth.synthesis.executors.base import RETRIES, Executor, Failure, Item, Outcome, attempt, named

__all__ = ["RayExecutor"]

PATIENCE_S = 5.0
SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",  # nothing leaves the user's machines
    "RAY_task_oom_retries": str(RETRIES),  # otherwise without end
    # Its messages about nodes that died go to stdout, whatever one tells it; results are to be read there.
    "RAY_DEDUP_LOGS_SKIP_REGEX": ".",
}


class RayExecutor(Executor):
    """The nodes of a Ray cluster: `address` is HOST:PORT, "auto" for the cluster that this machine belongs to, or
    "local" for one that lives in the `with` block. A node that dies loses nothing but the time spent.

    Each node must have the same versions of edgesynth and torch, and the user's own prototype importable. An item
    reserves as many processors as it has threads, 1 unless told otherwise, and a GPU where the run itself uses one.
    A function is sent to a node once, however many maps it is used in; it must not change in between.
    """

    place = "cluster"

    def __init__(self, address: str, threads: int = 1) -> None:
        if importlib.util.find_spec("ray") is None:
            raise MissingExtraError("--ray", "ray")
        self.threads = threads
        self._address = address
        self._function: object = None
        self._reference: Any = None

    def __enter__(self) -> Self:
        for name, value in SETTINGS.items():
            os.environ.setdefault(name, value)
        import ray

        self._check_reachable()
        dashboard = False if self._address == "local" else None  # only who starts a cluster may ask for one
        with _own_sigterm():
            try:
                ray.init(
                    address=self._address,
                    include_dashboard=dashboard,
                    log_to_driver=False,
                    logging_level=logging.ERROR,
                )
            except (ConnectionError, RuntimeError, ValueError) as error:
                raise self._unreachable(error) from error
        return self

    def __exit__(self, *_: object) -> None:
        import ray

        self._function = self._reference = None
        ray.shutdown()

    def map(self, function: Callable[[Item], Outcome], items: Iterable[Item]) -> Iterator[Outcome]:
        import ray

        if function is not self._function:
            self._function, self._reference = function, ray.put(function)
        work = ray.remote(_work).options(max_retries=RETRIES, **self._needs())
        # In a list, the reference arrives as such, and the receiver decides when to fetch what it stands for.
        pending = deque((item, work.remote([self._reference], item, self.threads, _versions())) for item in items)
        try:
            while pending:
                item, reference = pending[0]
                try:
                    outcome = pickle.loads(ray.get(reference))
                except ray.exceptions.RayError as error:
                    raise ToolError(
                        f"{named(item)}: Ray at {self._address} could not do it, having tried {RETRIES + 1} times: "
                        f"{_first_line(error)}; look at the cluster with `ray status`"
                    ) from error
                pending.popleft()
                if isinstance(outcome, Failure):
                    raise outcome.error
                yield outcome
        finally:
            for _, reference in pending:
                with suppress(Exception):  # what made us stop is what counts
                    ray.cancel(reference, force=True)

    def _needs(self) -> dict[str, float]:
        """What an item reserves, at most what the greatest node has: more would be waited for without end."""
        import ray

        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]
        processors = max((node.get("CPU", 0) for node in nodes), default=0)
        if processors < 1:
            raise ToolError(f"no node of the Ray cluster at {self._address} offers a processor")
        gpus = max(node.get("GPU", 0) for node in nodes) if torch.cuda.is_available() else 0
        return {"num_cpus": min(self.threads, processors), "num_gpus": min(1, gpus)}

    def _check_reachable(self) -> None:
        """Ray's own attempt to connect takes long and ends in pages of text."""
        host, colon, port = self._address.rpartition(":")
        if colon and port.isdigit() and "/" not in host:
            try:
                socket.create_connection((host, int(port)), timeout=PATIENCE_S).close()
            except OSError as error:
                raise self._unreachable(error) from error

    def _unreachable(self, error: Exception) -> ToolError:
        return ToolError(
            f"cannot reach a Ray cluster at {self._address}: {_first_line(error)}; start one with `ray start`"
        )


def _work(reference: list[Any], item: object, threads: int, versions: dict[str, str]) -> bytes:
    """Runs on a node of the cluster."""
    return attempt(lambda item: _fetch(reference[0], versions)(item), item, threads)


_fetched: dict[str, Callable[[Any], Any]] = {}


def _fetch(reference: Any, versions: dict[str, str]) -> Callable[[Any], Any]:
    """The function, kept in this process for the items to come."""
    import ray

    if versions != _versions():
        raise ToolError(f"node {socket.gethostname()} of the Ray cluster has {_versions()}, the run has {versions}")
    key = reference.hex()
    if key not in _fetched:
        _fetched.clear()
        _fetched[key] = ray.get(reference)
    return _fetched[key]


def _versions() -> dict[str, str]:
    """What results depend on, beside the item: on another processor networks may be trained in another precision."""
    training = str(precision(device()))
    return {"edgesynth": edgesynth.__version__, "torch": torch.__version__, "training": training}


def _first_line(error: BaseException) -> str:
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__


@contextmanager
def _own_sigterm() -> Iterator[None]:
    """Ray puts a handler of its own in the place of ours, for which being asked to stop is an interruption."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    ours = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, ours)
