"""`edgesynth generate`: more FermiNets from a generator that a run has learned."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgesynth.cli.verdict import exit_code

if TYPE_CHECKING:
    from edgesynth.synthesis.conditions import Demand

__all__ = ["generate"]


def generate(
    run: Annotated[Path, typer.Argument(help="Run directory of `edgesynth synth`.", show_default=False)],
    count: Annotated[int, typer.Option(min=1, help="FermiNets wanted.")] = 4,
    seed: Annotated[int, typer.Option(min=0, help="First seed to give to the generator.")] = 1000,
    epochs: Annotated[int | None, typer.Option(min=0, help="Epochs to train each.", show_default="the run's")] = None,
    require: Annotated[
        list[str] | None, typer.Option(help="A requirement to meet instead of the run's; repeatable.")
    ] = None,
    genomes: Annotated[bool, typer.Option("--genomes", help="Only say which they are; train nothing.")] = False,
    workers: Annotated[int | None, typer.Option(min=1, help="Score and train in so many processes.")] = None,
    ray: Annotated[str | None, typer.Option(help="Score and train on a Ray cluster: HOST:PORT, or 'auto'.")] = None,
    wait_device: Annotated[
        float | None, typer.Option(min=0, help="Wait so many seconds for a board that is gone.", show_default="60")
    ] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")] = False,
) -> int:
    """Make more networks from a learned generator, unlike those that the run has, without learning again.

    The generator serves other budgets than the run's too: --require 'macs<=prototype/8'.

    The same command again finds its networks in the run. Exit code 0: as many as wanted meet everything. 1: fewer do.
    4: it could not be told. With --genomes, 1 if one of them is larger than was asked for.
    """
    from edgesynth.requirements import parse_requirements

    asked = parse_requirements(require) if require else None
    if genomes:
        if (epochs, workers, ray) != (None, None, None):
            raise typer.BadParameter("--genomes trains nothing: leave --epochs, --workers and --ray out")
        return _genomes(run, range(seed, seed + count), asked, json_)
    # All that trains takes its time to import.
    from edgesynth.cli.progress import open_progress
    from edgesynth.report.page import read_results, write_report
    from edgesynth.synthesis.executors import open_executor
    from edgesynth.synthesis.journal import Journal
    from edgesynth.synthesis.question import recorded_question
    from edgesynth.synthesis.run import generate as more
    from edgesynth.synthesis.workshop import WAIT_S

    with open_executor(workers, ray) as executor, Journal.open(run) as journal, open_progress() as progress:
        wait_s = WAIT_S if wait_device is None else wait_device
        targets = list(recorded_question(journal).addresses())
        networks = more(journal, count, seed, epochs, asked, progress, executor, wait_s)
    write_report(run)
    if json_:
        _print({"schema": "edgesynth.networks/1", "networks": [n.model_dump(mode="json") for n in networks]})
    else:
        from edgesynth.cli.tables import print_networks

        print_networks(networks, read_results(run).data.metric, targets)
    return exit_code(networks, count)


def _genomes(run: Path, seeds: range, asked: "Demand | None", json_: bool) -> int:
    """G(s, r) of each seed as it is, without a look at data or weights."""
    from edgesynth.cli.tables import print_genomes
    from edgesynth.space.genome import digest
    from edgesynth.synthesis.generator_file import load_generator

    generator = load_generator(run)
    generator.conditions.check(asked or ())
    demand = generator.conditions.asked if asked is None else asked
    made = [(seed, g, generator.costs.of(g)) for seed, g in zip(seeds, generator.generate(seeds, demand), strict=True)]
    fitting = sum(generator.conditions.fits(demand, costs) for _, _, costs in made)
    if json_:
        genomes = [
            {"seed": seed, "digest": digest(g), "genome": g.model_dump(mode="json"), **vars(costs)}
            for seed, g, costs in made
        ]
        _print({"schema": "edgesynth.genomes/1", "genomes": genomes})
    else:
        print_genomes(made)
    if fitting < len(made):
        typer.echo(f"edgesynth: only {fitting} of {len(made)} are as small as was asked for", err=True)
    return 0 if fitting == len(made) else 1


def _print(document: dict[str, object]) -> None:
    typer.echo(json.dumps(document, indent=2))
