"""What one learned generator is good for: a family of networks, other budgets, and how far small networks get.

A run of its own, from a prototype trained for longer, by the protocol `family`.
"""

import itertools
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.classification.cells import Places, read_result
from benchmarks.classification.environment import child_environment, environment
from benchmarks.classification.material import make_prototype, open_material
from benchmarks.classification.protocol import Protocol
from benchmarks.classification.run_of_edgesynth import GENERATE_FROM, inheritance, make_run, run_folder
from edgesynth.records import Genome, Network
from edgesynth.report.page import read_results
from edgesynth.requirements import parse_requirements
from edgesynth.synthesis.generator import Generator
from edgesynth.synthesis.generator_file import load_generator
from edgesynth.synthesis.journal import Journal
from edgesynth.synthesis.progress import Progress
from edgesynth.synthesis.run import generate
from edgesynth.synthesis.storage import write_json

__all__ = ["make_family"]

SEED = 0
TIMED = 5
"""Times that `edgesynth generate --genomes` is called."""


def make_family(protocol: Protocol, places: Places, say: Callable[[str], None]) -> None:
    """Do what is missing, or go on with it, and write family.json."""
    make_prototype(protocol, places, SEED, say)
    material = open_material(protocol, places, SEED)
    make_run(material, say)
    settings, run, left = protocol.settings["family"], run_folder(material), inheritance(material)
    generator = load_generator(run)
    prototype = read_result(places.prototype_result(SEED)) or {}
    # A pilot is not of the learned generator.
    networks = [network for network in left.networks[protocol.budgets[0]] if network.cycle is None]
    networks += _further(run, settings["further"], say)
    document = {
        "schema": "edgesynth.benchmark.family/1",
        "protocol_digest": protocol.digest("family"),
        "prototype": {key: prototype[key] for key in ("val_accuracy", "test_accuracy", "macs", "training_cpu_s")},
        "learning_cpu_s": left.learning_cpu_s,
        "networks": [_told(network) for network in networks],
        "mean_distance": _mean_distance(generator, [network.genome for network in networks]),
        "seeds": settings["seeds"],
        "within_budget": {str(b): _within(generator, b, settings["seeds"]) for b in settings["budgets"]},
        "genomes_s": _seconds_for_genomes(run),
        "spots": [_spot(run, spot, say) for spot in settings["spots"]],
        "environment": left.environment,
        # Who timed the genomes; networks that came after the run were made in between.
        "written": environment(),
    }
    write_json(places.results / "family.json", document)
    say(f"written to {places.results / 'family.json'}")


def _further(run: Path, count: int, say: Callable[[str], None]) -> list[Network]:
    """More networks of the same generator and budget, unlike those that the run itself has finished."""
    say(f"{count} more networks of the same generator")
    with Journal.open(run) as journal:
        return generate(journal, count, GENERATE_FROM, None, None, Progress())


def _told(network: Network) -> dict[str, Any]:
    return network.model_dump(include={"name", "macs", "params", "val_metric", "test_metric", "epochs"})


def _mean_distance(generator: Generator, genomes: Sequence[Genome]) -> float:
    """Over all pairs, the mean difference of groups (shares of channels), blocks (kept or not) and input size."""
    return statistics.mean(_distance(generator, one, other) for one, other in itertools.combinations(genomes, 2))


def _distance(generator: Generator, one: Genome, other: Genome) -> float:
    widths = [abs(one.widths[g.name] - other.widths[g.name]) / g.channels for g in generator.groups]
    choices = [one.blocks[b.name] != other.blocks[b.name] for b in generator.blocks]
    if len(generator.costs.resolutions) > 1:
        choices.append(one.resolution != other.resolution)
    return statistics.mean([*widths, *map(float, choices)])


def _within(generator: Generator, budget: int, seeds: int) -> int:
    """How many of the seeds give a network within the budget, without learning again."""
    asked = parse_requirements([f"macs<=prototype/{budget}"])
    genomes = generator.generate(range(seeds), asked)
    return sum(generator.conditions.fits(asked, generator.costs.of(genome)) for genome in genomes)


def _seconds_for_genomes(run: Path) -> float:
    """Of the whole command that asks the generator for eight genomes: the median of a few calls."""
    command = [sys.executable, "-m", "edgesynth", "generate", str(run), "--count", "8", "--genomes", "--json"]
    times = []
    for _ in range(TIMED):
        start = time.perf_counter()
        subprocess.run(command, env=child_environment(), capture_output=True, check=True)
        times.append(time.perf_counter() - start)
    return round(statistics.median(times), 2)


def _spot(run: Path, spot: dict[str, Any], say: Callable[[str], None]) -> dict[str, Any]:
    """The network under these bounds that is best on validation images, of those that were finished for them."""
    say(f"networks under {', '.join(spot['require'])}")
    made = _finished_under(run, spot)
    if len(made) < spot["count"]:
        with Journal.open(run) as journal:
            made = generate(journal, spot["count"], 1, spot["epochs"], parse_requirements(spot["require"]), Progress())
    if not made:
        raise ValueError(f"no network could be finished under {spot['require']}")
    best = max(made, key=lambda network: network.val_metric)
    return {"require": spot["require"], "finished": len(made), **_told(best)}


def _finished_under(run: Path, spot: dict[str, Any]) -> list[Network]:
    """What the run has already that was made for these bounds, also by an edgesynth that chose otherwise."""
    networks = read_results(run).networks
    return [n for n in networks if set(n.requirements) == set(spot["require"]) and n.epochs == spot["epochs"]]
