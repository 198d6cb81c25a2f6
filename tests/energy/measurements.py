"""Made-up measurements: what the model says with other constants, as if a board had measured it."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from edgesynth_exporters.onnx_graph import read_graph

from edgesynth.energy.constants import Calibration, calibration_of
from edgesynth.energy.estimate import estimate
from edgesynth.energy.kernels import kernels_of
from edgesynth.energy.measured_network import with_network
from edgesynth.energy.model import Load, energy_of, timing_of
from edgesynth.records import Measurement
from tests.energy.graphs import conv, node, save


def measured(path: Path, **changes: Any) -> Measurement:
    """An estimate of the file as a measurement of a tx2 in power mode 0, with its kernels."""
    conditions = {"before": {"power_mode": {"id": 0, "name": "MAXN"}}, "gpu_mhz": {"settled": 1300.5}}
    found = estimate(path, "tx2-sim", "fp16")
    update = {"target": "tx2", "source": "measured", "conditions": conditions, "warnings": []}
    return with_network(found, path).model_copy(update=update | changes)


def chain(folder: Path, count: int, pools: int) -> Path:
    """A network of `count` convolutions and `pools` poolings of 8 channels."""
    nodes, x = [], "x"
    for place in range(count):
        nodes += [conv(x, f"c{place}"), node("Relu", f"c{place}", f"r{place}")]
        x = f"r{place}"
    for place in range(pools):
        nodes.append(node("MaxPool", x, f"p{place}", kernel_shape=[3, 3], pads=[1] * 4))
        x = f"p{place}"
    nodes.append(node("GlobalAveragePool", x, "y"))
    return save(folder / f"net{count}-{pools}.onnx", nodes, {"w": (8, 8, 3, 3)})


def as_if(known: Calibration, path: Path, noise: float, **changes: Any) -> Measurement:
    """The file measured on a board whose constants are `known`, off by `noise`."""
    kernels, _ = kernels_of(read_graph(path), "fp16")
    load = Load.of(kernels, "fp16")
    latency_ms = float(timing_of(load, known.constants).latency_ms) * float(np.exp(noise))
    assert known.power is not None
    record = measured(path)
    assert record.latency_ms is not None
    return record.model_copy(
        update={
            "latency_ms": record.latency_ms.model_copy(update={"mean": latency_ms}),
            "energy_mj": energy_of(load, known.power, latency_ms).total_mj,
        }
        | changes
    )


def other_board() -> Calibration:
    """A tx2 whose launches take half as long again, behind a lean program, and whose idle power is as before."""
    known = calibration_of("tx2-sim")
    assert known.power is not None
    return replace(
        known,
        constants=replace(known.constants, launch_us=40.0, overhead_ms=0.15),
        power=replace(known.power, active_power_w=2.0),
    )


def campaign(folder: Path, networks: int = 6, **changes: Any) -> list[str]:
    """Measurements of so many networks on `other_board`, one JSON document each."""
    random = np.random.default_rng(0)
    board = other_board()
    paths = [chain(folder, 2 + 3 * place, place % 4) for place in range(networks)]
    return [as_if(board, path, random.normal(0, 0.01), **changes).model_dump_json() for path in paths]
