"""The published TX2 measurements that the model is fitted on, each with the kernels of its network."""

import csv
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import cast

from edgesynth_exporters.onnx_graph import Graph

from edgesynth.energy.kernels import Precision, kernels_of
from edgesynth.energy.model import Load
from edgesynth.energy.networks import mobilenet_v1, nasbench201, resnet_v1, vgg16
from edgesynth.energy.networks_branched import inception_v1, inception_v4, yolov8n
from edgesynth.energy.networks_torchvision import DENSENET, RESNET, VGG, alexnet, densenet, resnet, squeezenet, vgg

__all__ = ["NETWORKS", "ROWS_FILE", "Row", "read_rows", "row_of"]

ROWS_FILE = Path(__file__).with_name("data") / "tx2-measurements.csv"

NETWORKS: dict[str, Callable[[], Graph]] = {
    "inception_v1": inception_v1,
    "inception_v4": inception_v4,
    "mobilenet_v1_0.25_128": lambda: mobilenet_v1(0.25, 128),
    "resnet_v1_50": lambda: resnet_v1((3, 4, 6, 3)),
    "resnet_v1_152": lambda: resnet_v1((3, 8, 36, 3)),
    "vgg16": vgg16,
    "yolov8n": yolov8n,
    "torchvision_alexnet": alexnet,
    "torchvision_squeezenet1_0": lambda: squeezenet("1.0"),
    "torchvision_squeezenet1_1": lambda: squeezenet("1.1"),
    **{f"torchvision_vgg{layers}": partial(vgg, layers) for layers in VGG},
    **{f"torchvision_resnet{layers}": partial(resnet, layers) for layers in RESNET},
    **{f"torchvision_densenet{layers}": partial(densenet, layers) for layers in DENSENET},
}


@dataclass(frozen=True)
class Row:
    """One measurement. `network` is equal for rows of one architecture at other sizes, classes or precisions.

    `harness` names the program that it was measured through, whose overhead is in `latency_ms`.
    """

    label: str
    network: str
    held_out: bool
    harness: str
    load: Load
    precision: Precision
    macs: int
    kinds: Mapping[str, int]
    gpu_clock_mhz: float
    memory_clock_mhz: float
    cpu_clock_mhz: float
    latency_ms: float
    energy_mj: float | None
    source: str

    @property
    def kernels(self) -> int:
        return sum(self.kinds.values())


def read_rows(path: Path = ROWS_FILE) -> list[Row]:
    """All rows of `path`, in its order."""
    with path.open(newline="", encoding="utf-8") as file:
        return [row_of(record) for record in csv.DictReader(file)]


def row_of(record: Mapping[str, str]) -> Row:
    """The row of one record of such a file, by the names of its columns."""
    name, cell, size = record["network"], record["cell"], int(record["size"])
    precision = cast(Precision, record["precision"])
    graph = nasbench201(cell, int(record["classes"]), size) if cell else NETWORKS[name]()
    kernels, _ = kernels_of(graph, precision)
    return Row(
        label=f"{cell} {record['classes']} classes" if cell else name,
        network=cell or name,
        held_out=record["use"] == "held out",
        harness=record["harness"],
        load=Load.of(kernels, precision),
        precision=precision,
        macs=sum(kernel.macs for kernel in kernels),
        kinds=Counter(kernel.kind for kernel in kernels),
        gpu_clock_mhz=float(record["gpu_clock_mhz"]),
        memory_clock_mhz=float(record["memory_clock_mhz"]),
        cpu_clock_mhz=float(record["cpu_clock_mhz"]),
        latency_ms=float(record["latency_ms"]),
        energy_mj=float(record["energy_mj"]) if record["energy_mj"] else None,
        source=record["source"],
    )
