"""A PyTorch network to a static ONNX file at a given opset."""

import copy
import io
import os
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import onnx
import torch
from torch import Tensor, nn

from edgesynth_exporters.errors import ExportError, first_line
from edgesynth_exporters.files import write_atomically
from edgesynth_exporters.outputs import OUTPUT, named_outputs
from edgesynth_exporters.unwritable import unwritable_operator, what_to_do

__all__ = ["export_onnx"]

INPUT = "input"
TRACER_WARNING: Any = torch.jit.TracerWarning  # type: ignore[attr-defined]  # public, and not in its __all__


def export_onnx(module: nn.Module, example: Tensor, path: Path, opset: int) -> list[str]:
    """Write `module` as ONNX with one static input, batch norm folded into the convolutions.

    `example` is one batch (N, C, H, W); its shape becomes the file's. Outputs have the names of `named_outputs`.
    The file is written only after it passed onnx's full check and was found to have the opset asked for: torch may
    silently hand back another. `example` stays as it was.

    Returns a line for each place in the network's code of which the tracer says that it may have fixed what depends on
    the image. Raises ExportError that names what the exporter refused.
    """
    network: nn.Module = copy.deepcopy(module).cpu().eval()
    buffer = io.BytesIO()
    try:
        with torch.no_grad():
            names = list(named_outputs(network(example.detach().cpu().clone())))
        if names != [OUTPUT]:
            network = _Flat(network)
        with warnings.catch_warnings(record=True) as caught, _silence():
            # The TorchScript exporter is announced as ageing, yet it alone writes a true opset 13.
            warnings.simplefilter("ignore")
            warnings.simplefilter("always", TRACER_WARNING)
            TRACER_WARNING.ignore_lib_warnings()  # about torch's own code
            torch.onnx.export(
                network,
                (example.detach().cpu().clone(),),
                buffer,  # type: ignore[arg-type]  # the annotation forgets the file objects that it takes
                opset_version=opset,
                input_names=[INPUT],
                output_names=names,
                do_constant_folding=True,
                dynamo=False,
            )
        model = onnx.load_from_string(buffer.getvalue())
        onnx.checker.check_model(model, full_check=True)
    except (Exception, SystemExit) as error:
        operator = unwritable_operator(error)
        why = first_line(error)
        if operator is not None:
            why = f"torch cannot write its operator '{operator}' there; {what_to_do(operator)}"
        raise ExportError(f"cannot export {type(module).__name__} at opset {opset}: {why}") from error
    _assert_as_asked(model, opset)
    try:
        write_atomically(path, model.SerializeToString(deterministic=True))
    except OSError as error:
        raise ExportError(f"cannot write {path}: {error.strerror}") from error
    return list(dict.fromkeys(_fixed(warning) for warning in caught))


def _fixed(warning: warnings.WarningMessage) -> str:
    said = str(warning.message).partition(". ")[0]
    return f"{warning.filename}, line {warning.lineno}: the file keeps what was so for one image ({said})"


class _Flat(nn.Module):
    """A network's outputs as one tuple, whatever it answers with."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        return tuple(named_outputs(self.network(images)).values())


@contextmanager
def _silence() -> Iterator[None]:
    """Throw away what reaches standard output below Python: on failure the exporter prints its whole graph there."""
    stdout, nowhere = os.dup(1), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    try:
        yield
    finally:
        os.dup2(stdout, 1)
        os.close(stdout)
        os.close(nowhere)


def _assert_as_asked(model: onnx.ModelProto, opset: int) -> None:
    found = {entry.domain: entry.version for entry in model.opset_import}
    if found.get("") != opset:
        raise ExportError(f"asked for ONNX opset {opset}, the exporter wrote {found}: refusing the file")
    producers = {name: node for node in model.graph.node for name in node.output}
    uses = Counter(name for node in model.graph.node for name in node.input)
    uses.update(value.name for value in model.graph.output)
    for node in model.graph.node:
        if node.op_type == "BatchNormalization":
            producer = producers.get(node.input[0])
            # What others need as well, the convolution must give as it is.
            if producer is not None and producer.op_type == "Conv" and uses[node.input[0]] == 1:
                raise ExportError(f"batch norm '{node.name}' was not folded into convolution '{producer.name}'")
    for value in (*model.graph.input, *model.graph.output):
        if any(not dim.HasField("dim_value") for dim in value.type.tensor_type.shape.dim):
            raise ExportError(f"'{value.name}' has a dynamic shape; a TensorRT engine for a board wants static ones")
