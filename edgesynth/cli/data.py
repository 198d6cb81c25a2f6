"""edgesynth data: which data sets there are, and getting them."""

from typing import Annotated

import typer

__all__ = ["app"]

app = typer.Typer(help="Data sets: what is there, and how to get the rest.", no_args_is_help=True)


@app.command("ls")
def ls(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """List the data sets with a name, and where each one is or how to get it."""
    import json

    from edgesynth.data import sources

    rows = [(source, source.availability()) for source in sources()]
    if as_json:
        entries = [
            {
                "name": source.name,
                "ready": available.ready,
                "where": available.where,
                "images": source.images,
                "classes": source.num_classes,
            }
            for source, available in rows
        ]
        typer.echo(json.dumps({"schema": "edgesynth.datasets/1", "datasets": entries}, indent=2))
        return

    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table("name", "ready", "where, or how to get it", box=None)
    table.add_column("images", justify="right")
    table.add_column("classes", justify="right")
    for source, available in rows:
        ready, style = ("yes", "green") if available.ready else ("no", "yellow")
        table.add_row(
            source.name,
            Text(ready, style=style),
            Text(available.where, overflow="fold"),
            "" if source.images is None else f"{source.images:,}",
            "" if source.num_classes is None else str(source.num_classes),
        )
    console = Console()
    console.print(table)
    console.print("--data also takes a folder with a folder of images for each class.", style="dim", markup=False)


@app.command("fetch")
def fetch(
    name: Annotated[str, typer.Argument(help="A name from `edgesynth data ls`.", show_default=False)],
) -> None:
    """Get a data set onto this machine, verified; does nothing if it is there already."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    from edgesynth.data import find_source

    source = find_source(name)
    columns = TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn()
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        tasks = {}

        def show(file: str, done: int, total: int) -> None:
            if file not in tasks:
                tasks[file] = bar.add_task(file, total=total)
            bar.update(tasks[file], completed=done)

        folder = source.fetch(show)
    typer.echo(f"{source.name} is ready" + ("" if folder is None else f": {folder}"))
