"""How much faster four boards measure than one, and what is lost when one of them dies."""

import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from benchmarks.energy.candidates import candidates_of, names, save
from benchmarks.energy.played_boards import PlayedBoard, played_boards
from edgesynth.devices import AgentClient, AgentOracle
from edgesynth.devices.jobs import Schedule
from edgesynth.devices.measured import Measurements
from edgesynth.devices.patient import PatientOracle
from edgesynth.devices.pool import PoolOracle
from edgesynth.records import Measurement

__all__ = ["compare_boards"]

BOARDS, NETWORKS = 4, 24
SCHEDULE = Schedule(warmup_min_s=1.0, warmup_max_s=1.0, windows=3, window_s=1.5)
KILLED_AFTER = 0.4
"""This part of the time that all boards took, and one of them is killed."""


def compare_boards() -> dict[str, Any]:
    """The same networks on one board, on four, and on four of which one is killed in the middle."""
    candidates = candidates_of(names()[0])
    # Unix sockets lie there, whose paths are short.
    with tempfile.TemporaryDirectory(prefix="es-", dir="/tmp") as name:
        folder = Path(name)
        files = save(candidates, folder, NETWORKS)
        one, one_s, _ = _measured(folder / "one", files, 1)
        every, every_s, _ = _measured(folder / "every", files, BOARDS)
        # By a timer: whatever it does just then, it is lost.
        killed, killed_s, rows = _measured(
            folder / "killed", files, BOARDS, lambda boards: threading.Timer(KILLED_AFTER * every_s, boards[0].kill)
        )
    return {
        "networks": NETWORKS,
        "boards": BOARDS,
        "schedule": SCHEDULE.model_dump(),
        "schedule_s": SCHEDULE.warmup_min_s + SCHEDULE.windows * SCHEDULE.window_s,
        "one_s": round(one_s, 1),
        "every_s": round(every_s, 1),
        "times": round(one_s / every_s, 2),
        "differ": _greatest_difference(one, every),
        "killed": {
            "after_s": round(KILLED_AFTER * every_s, 1),
            "took_s": round(killed_s, 1),
            "answered": len(killed),
            "rows": rows,
            "differ": _greatest_difference(every, killed),
        },
    }


def _measured(
    folder: Path,
    files: Sequence[Path],
    count: int,
    accident: Callable[[Sequence[PlayedBoard]], threading.Timer] | None = None,
) -> tuple[dict[Path, float], float, int]:
    """Median latency in ms of each network, how many seconds all took, and rows in the database of this run alone."""
    memory = Measurements(folder / "measurements.sqlite")
    with played_boards(folder, count) as boards, PoolOracle([_oracle(board, memory) for board in boards]) as pool:
        timer = None if accident is None else accident(boards)
        start_s = time.monotonic()
        if timer is not None:
            timer.start()
        answers = pool.try_many(files)
        took_s = time.monotonic() - start_s
        if timer is not None:
            timer.join()
    found = {
        path: answer.latency_ms.p50
        for path, answer in zip(files, answers, strict=True)
        if isinstance(answer, Measurement) and answer.latency_ms and answer.latency_ms.p50
    }
    return found, took_s, len(memory.all("tx2"))


def _oracle(board: PlayedBoard, memory: Measurements) -> PatientOracle:
    client = AgentClient(board.socket, board.address)
    return PatientOracle(AgentOracle("tx2", nullcontext(client), SCHEDULE, memory=memory), wait_s=0)


def _greatest_difference(one: dict[Path, float], other: dict[Path, float]) -> float:
    """Of the latencies of one network, as a share."""
    return round(max(abs(other[path] / latency_ms - 1) for path, latency_ms in one.items() if path in other), 4)
