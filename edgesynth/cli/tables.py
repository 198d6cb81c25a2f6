"""What commands print for people: tables of networks and measurements, on stdout."""

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from edgesynth.records import Measurement, Network, Results

__all__ = ["print_measurement", "print_networks", "print_results"]


def print_results(results: Results) -> None:
    """The prototype and its FermiNets, and how many of them meet everything."""
    prototype = results.prototype
    table = _table(results.data.metric, [m.target for m in prototype.measurements])
    table.add_row(
        prototype.name,
        *_figures(prototype.val_metric, prototype.test_metric, prototype.params, prototype.macs, prototype.macs),
        f"{prototype.netscore:.1f}",
        *(_target_cell(m) for m in prototype.measurements),
        "",
        end_section=True,
    )
    for network in results.networks:
        table.add_row(*_network_row(network, prototype.macs))
    console = Console()
    console.print(table)
    met = sum(network.satisfied for network in results.networks)
    console.print(f"{met} of {len(results.networks)} FermiNets meet {', '.join(results.requirements)}", markup=False)


def print_networks(networks: Sequence[Network]) -> None:
    """FermiNets alone."""
    table = _table("metric", [m.target for m in networks[0].measurements] if networks else [])
    for network in networks:
        table.add_row(*_network_row(network, None))
    Console().print(table)


def print_measurement(name: str, measurement: Measurement) -> None:
    """One measurement, its unknowns with their reasons."""
    console = Console()
    table = Table("figure", box=None)
    table.add_column(measurement.source, justify="right")
    table.add_column("95 % interval", justify="right")
    latency = measurement.latency_ms
    if latency is not None:
        for label, value in (("mean", latency.mean), ("p50", latency.p50), ("p90", latency.p90), ("p99", latency.p99)):
            if value is not None:
                interval = measurement.ci95.get("latency_ms") if label == "mean" else None
                shown = "" if interval is None else f"{interval[0]:.4g} – {interval[1]:.4g}"
                table.add_row(f"latency {label}", f"{value:.4g} ms", shown)
    table.add_row("energy per inference", _or_unknown(measurement.energy_mj, "mJ"), "")
    table.add_row("inferences per joule", _or_unknown(measurement.inferences_per_joule, ""), "")
    engine = measurement.engine
    console.print(f"{name} on {measurement.target}, {engine.backend} {engine.version}", markup=False)
    console.print(table)
    for warning in measurement.warnings:
        console.print(f"warning: {warning}", style="yellow", markup=False)


def _table(metric: str, targets: Sequence[str]) -> Table:
    table = Table("network", box=None, header_style="bold")
    for heading in (f"{metric} val", "test", "parameters", "MACs", "fewer", "NetScore", *targets):
        table.add_column(heading, justify="right")
    table.add_column("requirements")
    return table


def _network_row(network: Network, prototype_macs: int | None) -> list[str | Text]:
    return [
        network.name,
        *_figures(network.val_metric, network.test_metric, network.params, network.macs, prototype_macs),
        f"{network.netscore:.1f}",
        *(_target_cell(m) for m in network.measurements),
        _verdict(network),
    ]


def _figures(
    val: float, test: float | None, params: int, macs: int, prototype_macs: int | None
) -> tuple[str, str, str, str, str]:
    fewer = "" if prototype_macs is None else f"{prototype_macs / macs:.1f}x"
    return f"{val:.2%}", "" if test is None else f"{test:.2%}", f"{params:,}", f"{macs:,}", fewer


def _target_cell(measurement: Measurement) -> str:
    """Latency and joules, with the word that says how they came about."""
    latency = "? ms" if measurement.latency_ms is None else f"{measurement.latency_ms.mean:.3g} ms"
    joules = "" if measurement.inferences_per_joule is None else f", {measurement.inferences_per_joule:.3g}/J"
    return f"{latency}{joules} {measurement.source}"


def _verdict(network: Network) -> Text:
    if network.satisfied:
        return Text("all met", style="green")
    failed = [text for text, met in network.requirements.items() if met is False]
    unknown = [text for text, met in network.requirements.items() if met is None]
    words = [f"not met: {', '.join(failed)}"] if failed else []
    words += [f"not known: {', '.join(unknown)}"] if unknown else []
    return Text("; ".join(words), style="red")


def _or_unknown(value: float | None, unit: str) -> str:
    return "unknown" if value is None else f"{value:.4g} {unit}".strip()
