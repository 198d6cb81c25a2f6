"""`edgesynth bench`: measure an ONNX file on a target."""

from pathlib import Path
from typing import Annotated, Literal

import typer

__all__ = ["bench"]


def bench(
    model: Annotated[Path, typer.Argument(help="ONNX file.", show_default=False)],
    target: Annotated[str, typer.Option(help="Where to measure it.")] = "host",
    batch: Annotated[int, typer.Option(min=1, help="Images in one inference.")] = 1,
    precision: Annotated[
        Literal["fp32", "fp16", "int8"] | None, typer.Option(help="What to compute in.  [default: the file's]")
    ] = None,
    engine: Annotated[
        Literal["onnxruntime", "tensorrt", "tensorrt_rtx"] | None,
        typer.Option(help="What runs it.  [default: TensorRT where it works, else ONNX Runtime]"),
    ] = None,
    reference: Annotated[
        Path | None,
        typer.Option(help="Answers to compare with first.  [default: MODEL.reference.npz, where it is of the model]"),
    ] = None,
    calibration: Annotated[
        Path | None, typer.Option(help="Scales of int8 for TensorRT.  [default: MODEL.calibration]")
    ] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print one edgesynth.measurement/1 document.")] = False,
) -> None:
    """Measure latency, and energy where there is a sensor, through the agent on the target.

    With a power sensor it takes a minute and a half, without one some seconds.
    """
    from edgesynth_exporters.targets import find_target

    from edgesynth.cli.tables import print_measurement
    from edgesynth.devices import beside, open_device
    from edgesynth.errors import EdgesynthError

    if find_target(target).kind == "model":
        raise EdgesynthError(f"{target} is a model, not a device: ask edgesynth estimate {model} --target {target}")
    found = beside(model, precision, engine)
    if found.note is not None and reference is None:
        typer.echo(found.note, err=True)
    with open_device(target, engine=engine, precision=precision) as oracle:
        measurement = oracle.measure(
            model,
            batch=batch,
            reference=reference or found.reference,
            calibration=calibration or found.calibration,
        )
    if json_:
        typer.echo(measurement.model_dump_json(indent=2))
    else:
        print_measurement(model.name, measurement)
