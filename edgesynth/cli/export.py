"""`edgesynth export`: a network becomes an ONNX file that a target accepts, or an engine, checked and compared."""

import os
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from edgesynth_exporters.export_record import ExportRecord, OutputParity
    from edgesynth_exporters.precision import Format
    from edgesynth_exporters.subject import Order
    from edgesynth_exporters.targets import Precision, Target

__all__ = ["export", "stdout_to_stderr"]

SHOWN = 3
"""Remarks of the check that are printed."""
SHOWN_LETTERS = 40
DIGITS = 9
"""Of a number in --input-shape."""
ENDINGS = {"onnx": ".onnx", "tensorrt": ".plan", "tensorrt-rtx": ".plan"}


def export(
    network: Annotated[
        str, typer.Argument(help="RUN/NAME, RUN/prototype, or package.module:function.", show_default=False)
    ],
    target: Annotated[str, typer.Option(help="What it is to run on; see edgesynth targets ls.", show_default=False)],
    weights: Annotated[Path | None, typer.Option(help="Trained weights of a function's network, .safetensors.")] = None,
    data: Annotated[
        str | None,
        typer.Option(
            help="Images to compare and calibrate on: a data set, or a folder. A run has its own.", show_default="noise"
        ),
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
    out: Annotated[
        Path | None,
        typer.Option(
            help="File to make; the others lie beside it.", show_default="named after network, target, precision"
        ),
    ] = None,
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
        out=out or Path(_default_name(network, place, precision, format_)),
        max_drop=max_drop,
        command=shlex.join(["edgesynth", *sys.argv[1:]]),
    )
    shape = None if input_shape is None else _shape(input_shape)
    # Code of the user's runs in here, and may print.
    with stdout_to_stderr():
        subject = open_subject(
            network, int8=precision == "int8", weights=weights, data=data, input_shape=shape, classes=classes
        )
        record = export_network(subject, order, lambda text: typer.echo(text, err=True))
    if json_:
        typer.echo(record.model_dump_json(indent=2))
    else:
        _print(record, order)


@contextmanager
def stdout_to_stderr() -> Iterator[None]:
    """What is printed goes to stderr, also from below Python and from child processes: stdout is for the answer."""
    sys.stdout.flush()
    with redirect_stdout(sys.stderr):
        try:
            stdout = os.dup(1)
        except OSError:  # it is closed
            yield
            return
        os.dup2(2, 1)
        try:
            yield
        finally:
            os.dup2(stdout, 1)
            os.close(stdout)


def _default_name(network: str, target: "Target", precision: "Precision", format_: "Format") -> str:
    """Formats that give different files have different names. TensorRT-RTX builds for other GPUs than a target's, so
    its files are called after what they take of it, the opset."""
    from edgesynth_exporters.steps import GREATEST_OPSET

    name, ending = _file_name(network), ENDINGS[format_]
    if format_ == "onnx":
        return f"{name}-{target.name}-{precision}{ending}"
    if format_ == "tensorrt":
        return f"{name}-{target.name}-{precision}-tensorrt{ending}"
    return f"{name}-opset{min(target.opset, GREATEST_OPSET)}-{precision}-tensorrt-rtx{ending}"


def _file_name(network: str) -> str:
    """The last part of what the network is called, without what file names should not have."""
    name = network.rstrip("/").rpartition("/")[2].rpartition(":")[2]
    return "".join(c if c.isalnum() or c in "-_." else "-" for c in name) or "model"


def _shape(text: str) -> tuple[int, ...]:
    from edgesynth_exporters.plain import plain

    parts = text.split(",")
    if len(parts) != 3 or not all(_is_size(part.strip()) for part in parts):
        raise typer.BadParameter(
            f"--input-shape {plain(text)[:SHOWN_LETTERS]}: three numbers are wanted, C,H,W, as in 3,224,224"
        )
    return tuple(int(part) for part in parts)


def _is_size(text: str) -> bool:
    return text.isdecimal() and len(text) <= DIGITS and int(text) > 0


def _print(record: "ExportRecord", order: "Order") -> None:
    from edgesynth_exporters.plain import plain
    from rich.console import Console

    console = Console(soft_wrap=True)

    def say(text: str, style: str | None = None) -> None:
        console.print(plain(text), style=style, markup=False, highlight=False)

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
    written = [order.out.with_name(entry.path) for entry in record.files.values()]
    say(f"{seconds:.1f} s; wrote {', '.join(map(str, [*written, order.paths.manifest]))}")


def _parity(found: "OutputParity") -> str:
    same = "" if found.argmax_agreement is None else f", same answer on {found.argmax_agreement:.2%}"
    return f"greatest error {found.max_abs_error:.2g}{same} of {found.images} images"
