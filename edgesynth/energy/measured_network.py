"""The network in a measurement, so that a model can be fitted on the record without the ONNX file."""

import hashlib
from dataclasses import asdict, fields
from pathlib import Path
from typing import cast, get_args

from edgesynth_exporters.onnx_graph import read_graph

from edgesynth.energy.kernels import BYTES, Kernel, Kind, kernels_of
from edgesynth.errors import EdgesynthError
from edgesynth.records import KernelLoad, MeasuredNetwork, Measurement

__all__ = ["kernels_in", "with_network"]

SIZES = ("macs", "params", "bytes_read", "bytes_written", "rows", "columns", "depth", "groups", "sums")
GREATEST = 2**53
"""All smaller integers are floating-point numbers too."""


def with_network(measurement: Measurement, onnx: Path) -> Measurement:
    """The measurement of the network in `onnx` with its kernels.

    As it is where they cannot be told (a file with free sizes, a precision without a model): a measurement is worth
    keeping without them.
    """
    precision = measurement.engine.precision
    if precision not in BYTES:
        return measurement
    try:
        with onnx.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        kernels, _ = kernels_of(read_graph(onnx, measurement.engine.batch), precision)
    except (EdgesynthError, OSError):
        return measurement
    loads = [KernelLoad.model_validate(_plain(kernel)) for kernel in kernels]
    return measurement.model_copy(update={"network": MeasuredNetwork(sha256=digest, kernels=loads)})


def kernels_in(network: MeasuredNetwork) -> list[Kernel]:
    """The kernels that a record holds. Raises ValueError for a kind of kernel that this version does not know, and for
    sizes that no kernel has."""
    kinds = get_args(Kind)
    for load in network.kernels:
        if load.kind not in kinds:
            raise ValueError(f"kernel '{load.name}' is of the unknown kind '{load.kind}'")
        for name in SIZES:
            if not 0 <= getattr(load, name) <= GREATEST:
                raise ValueError(f"kernel '{load.name}' has an impossible number of {name}")
    return [
        Kernel(
            **load.model_dump(exclude={"kind", "output_shape"}),
            kind=cast(Kind, load.kind),
            operators=(),
            output_shape=tuple(load.output_shape),
        )
        for load in network.kernels
    ]


def _plain(kernel: Kernel) -> dict[str, object]:
    names = {field.name for field in fields(Kernel)} - {"operators"}
    found = {name: value for name, value in asdict(kernel).items() if name in names}
    return found | {"output_shape": list(kernel.output_shape)}
