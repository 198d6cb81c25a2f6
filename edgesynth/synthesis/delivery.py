"""From a trained network to a file that is known to be right and measured: export, parity, every target."""

from pathlib import Path

import numpy as np
from edgesynth_exporters.export import export_onnx
from edgesynth_exporters.parity import check_parity
from edgesynth_exporters.targets import find_target
from torch import Tensor, nn

from edgesynth.records import Measurement, Parity
from edgesynth.synthesis.workshop import Workshop

__all__ = ["PARITY_IMAGES", "deliver"]

PARITY_IMAGES = 256


def deliver(workshop: Workshop, module: nn.Module, path: Path, val_outputs: Tensor) -> tuple[Parity, list[Measurement]]:
    """Write `module` to `path` at an opset that every target takes, compare it with what PyTorch answered on the
    first PARITY_IMAGES validation images or more (`val_outputs`), and measure it on every target, in the order of
    the workshop.

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
    return parity, [oracle.measure(path) for oracle in workshop.oracles.values()]
