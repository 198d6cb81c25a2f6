"""Measurements of agents as rows that a model can be fitted on."""

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edgesynth_exporters.targets import Target
from pydantic import ValidationError

from edgesynth.energy.constants import GREATEST, Calibration
from edgesynth.energy.kernels import BYTES, Kernel
from edgesynth.energy.measured_network import kernels_in
from edgesynth.energy.model import Load
from edgesynth.energy.rows import Row
from edgesynth.records import Measurement

__all__ = ["HARNESS", "Skipped", "documents_in", "rows_from"]

HARNESS = "agent"


@dataclass(frozen=True)
class Skipped:
    """A line of measurements that was not used, and why."""

    line: int
    reason: str


def documents_in(text: str) -> list[str]:
    """One entry for each line of a file: the JSON document that begins there, however many lines it goes on for, and
    nothing for those. A line that begins none is an entry as it is, for `rows_from` to say so."""
    found: list[str] = []
    start = 0
    while start < len(text):
        end = _end_of_document(text, start)
        found += [text[start:end], *[""] * text.count("\n", start, end)]
        start = end + 1
    return found


def _end_of_document(text: str, start: int) -> int:
    """Where the last line of the document that begins at `start` ends; of what is none, its first line."""
    try:
        _, end = json.JSONDecoder().raw_decode(text, start)
    except (ValueError, RecursionError):
        end = start
    line_end = text.find("\n", end)
    return len(text) if line_end < 0 else line_end


def rows_from(
    lines: Sequence[str], board: Target, known: Calibration, *, simulated: bool
) -> tuple[list[Row], list[Skipped]]:
    """What can be fitted on, and what cannot, by the number of its line (from 1); empty lines are nothing."""
    rows, skipped = [], []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            rows.append(_row(Measurement.model_validate_json(line), board, known, simulated=simulated))
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"]))
            skipped.append(Skipped(number, f"not an edgesynth.measurement/1 document: {where}: {first['msg']}"))
        except ValueError as error:
            skipped.append(Skipped(number, str(error)))
    return rows, skipped


def _row(record: Measurement, board: Target, known: Calibration, *, simulated: bool) -> Row:
    """Raises ValueError that says why a measurement is of no use."""
    wanted = ("measured", "simulated") if simulated else ("measured",)
    if record.source not in wanted:
        raise ValueError(f"it is {record.source}, not measured")
    if record.target not in (board.name, board.based_on):
        raise ValueError(f"it is of {record.target}, not of {board.name}")
    if record.source == "measured" and record.engine.backend == "onnxruntime":
        raise ValueError("ONNX Runtime computed it on the processor, and the model is of TensorRT's kernels on the GPU")
    if record.network is None:
        raise ValueError("it holds no kernels of its network: measure it again with this version of edgesynth")
    if record.engine.precision not in BYTES:
        raise ValueError(f"the model knows no {record.engine.precision}")
    if record.latency_ms is None or record.latency_ms.mean <= 0:
        raise ValueError("it has no latency")
    if record.energy_mj is not None and record.energy_mj <= 0:
        raise ValueError("its energy is not positive")
    precision = record.engine.precision
    kernels = kernels_in(record.network)
    if not kernels:
        raise ValueError("its network has no kernels")
    gpu_mhz, memory_mhz, cpu_mhz = _clocks(record, board, known)
    return Row(
        label=record.network.sha256[:12],
        network=_architecture(kernels),
        held_out=False,
        harness=HARNESS,
        load=Load.of(kernels, precision),
        precision=precision,
        macs=sum(kernel.macs for kernel in kernels),
        kinds=Counter(kernel.kind for kernel in kernels),
        gpu_clock_mhz=gpu_mhz,
        memory_clock_mhz=memory_mhz,
        cpu_clock_mhz=cpu_mhz,
        latency_ms=record.latency_ms.mean,
        energy_mj=record.energy_mj,
        source=record.source,
    )


def _architecture(kernels: Sequence[Kernel]) -> str:
    """Equal for networks that differ in weights or precision alone: a model fitted on one has seen the other."""
    what = [(k.kind, k.macs, k.params, k.output_shape, k.rows, k.columns, k.depth, k.groups, k.sums) for k in kernels]
    return hashlib.sha256(json.dumps(what).encode()).hexdigest()


def _clocks(record: Measurement, board: Target, known: Calibration) -> tuple[float, float, float]:
    """GPU, memory and processor, in MHz: of the power mode, the GPU's as it was seen; else those of the model."""
    conditions = record.conditions or {}
    mode = _part(_part(conditions, "before"), "power_mode")
    caps = next((each for each in board.power_modes if each.id == mode.get("id")), None)
    seen = _part(conditions, "gpu_mhz").get("settled")
    if not (seen is None or (isinstance(seen, int | float) and 0 < seen < GREATEST)):
        raise ValueError(f"its GPU's clock is {seen!r}")
    c = known.constants
    return (
        float(seen or (caps and caps.gpu_mhz) or c.gpu_clock_mhz),
        float((caps and caps.memory_mhz) or c.memory_clock_mhz),
        float((caps and caps.cpu_mhz) or c.cpu_clock_mhz),
    )


def _part(facts: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """What an agent tells under that name, or nothing. Agents tell it in a form of their own, which no schema has."""
    part = facts.get(name)
    if not (part is None or isinstance(part, dict)):
        raise ValueError(f"its {name} is none that an agent tells")
    return part or {}
