"""How long every finished network takes, against the prototype in the same run, and what a Jetson TX2 would need.

Measured with ONNX Runtime on one thread of this machine's processor; the TX2's figures are edgesynth's estimates.
"""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from edgesynth_exporters.export import export_onnx

from benchmarks.classification.architecture import rebuild
from benchmarks.classification.cells import Places, architecture_digest, cells_of, read_result
from benchmarks.classification.environment import environment
from benchmarks.classification.protocol import Protocol
from edgesynth.data import find_source
from edgesynth.energy.estimate import estimate
from edgesynth.synthesis.storage import write_json

__all__ = ["OPSET", "lacks", "latencies", "measure_all"]

OPSET = 13
"""The newest that the target of the estimates takes."""

ROUNDS = 25
CALLS = 10
"""Calls of a network in one round; the fastest of them counts, as interruptions only ever add."""


def measure_all(protocol: Protocol, places: Places, say: Callable[[str], None]) -> None:
    """Write latency.json about every network that has a result, each rebuilt from it with random weights."""
    found = finished(protocol, places)
    reference = next((name for name in found if name.startswith("prototype")), None)
    if reference is None:
        say("no prototype to compare with: run some cells first")
        return
    say(f"{len(found)} networks, {ROUNDS} rounds")
    _export(protocol, places, found)
    rounds = _rounds([places.onnx(name) for name in found])
    per_network = dict(zip(found, zip(*rounds, strict=True), strict=True))
    measured = {
        name: {
            "architecture": architecture_digest(found[name]),
            "latency_ms": round(statistics.median(times), 4),
            "ratio": round(statistics.median(a / b for a, b in zip(times, per_network[reference], strict=True)), 4),
            **_on_tx2(places.onnx(name)),
        }
        for name, times in per_network.items()
    }
    document = {
        "schema": "edgesynth.benchmark.latency/1",
        "protocol": protocol.name,
        "reference": reference,
        "rounds": ROUNDS,
        "calls": CALLS,
        "threads": 1,
        "environment": environment(),
        "networks": measured,
    }
    write_json(places.results / "latency.json", document)
    say(f"written to {places.results / 'latency.json'}")


def finished(protocol: Protocol, places: Places) -> dict[str, dict[str, Any]]:
    """All results of this protocol that a network can be rebuilt from, by name, the prototypes' first."""
    paths: dict[str, tuple[Path, str | None]] = {
        f"prototype-seed{seed}": (places.prototype_result(seed), None) for seed in protocol.seeds
    }
    paths |= {cell.name: (places.result(cell), cell.contestant) for cell in cells_of(protocol)}
    found = {name: (read_result(path), protocol.digest(contestant)) for name, (path, contestant) in paths.items()}
    return {
        name: result
        for name, (result, digest) in found.items()
        if result is not None and "macs" in result and result["protocol_digest"] == digest
    }


def latencies(files: Sequence[Path]) -> list[float]:
    """Milliseconds of an inference of each file here, on one thread, all in the same rounds."""
    return [round(statistics.median(times), 4) for times in zip(*_rounds(files), strict=True)]


def lacks(protocol: Protocol, places: Places) -> bool:
    """Whether there is a finished network whose latency was not taken."""
    document = read_result(places.results / "latency.json") or {"networks": {}}
    told = {name: network["architecture"] for name, network in document["networks"].items()}
    return any(told.get(name) != architecture_digest(result) for name, result in finished(protocol, places).items())


def _export(protocol: Protocol, places: Places, results: Mapping[str, Mapping[str, Any]]) -> None:
    data = find_source(protocol.data).load()
    for name, result in results.items():
        network = rebuild(protocol.prototype, data.input_shape, len(data.classes), result)
        places.onnx(name).parent.mkdir(parents=True, exist_ok=True)
        export_onnx(network, torch.zeros(1, *data.input_shape), places.onnx(name), OPSET)


def _rounds(files: Sequence[Path]) -> list[list[float]]:
    """Milliseconds by round and file: every round takes all files in turn, so that all see the same machine."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    sessions = [onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"]) for file in files]
    inputs = [
        {entry.name: np.random.default_rng(0).standard_normal(entry.shape, dtype=np.float32)}
        for entry in (session.get_inputs()[0] for session in sessions)
    ]
    calls = [partial(session.run, None, given) for session, given in zip(sessions, inputs, strict=True)]
    for call in calls:
        call()  # the first call allocates
    return [[min(_milliseconds(call) for _ in range(CALLS)) for call in calls] for _ in range(ROUNDS)]


def _milliseconds(call: Callable[[], Any]) -> float:
    start = time.perf_counter()
    call()
    return 1e3 * (time.perf_counter() - start)


def _on_tx2(file: Path) -> dict[str, float | None]:
    measurement = estimate(file, "tx2-sim")
    latency = measurement.latency_ms
    return {"tx2_ms": None if latency is None else round(latency.mean, 4), "tx2_mj": measurement.energy_mj}
