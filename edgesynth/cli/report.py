"""`edgesynth report`: the page of a run."""

import json
from pathlib import Path
from typing import Annotated

import typer

__all__ = ["report"]


def report(
    run: Annotated[Path, typer.Argument(help="Run directory that `edgesynth synth` wrote.", show_default=False)],
    json_: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Write one self-contained HTML page about a run, RUN/report.html."""
    from edgesynth.report.page import write_report

    path = write_report(run)
    typer.echo(json.dumps({"report": str(path)}) if json_ else str(path))
