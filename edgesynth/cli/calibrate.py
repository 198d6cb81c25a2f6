"""`edgesynth calibrate`: refit the model of a board on what its agents have measured."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from edgesynth.energy.calibrate import Recalibration

__all__ = ["calibrate"]


def calibrate(
    target: Annotated[str, typer.Argument(help="The board that was measured, as tx2.", show_default=False)],
    measurements: Annotated[
        Path,
        typer.Option("--from", help="edgesynth.measurement/1 documents, each on lines of its own.", show_default=False),
    ],
    out: Annotated[
        Path | None,
        typer.Option(help="The model's file; ~/.config/edgesynth/models/TARGET-calibrated.toml if not given."),
    ] = None,
    simulated: Annotated[bool, typer.Option("--simulated", help="Fit on simulated figures too.")] = False,
    json_: Annotated[bool, typer.Option("--json", help="Print one edgesynth.calibration/1 document.")] = False,
) -> int:
    """Refit the model of a board on measurements of it, and say how wrong it is about networks left out of the fit.

    Exit code 1, and no file: the model that it began from is at least as good.
    """
    import json

    from edgesynth_exporters.targets import models_folder

    from edgesynth.energy.calibrate import calibrate as refit

    found = refit(target, _lines(measurements), simulated=simulated)
    path = out or models_folder() / f"{target}-calibrated.toml"
    if found.better:
        _write(path, found.text)
    # In its folder a model is a target by its name, elsewhere by its path.
    model = path.stem if path.parent.resolve() == models_folder().resolve() else str(path)
    if json_:
        typer.echo(json.dumps(_document(target, path, model, found), indent=2))
    else:
        _print(target, path, model, found)
    return 0 if found.better else 1


def _lines(path: Path) -> list[str]:
    from edgesynth.energy.measured_rows import documents_in
    from edgesynth.errors import EdgesynthError

    try:
        return documents_in(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise EdgesynthError(
            f"{path}: cannot be read as text ({getattr(error, 'strerror', None) or error}); "
            "give a file of measurements, as edgesynth bench --json prints them"
        ) from error


def _write(path: Path, text: str) -> None:
    from edgesynth_exporters.files import write_atomically
    from edgesynth_exporters.target_files import NAME

    from edgesynth.errors import EdgesynthError, StorageError

    if path.suffix != ".toml" or not NAME.fullmatch(path.stem):
        raise EdgesynthError(f"{path}: give a name like tx2-mine.toml; without .toml it is the name for --target")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, text.encode())
    except OSError as error:
        raise StorageError(f"{path}: cannot be written ({error.strerror}); name another file with --out") from error


def _document(target: str, path: Path, model: str, found: "Recalibration") -> dict[str, Any]:
    from dataclasses import asdict

    return {
        "schema": "edgesynth.calibration/1",
        "target": target,
        "model": model,
        "out": str(path) if found.better else None,
        "better": found.better,
        **{name: value for name, value in asdict(found).items() if name != "text"},
    }


def _print(target: str, path: Path, model: str, found: "Recalibration") -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(f"{target}, {found.networks} networks left out in turn", box=None)
    for heading in ("median error", "worst", "Spearman"):
        table.add_column(heading, justify="right")
    for name, accuracy in (
        ("latency", found.latency),
        ("  before, not refitted", found.latency_before),
        ("  by multiply-accumulates alone", found.latency_macs_only),
        ("energy", found.energy),
        ("  before, not refitted", found.energy_before),
    ):
        if accuracy is not None:
            rho = "unknown" if accuracy.spearman is None else f"{accuracy.spearman:.2f}"
            table.add_row(name, f"{accuracy.median:.1%}", f"{accuracy.worst:.1%}", rho)
    console = Console()
    console.print(table)
    for skipped in found.skipped:
        console.print(f"line {skipped.line} left out: {skipped.reason}", style="yellow", markup=False, soft_wrap=True)
    said = (
        f"written: {path}, for --target {model}"
        if found.better
        else "not written: the model that it began from is at least as good"
    )
    console.print(said, markup=False, soft_wrap=True)
