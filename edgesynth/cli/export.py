"""`edgesynth export`: a network becomes an ONNX file that a target accepts, or an engine, checked and compared."""

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from edgesynth_exporters.export_record import ExportRecord, OutputParity

__all__ = ["export"]

SHOWN = 3
"""Remarks of the check that are printed."""
ENDINGS = {"onnx": ".onnx", "tensorrt": ".plan", "tensorrt-rtx": ".plan"}


def export(
    network: Annotated[
        str, typer.Argument(help="RUN/NAME, RUN/prototype, or package.module:function.", show_default=False)
    ],
    target: Annotated[str, typer.Option(help="What it is to run on; see edgesynth targets ls.", show_default=False)],
    weights: Annotated[Path | None, typer.Option(help="Trained weights of a function's network, .safetensors.")] = None,
    data: Annotated[
        str | None,
        typer.Option(help="Images to compare and calibrate on: a data set, or a folder.  [default: the run's]"),
    ] = None,
    input_shape: Annotated[
        str | None, typer.Option(metavar="C,H,W", help="Size of an image, where there is no data to tell.")
    ] = None,
    classes: Annotated[
        int | None, typer.Option(min=1, help="Number of classes, where there is no data to tell.")
    ] = None,
    precision: Annotated[Literal["fp32", "fp16", "int8"], typer.Option(help="What to compute in.")] = "fp32",
    format_: Annotated[
        Literal["onnx", "tensorrt", "tensorrt-rtx"],
        typer.Option("--format", help="An ONNX file, or an engine built from it besides."),
    ] = "onnx",
    max_drop: Annotated[
        float, typer.Option(min=0, max=1, help="What fp16 and int8 may cost of the accuracy, a share.")
    ] = 0.02,
    out: Annotated[Path | None, typer.Option(help="File to make.  [default: NAME-TARGET-PRECISION.onnx]")] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print one edgesynth.export/1 document.")] = False,
) -> None:
    """Write a network as an ONNX file that the target accepts, compared with PyTorch, or build an engine of it.

    Beside the file: inputs and answers for the board to compare with, and a record of how it was made.

    Exit code 0: done. 1: the target does not take the network or the precision. 3: a step failed; OUT.failed has a
    script that repeats it.
    """
    from edgesynth_exporters.precision import choose_scheme
    from edgesynth_exporters.targets import find_target

    place = find_target(target)
    # What the hardware does not have is said before anything is loaded.
    choose_scheme(place, precision, format_)
    from edgesynth_exporters.pipeline import export_network
    from edgesynth_exporters.subject import Order

    from edgesynth.synthesis.exporting import open_subject

    order = Order(
        target=place,
        precision=precision,
        format=format_,
        out=out or Path(f"{_file_name(network)}-{target}-{precision}{ENDINGS[format_]}"),
        max_drop=max_drop,
        command=shlex.join(["edgesynth", *sys.argv[1:]]),
    )
    subject = open_subject(
        network,
        int8=precision == "int8",
        weights=weights,
        data=data,
        input_shape=None if input_shape is None else _shape(input_shape),
        classes=classes,
    )
    record = export_network(subject, order, lambda text: typer.echo(text, err=True))
    if json_:
        typer.echo(record.model_dump_json(indent=2))
    else:
        _print(record, order.out)


def _file_name(network: str) -> str:
    """The last part of what the network is called, without what file names should not have."""
    name = network.rstrip("/").rpartition("/")[2].rpartition(":")[2]
    return "".join(c if c.isalnum() or c in "-_." else "-" for c in name) or "model"


def _shape(text: str) -> tuple[int, ...]:
    parts = text.split(",")
    if len(parts) != 3 or not all(part.strip().isdecimal() and int(part) > 0 for part in parts):
        raise typer.BadParameter(f"--input-shape {text}: three numbers are wanted, C,H,W, as in 3,224,224")
    return tuple(int(part) for part in parts)


def _print(record: "ExportRecord", out: Path) -> None:
    from rich.console import Console

    console = Console(soft_wrap=True)

    def say(text: str, style: str | None = None) -> None:
        console.print(text, style=style, markup=False, highlight=False)

    sizes = [f"{tensor.name} {'x'.join(map(str, tensor.shape))}" for tensor in (*record.inputs, *record.outputs)]
    say(f"{record.name} for {record.target.name} in {record.precision}: opset {record.opset}, {', '.join(sizes)}")
    for precision, outputs in record.parity.items():
        for name, found in outputs.items():
            say(f"{precision} against PyTorch, {name}: {_parity(found)} ({record.images.origin})")
    if record.metric is not None:
        metric = record.metric
        say(f"{metric.name} {metric.exported:.2%}, PyTorch has {metric.pytorch:.2%}, on {metric.images} images")
    if record.scheme.kind != "plain":
        say(record.scheme.why)
    for finding in record.check.findings[:SHOWN]:
        say(f"{finding['severity']}: {finding['reason']}; {finding['remedy']}", "yellow")
    if len(record.check.findings) > SHOWN:
        say(f"and {len(record.check.findings) - SHOWN} more that edgesynth check tells", "yellow")
    for warning in record.warnings:
        say(f"warning: {warning}", "yellow")
    seconds = sum(step.seconds for step in record.steps)
    say(f"{seconds:.1f} s; wrote {', '.join(str(out.with_name(entry.path)) for entry in record.files.values())}")


def _parity(found: "OutputParity") -> str:
    same = "" if found.argmax_agreement is None else f", same answer on {found.argmax_agreement:.2%}"
    return f"greatest error {found.max_abs_error:.2g}{same} of {found.images} images"
