"""edgesynth targets: which kinds of device there are, and what each one takes."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from edgesynth_exporters.targets import Target
    from rich.table import Table
    from rich.text import Text

__all__ = ["app"]

app = typer.Typer(help="Targets: the kinds of device, and what runs on each.", no_args_is_help=True)


@app.command("ls")
def ls(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """List the targets, your own from ~/.config/edgesynth/targets.toml and $EDGESYNTH_TARGETS included."""
    import json

    from edgesynth_exporters.targets import all_targets, total_power_rule

    targets = list(all_targets().values())
    if as_json:
        typer.echo(json.dumps({"schema": "edgesynth.targets/1", "targets": [_summary(t) for t in targets]}, indent=2))
        return

    from edgesynth_exporters.plain import plain
    from rich.table import Table
    from rich.text import Text

    table = Table("name", "what", "JetPack", "TensorRT", box=None)
    table.add_column("opset", justify="right")
    table.add_column("precisions")
    table.add_column("total power")
    for target in targets:
        cells = (
            target.name,
            target.description,
            target.jetpack or "",
            target.tensorrt or "",
            str(target.opset),
            " ".join(target.precisions),
            total_power_rule(target),
        )
        table.add_row(*(Text(plain(cell)) for cell in cells))
    _print(table)


@app.command("show")
def show(
    name: Annotated[str, typer.Argument(help="A name from `edgesynth targets ls`.", show_default=False)],
    as_json: Annotated[bool, typer.Option("--json", help="Print one edgesynth.target/1 document.")] = False,
) -> None:
    """Show everything about a target, with the source of each fact."""
    import dataclasses
    import json

    from edgesynth_exporters.targets import find_target

    target = find_target(name)
    if as_json:
        document = {"schema": "edgesynth.target/1"} | dataclasses.asdict(target)
        typer.echo(json.dumps(document, indent=2, ensure_ascii=False))
        return
    _print(*([_facts(target), _modes(target)] if target.power_modes else [_facts(target)]))


def _summary(target: "Target") -> dict[str, Any]:
    names = "name description kind source based_on jetpack tensorrt opset precisions total_power defined_in"
    return {name: getattr(target, name) for name in names.split()}


def _facts(target: "Target") -> "Table":
    """Fact, value, and where it comes from or why there is none."""
    from edgesynth_exporters.plain import plain
    from edgesynth_exporters.targets import FACTS, total_power_rule
    from rich.table import Table
    from rich.text import Text

    shown = {
        "opset": f"{target.opset} at most",
        "precisions": ", ".join(target.precisions),
        "memory_mib": f"{target.memory_mib:,} MiB" if target.memory_mib else "",
        "rails": " ".join(target.rails),
        "total_power": total_power_rule(target),
        "power_modes": f"{len(target.power_modes)}, below" if target.power_modes else "",
    }
    heads = {"l4t": "L4T", "cuda": "CUDA", "tensorrt": "TensorRT", "jetpack": "JetPack", "python": "Python"}
    heads |= {"memory_mib": "memory"}
    table = Table("fact", "value", "source, or why there is no value", box=None)
    table.title, table.title_justify = _title(target), "left"
    before = ""
    for fact in FACTS:
        value = shown.get(fact, getattr(target, fact)) or "–"
        origin = target.sources.get(fact) or target.reasons.get(fact, "")
        shown_origin = Text("the same" if origin == before else plain(origin), style="dim", overflow="fold")
        table.add_row(heads.get(fact, fact.replace("_", " ")), Text(plain(value), overflow="fold"), shown_origin)
        before = origin
    return table


def _title(target: "Target") -> "Text":
    from edgesynth_exporters.plain import plain
    from rich.text import Text

    kinds = {
        "board": "a board; figures are measured there",
        "host": "figures are measured here",
        "model": "a model; figures are estimated",
    }
    based = f", based on {target.based_on}" if target.based_on else ""
    defined = f", defined in {target.defined_in}" if target.defined_in else ""
    return Text(plain(f"{target.name}: {target.description} ({kinds[target.kind]}{based}{defined})"))


def _modes(target: "Target") -> "Table":
    """Power modes with the greatest clocks that each one leaves."""
    from edgesynth_exporters.plain import plain
    from rich.table import Table
    from rich.text import Text

    table = Table("mode", "name", "processors", box=None, title="\nPower modes, greatest clocks", title_justify="left")
    for heading in ("processor MHz", "GPU MHz", "memory MHz"):
        table.add_column(heading, justify="right")
    for mode in target.power_modes:
        clocks = (mode.cpu_mhz, mode.gpu_mhz, mode.memory_mhz)
        name = f"{mode.name} (default)" if mode.default else mode.name
        cells = (str(mode.id), name, mode.cpus, *("not capped" if c is None else f"{c:g}" for c in clocks))
        table.add_row(*(Text(plain(cell)) for cell in cells))
    return table


def _print(*tables: "Table") -> None:
    """To stdout; a file or a pipe gets lines as long as the tables need them."""
    from rich.console import Console

    console = Console()
    (console if console.is_terminal else Console(width=160)).print(*tables, sep="\n")
