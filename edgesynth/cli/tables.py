"""What commands print for people: tables of networks and measurements, on stdout."""

from collections.abc import Collection, Iterator, Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from edgesynth.records import Genome, Measurement, Network, PrototypeInfo, Results, Rung
from edgesynth.report.quantities import counted, of_the_run
from edgesynth.synthesis.rungs import why_unknown

if TYPE_CHECKING:
    from edgesynth.devices.comparison import Comparison

    # It imports torch.
    from edgesynth.space.cost import Costs

__all__ = ["print_comparison", "print_genomes", "print_measurement", "print_networks", "print_results"]


def print_results(results: Results, targets: Collection[str]) -> None:
    """The prototype and its FermiNets with their figures on `targets`, and how many of them meet everything."""
    prototype = results.prototype
    asked = [m for m in prototype.measurements if m.target in targets]
    table = _table(results.data.metric, asked)
    table.add_row(
        prototype.name,
        *_figures(prototype, prototype.macs),
        *_target_cells(asked, asked),
        "",
        end_section=True,
    )
    for network in results.networks:
        table.add_row(*_network_row(network, prototype.macs, results.requirements, asked))
    console = _console()
    console.print(table)
    console.print(counted(of_the_run(results), ", ".join(results.requirements)), markup=False)
    for rung in results.generator.rungs:
        console.print(f"rank correlation with the finished result: {_rank(rung)}", markup=False)


def print_networks(networks: Sequence[Network], metric: str, targets: Collection[str]) -> None:
    """FermiNets alone, all made for the same requirements, with their figures on `targets`, and how many of them meet
    those."""
    columns = [m for m in networks[0].measurements if m.target in targets] if networks else []
    table = _table(metric, columns)
    asked = list(networks[0].requirements) if networks else []
    for network in networks:
        table.add_row(*_network_row(network, None, asked, columns))
    console = _console()
    console.print(table)
    console.print(counted(networks, ", ".join(asked)) if networks else "no further FermiNet was found", markup=False)


def print_genomes(made: "Sequence[tuple[int, Genome, Costs]]") -> None:
    """Seeds and the networks they stand for; a group that its block takes along has width 0."""
    table = Table(box=None, header_style="bold")
    for heading in ("seed", "MACs", "parameters"):
        table.add_column(heading, justify="right", no_wrap=True)
    for heading in ("input", "channels, group by group", "dropped blocks"):
        table.add_column(heading)
    for seed, genome, costs in made:
        table.add_row(
            str(seed),
            f"{costs.macs:,}",
            f"{costs.params:,}",
            "whole" if genome.resolution is None else "x".join(map(str, genome.resolution)),
            " ".join(map(str, genome.widths.values())),
            Text(", ".join(name for name, kept in genome.blocks.items() if not kept)),
        )
    _console().print(table)


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
                interval = _interval(measurement, "latency_ms") if label == "mean" else ""
                table.add_row(f"latency {label}", f"{value:.4g} ms", interval)
    per_joule = measurement.inferences_per_joule
    table.add_row("energy per inference", _or_unknown(measurement.energy_mj, "mJ"), _interval(measurement, "energy_mj"))
    table.add_row("inferences per joule", _or_unknown(per_joule, ""), _interval(measurement, "inferences_per_joule"))
    engine = measurement.engine
    console.print(f"{name} on {measurement.target}, {engine.backend} {engine.version}", markup=False)
    console.print(table)
    compared = measurement.reference
    if compared is not None and compared.max_abs_error is not None:
        same = "" if compared.argmax_agreement is None else f", same answer on {compared.argmax_agreement:.2%}"
        console.print(f"as exported: greatest error {compared.max_abs_error:.2g}{same} of {compared.images} images")
    for warning in measurement.warnings:
        console.print(f"warning: {warning}", style="yellow", markup=False)


def _interval(measurement: Measurement, name: str) -> str:
    ends = measurement.ci95.get(name)
    return "" if ends is None else f"{ends[0]:.4g} – {ends[1]:.4g}"


def print_comparison(comparison: "Comparison") -> None:
    """The second network's figures over the first's, with intervals."""
    table = Table("figure", box=None)
    table.add_column("ratio", justify="right")
    table.add_column("95 % interval", justify="right")
    for name, ratio in comparison.ratios.items():
        if ratio is None:
            table.add_row(name, "unknown", "")
        else:
            table.add_row(name, f"{ratio.ratio:.4g}", f"{ratio.ci95[0]:.4g} – {ratio.ci95[1]:.4g}")
    record = comparison.rounds[0].first[0]
    engine = f"{record.engine.backend} {record.engine.version}"
    console = Console()
    console.print(
        f"{comparison.second} over {comparison.first} on {record.target}, {engine}, "
        f"{len(comparison.rounds)} rounds, {record.source}",
        markup=False,
    )
    console.print(table)
    for warning in comparison.warnings:
        console.print(f"warning: {warning}", style="yellow", markup=False)


def _rank(rung: Rung) -> str:
    if rung.spearman is None:
        return f"{rung.name} unknown: {why_unknown(rung)}"
    return f"{rung.name} {rung.spearman:.2f} (n = {rung.networks})"


def _console() -> Console:
    """Stdout; a file or a pipe gets lines as long as the table needs them."""
    console = Console()
    return console if console.is_terminal else Console(width=160)


def _table(metric: str, measurements: Sequence[Measurement]) -> Table:
    table = Table(box=None, header_style="bold")
    table.add_column("network", no_wrap=True)
    for heading in (f"{metric}\nval", "\ntest", "parameters", "MACs", "fewer\nMACs", "NetScore"):
        table.add_column(heading, justify="right", no_wrap=True)
    for measurement in measurements:
        table.add_column(f"{measurement.target}\n{measurement.source} ms", justify="right")
        if measurement.inferences_per_joule is not None:
            table.add_column(f"inferences/J\n{measurement.source}", justify="right")
    table.add_column("requirements")
    return table


def _network_row(
    network: Network, prototype_macs: int | None, asked: Sequence[str], columns: Sequence[Measurement]
) -> list[str | Text]:
    cells = _target_cells(columns, network.measurements)
    return [network.name, *_figures(network, prototype_macs), *cells, _verdict(network, asked)]


def _figures(network: Network | PrototypeInfo, prototype_macs: int | None) -> list[str]:
    return [
        f"{network.val_metric:.2%}",
        "" if network.test_metric is None else f"{network.test_metric:.2%}",
        f"{network.params:,}",
        f"{network.macs:,}",
        "" if prototype_macs is None else f"{prototype_macs / network.macs:.1f}x",
        f"{network.netscore:.1f}",
    ]


def _target_cells(columns: Sequence[Measurement], measurements: Sequence[Measurement]) -> Iterator[str]:
    """Latency and inferences per joule, as far as `_table` has columns for them."""
    by_target = {measurement.target: measurement for measurement in measurements}
    for column in columns:
        told = by_target.get(column.target)
        latency = None if told is None else told.latency_ms
        yield "unknown" if latency is None else f"{latency.mean:.3g}"
        if column.inferences_per_joule is not None:
            per_joule = None if told is None else told.inferences_per_joule
            yield "unknown" if per_joule is None else f"{per_joule:.3g}"


def _verdict(network: Network, asked: Sequence[str]) -> Text:
    """In words; requirements other than those `asked` for above the table are named."""
    if network.satisfied:
        own = network.requirements.keys() == set(asked)
        return Text("all met" if own else f"met: {', '.join(network.requirements)}", style="green")
    failed = [text for text, met in network.requirements.items() if met is False]
    unknown = [text for text, met in network.requirements.items() if met is None]
    words = [f"not met: {', '.join(failed)}"] if failed else []
    words += [f"not known: {', '.join(unknown)}"] if unknown else []
    return Text("; ".join(words), style="red")


def _or_unknown(value: float | None, unit: str) -> str:
    return "unknown" if value is None else f"{value:.4g} {unit}".strip()
