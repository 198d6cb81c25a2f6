"""`edgesynth estimate`: latency and energy of an ONNX file from the model of a target, without a device."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.table import Table

    from edgesynth.energy.estimate import Analysis

__all__ = ["estimate"]


def estimate(
    model: Annotated[Path, typer.Argument(help="ONNX file.", show_default=False)],
    target: Annotated[str, typer.Option(help="Target with a model.")] = "tx2-sim",
    precision: Annotated[str, typer.Option(help="fp32 or fp16.")] = "fp16",
    batch: Annotated[int, typer.Option(help="Images in one inference.", min=1)] = 1,
    power_mode: Annotated[
        int | None, typer.Option(help="Number of the board's power mode; as the model was fitted if not given.")
    ] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print one edgesynth.measurement/1 document.")] = False,
) -> None:
    """Estimate latency, power and inferences per joule of an ONNX file, without a device."""
    from edgesynth.energy.estimate import analyse

    analysis = analyse(model, target, precision, batch, power_mode)
    if json_:
        typer.echo(analysis.measurement.model_dump_json(indent=2))
        return
    from rich.console import Console

    console = Console()
    device = analysis.measurement.device
    console.print(f"{model.name} on {target}, {precision}, batch {batch}: estimated, not measured", markup=False)
    console.print(f"{device['model']}, power mode {device['power_mode']}", style="dim", markup=False)
    console.print(_figures(analysis), _time_by_kind(analysis), sep="\n")
    for warning in analysis.measurement.warnings:
        console.print(f"warning: {warning}", style="yellow", markup=False)


def _figures(analysis: "Analysis") -> "Table":
    """The figures, each with its 95 % interval where the model gives one."""
    from rich.table import Table

    record = analysis.measurement
    table = Table("figure", box=None)
    for heading in ("estimate", "95 % interval"):
        table.add_column(heading, justify="right")
    rows: list[tuple[str, float | None, str, str]] = [
        ("latency", record.latency_ms.mean if record.latency_ms else None, "ms", "latency_ms"),
        ("power", record.power_w, "W", "power_w"),
        ("energy per inference", record.energy_mj, "mJ", "energy_mj"),
        ("inferences per joule", record.inferences_per_joule, "", "inferences_per_joule"),
    ]
    for name, value, unit, key in rows:
        limits = record.ci95.get(key)
        interval = f"{limits[0]:.3g} – {limits[1]:.3g}" if limits else ""
        table.add_row(name, "unknown" if value is None else f"{value:.3g} {unit}".strip(), interval)
    return table


def _time_by_kind(analysis: "Analysis") -> "Table":
    """Where the time goes: waiting for launches, or the GPU busy with arithmetic or with memory traffic."""
    from rich.table import Table

    kernels, timing = analysis.kernels, analysis.timing
    table = Table("kernels", box=None)
    for heading in ("count", "million MACs", "launch ms", "arithmetic ms", "memory ms"):
        table.add_column(heading, justify="right")
    by_arithmetic = timing.arithmetic_ms >= timing.memory_ms
    groups = [(kind, [kernel.kind == kind for kernel in kernels]) for kind in dict.fromkeys(k.kind for k in kernels)]
    for name, chosen in [*groups, ("all", [True] * len(kernels))]:
        table.add_row(
            name,
            str(sum(chosen)),
            f"{sum(kernel.macs for kernel, wanted in zip(kernels, chosen, strict=True) if wanted) / 1e6:,.1f}",
            f"{timing.wait_ms[chosen].sum():.2f}",
            f"{timing.busy_ms[chosen & by_arithmetic].sum():.2f}",
            f"{timing.busy_ms[chosen & ~by_arithmetic].sum():.2f}",
        )
    overhead_ms = float(timing.latency_ms) - timing.wait_ms.sum() - timing.busy_ms.sum()
    table.add_row("overhead", "", "", f"{overhead_ms:.2f}", "", "")
    return table
