"""Synthesis driven by multiply-accumulates against synthesis driven by joules, from the same prototypes.

The networks of the former are those of benchmarks/classification; the latter is run here by the same protocol, with a
requirement on the TX2's model in place of one on multiply-accumulates.
"""

import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from edgesynth_exporters.export import export_onnx

from benchmarks.classification.cells import Places
from benchmarks.classification.latency import OPSET, latencies
from benchmarks.classification.material import Material, make_prototype, open_material
from benchmarks.classification.protocol import FULL
from benchmarks.classification.run_of_edgesynth import GENERATE_FROM, Spent, inheritance, make_run, question_of
from benchmarks.energy.provenance import HERE
from edgesynth.energy.estimate import estimate
from edgesynth.records import Network
from edgesynth.report.page import read_results
from edgesynth.requirements import parse_requirements
from edgesynth.synthesis.exporting import rebuild
from edgesynth.synthesis.journal import FILE, Journal
from edgesynth.synthesis.question import recorded_question
from edgesynth.synthesis.run import generate, own_networks, synthesize

__all__ = ["drive", "equally_accurate"]

REQUIREMENTS = ("inferences_per_joule@tx2-sim>=1.6*prototype", "inferences_per_joule@tx2-sim>=1.7*prototype")
"""What the generator is learned for, and what it is asked besides. At 28x28 one droppable block can stay, or none; more
than 1.78 cannot be had at all (`bounds`)."""


def drive(seeds: Sequence[int], say: Callable[[str], None]) -> dict[str, Any]:
    """Both for those seeds. What is done already is taken from benchmarks/energy/work; what was stopped goes on."""
    torch.set_num_threads(1)
    return {"requirements": list(REQUIREMENTS), "seeds": [_seed(seed, say) for seed in seeds]}


def _seed(seed: int, say: Callable[[str], None]) -> dict[str, Any]:
    places = Places.of(FULL)
    make_prototype(FULL, places, seed, say)
    material = open_material(FULL, places, seed)
    make_run(material, say)
    by_macs = {f"macs<=prototype/{b}": found for b, found in inheritance(material).networks.items()}
    by_joules, spent = _driven_by_joules(material, say)
    told = {
        "prototype": {
            "val_accuracy": material.accuracy(material.prototype, material.data.val),
            "test_accuracy": material.accuracy(material.prototype, material.data.test),
            "macs": material.costs.macs,
        }
    }
    driven = by_macs | by_joules
    told |= {network.name: _told(asked, network) for asked, found in driven.items() for network in found}
    genomes = {network.name: network.genome for found in driven.values() for network in found}
    files = {name: HERE / "work" / "onnx" / f"{seed}-{name}.onnx" for name in told}
    for name, file in files.items():
        file.parent.mkdir(parents=True, exist_ok=True)
        classes = len(material.data.classes)
        module = rebuild(FULL.prototype, material.data.input_shape, classes, (), genomes.get(name))
        export_onnx(module, material.example, file, OPSET)
    here_ms = dict(zip(files, latencies(list(files.values())), strict=True))
    networks = [{"name": name, **told[name], **_costs(files[name]), "host_ms": here_ms[name]} for name in told]
    return {"seed": seed, "learning_cpu_s": spent, "networks": networks, "pairs": equally_accurate(networks)}


def equally_accurate(networks: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """For every network that joules drove, the one of least energy among those that MACs drove, and the prototype, that
    are at least as accurate on validation images; how many times its joules."""
    pairs = []
    others = [network for network in networks if network.get("requirement") not in REQUIREMENTS]
    for network in networks:
        if network in others:
            continue
        as_good = [other for other in others if other["val_accuracy"] >= network["val_accuracy"]]
        best = min(as_good, key=lambda other: other["mj"], default=None)
        pairs.append(
            {
                "joules": network["name"],
                "macs": None if best is None else best["name"],
                "times": None if best is None else round(best["mj"] / network["mj"], 3),
                "median_times": round(statistics.median(o["mj"] for o in as_good) / network["mj"], 3)
                if as_good
                else None,
            }
        )
    return pairs


def _driven_by_joules(material: Material, say: Callable[[str], None]) -> tuple[dict[str, list[Network]], float]:
    """Its networks by what was asked, and the CPU-seconds of learning."""
    run = HERE / "work" / f"joules-seed{material.seed}"
    run.mkdir(parents=True, exist_ok=True)
    spent = Spent(run / "spent.json", say)
    with _journal(run, material) as journal:
        question = recorded_question(journal)
        done = journal.get("run", "finished") is not None
        results = read_results(run) if done else synthesize(question, journal, spent)
        networks = {REQUIREMENTS[0]: own_networks(journal, results)}
        for asked in REQUIREMENTS[1:]:
            made = generate(journal, question.count, GENERATE_FROM, None, parse_requirements([asked]), spent)
            networks[asked] = made
    seconds = spent.seconds()
    return networks, round(sum(seconds.get(work, 0.0) for work in ("shared", "learning", "pilot")), 1)


def _journal(run: Path, material: Material) -> Journal:
    if (run / FILE).is_file():
        return Journal.open(run)
    return Journal.create(run, question_of(material, REQUIREMENTS[0]).model_dump(mode="json"))


def _told(asked: str, network: Network) -> dict[str, Any]:
    return {
        "requirement": asked,
        "val_accuracy": network.val_metric,
        "test_accuracy": network.test_metric,
        "macs": network.macs,
        "blocks": sum(network.genome.blocks.values()),
    }


def _costs(file: Path) -> dict[str, Any]:
    measurement = estimate(file, "tx2-sim")
    if measurement.latency_ms is None or measurement.energy_mj is None:
        raise ValueError("tx2-sim knows both")
    kernels = measurement.engine.flags.get("kernels")
    return {"kernels": kernels, "ms": round(measurement.latency_ms.mean, 4), "mj": round(measurement.energy_mj, 4)}
