"""`edgesynth generate`: more FermiNets from a generator that a run has learned."""

from pathlib import Path
from typing import Annotated

import typer

from edgesynth.cli.verdict import exit_code

__all__ = ["generate"]


def generate(
    run: Annotated[Path, typer.Argument(help="Run directory of `edgesynth synth`.", show_default=False)],
    count: Annotated[int, typer.Option(min=1, help="FermiNets wanted.")] = 4,
    seed: Annotated[int, typer.Option(min=0, help="First seed to give to the generator.")] = 1000,
    epochs: Annotated[int | None, typer.Option(min=0, help="Epochs to train each.  [default: the run's]")] = None,
    require: Annotated[
        list[str] | None, typer.Option(help="A requirement to meet instead of the run's; repeatable.")
    ] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")] = False,
) -> int:
    """Make more networks from a learned generator, unlike those that the run has, without learning again.

    The generator serves other budgets than the run's too: --require 'macs<=prototype/8'.

    The same command again finds its networks in the run. Exit code 0: as many as wanted meet everything. 1: fewer do.
    4: it could not be told.
    """
    import json

    from edgesynth.cli.progress import open_progress
    from edgesynth.report.page import write_report
    from edgesynth.requirements import parse_requirements
    from edgesynth.synthesis.journal import Journal
    from edgesynth.synthesis.run import generate as more

    asked = parse_requirements(require) if require else None
    with Journal.open(run) as journal, open_progress() as progress:
        networks = more(journal, count, seed, epochs, asked, progress)
    write_report(run)
    if json_:
        document = {"schema": "edgesynth.networks/1", "networks": [n.model_dump(mode="json") for n in networks]}
        typer.echo(json.dumps(document, indent=2))
    else:
        from edgesynth.cli.tables import print_networks

        print_networks(networks)
    return exit_code(networks, count)
