"""From a trained network to a file that is known to be right and measured: export, parity, every target."""

from pathlib import Path

import numpy as np
from edgesynth_exporters.export import export_onnx
from edgesynth_exporters.parity import check_parity
from edgesynth_exporters.targets import find_target
from torch import Tensor, nn

from edgesynth.devices.traces import FOLDER, default_traces
from edgesynth.errors import StorageError
from edgesynth.records import Measurement, Parity
from edgesynth.synthesis.layer_names import with_layer_names
from edgesynth.synthesis.storage import write_file
from edgesynth.synthesis.workshop import Workshop

__all__ = ["PARITY_IMAGES", "deliver", "trace_in"]

PARITY_IMAGES = 256


def deliver(workshop: Workshop, module: nn.Module, path: Path, val_outputs: Tensor) -> tuple[Parity, list[Measurement]]:
    """Write `module` to `path` at an opset that every target takes, compare it with what PyTorch answered on the
    first PARITY_IMAGES validation images or more (`val_outputs`), and measure it on every target, in the order of
    the workshop. What was measured has its trace in the run.

    Raises ExportError, ParityError, DeviceError.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    opset = min(find_target(name).opset for name in workshop.oracles)
    export_onnx(module, workshop.space.example, path, opset)
    images = workshop.data.val.images[:PARITY_IMAGES]
    expected = val_outputs[:PARITY_IMAGES].numpy().astype(np.float32)
    result = check_parity(path, images.numpy(), expected)
    parity = Parity(
        images=result.images,
        max_abs_error=result.max_abs_error,
        argmax_agreement=result.argmax_agreement,
    )
    measurements = [oracle.measure(path) for oracle in workshop.oracles.values()]
    return parity, [with_layer_names(trace_in(workshop.run, each), path, module) for each in measurements]


def trace_in(run: Path, measurement: Measurement) -> Measurement:
    """The measurement with its trace copied into the run, or with the reason why there is none."""
    if measurement.source == "estimated":
        return measurement
    trace = measurement.trace
    if trace is None:
        told = any("no trace was kept" in warning for warning in measurement.warnings)
        why = [] if told else ["no trace was kept: it was measured by an edgesynth that kept none"]
        return measurement.model_copy(update={"warnings": [*measurement.warnings, *why]})
    path = Path(FOLDER) / trace.file
    try:
        write_file(run / path, default_traces().content(trace))
    except StorageError as error:
        changes = {"trace": None, "warnings": [*measurement.warnings, f"its trace is lost: {error}"]}
        return measurement.model_copy(update=changes)
    return measurement.model_copy(update={"trace": trace.model_copy(update={"file": path.as_posix()})})
