"""One cell, from compression to its result file. What is done is kept, so that a stopped cell goes on."""

import json
import shutil
from collections.abc import Callable
from typing import Any

from torch import nn

from benchmarks.classification.cells import Cell, Places
from benchmarks.classification.contestants import find_contestant
from benchmarks.classification.contestants.base import Compressed, ContestantError, reshaped
from benchmarks.classification.environment import environment, file_digest
from benchmarks.classification.material import Material, Stopwatch, open_material, prototype_weights
from benchmarks.classification.protocol import Protocol
from edgesynth.records import Genome, Network
from edgesynth.space.cost import count
from edgesynth.space.surgery import identity_ranking, materialise
from edgesynth.space.trace import trace
from edgesynth.synthesis.scoring import RECALIBRATION
from edgesynth.synthesis.storage import load_weights, save_weights, write_json
from edgesynth.synthesis.training import Recipe, recalibrate, seed_of, train

__all__ = ["run_cell"]

Say = Callable[[str], None]


def run_cell(protocol: Protocol, places: Places, cell: Cell, say: Say) -> None:
    """Compress, finish, judge, and write the cell's result, once and whole.

    A contestant that cannot do it has a result too, which says why. Whatever else goes wrong is raised.
    """
    material = open_material(protocol, places, cell.seed)
    result: dict[str, Any] = {
        "schema": "edgesynth.benchmark.cell/1",
        "protocol": protocol.name,
        "protocol_digest": protocol.digest(cell.contestant),
        "contestant": cell.contestant,
        "budget": cell.budget,
        "seed": cell.seed,
        "macs_limit": material.limit(cell.budget),
        "prototype_sha256": file_digest(prototype_weights(places, cell.seed)),
    }
    try:
        compressed = _compress(material, cell, say)
    except ContestantError as error:
        # Not ours to mend: the page shows it as it is.
        reason = str(error).strip()
        say(f"{cell.name}: failed, {reason}")
        write_json(places.result(cell), {**result, "status": "failed", "reason": reason, "environment": environment()})
        return
    result |= {"status": "finished", "reason": None}
    result |= _finish(material, cell, compressed, say)
    write_json(places.result(cell), {**result, "environment": compressed.environment or environment()})
    # Whoever deletes the result wants it done again.
    shutil.rmtree(places.folder(cell))
    say(f"{cell.name}: {result['test_accuracy']:.2%} of the test images at {result['macs']:,} MACs")


def _compress(material: Material, cell: Cell, say: Say) -> Compressed:
    """The contestant's network; from the cell's folder, if it was made before."""
    folder = material.places.folder(cell)
    known, weights = folder / "compressed.json", folder / "compressed.safetensors"
    digest = material.protocol.digest(cell.contestant)
    if not (known.is_file() and json.loads(known.read_text())["protocol_digest"] == digest):
        say(f"{cell.name}: compressing")
        made = find_contestant(cell.contestant)(material, cell.budget)
        macs = material.macs(made.module)
        if macs > material.limit(cell.budget):
            raise ContestantError(f"{macs:,} MACs, more than {material.limit(cell.budget):,}")
        save_weights(weights, made.module)
        recorded = {
            "protocol_digest": digest,
            "cpu_s": made.cpu_s,
            "taught": made.taught,
            "genome": None if made.genome is None else made.genome.model_dump(),
            "finished": None if made.finished is None else made.finished.model_dump(mode="json"),
            "finished_cpu_s": made.finished_cpu_s,
            "environment": made.environment and dict(made.environment),
            "details": dict(made.details),
        }
        for stale in folder.glob("finishing*"):
            stale.unlink()
        write_json(known, recorded)
        say(f"{cell.name}: {macs:,} MACs after {made.cpu_s:.0f} CPU-seconds")
    recorded = json.loads(known.read_text())
    genome = None if recorded["genome"] is None else Genome.model_validate(recorded["genome"])
    state = load_weights(weights)
    if genome is None:
        module: nn.Module = reshaped(material.prototype, state)
    else:
        space = trace(material.prototype, material.example)
        module = materialise(space, genome, identity_ranking(space.groups))
        module.load_state_dict(state)
    return Compressed(
        module,
        recorded["cpu_s"],
        taught=recorded["taught"],
        genome=genome,
        finished=None if recorded["finished"] is None else Network.model_validate(recorded["finished"]),
        finished_cpu_s=recorded["finished_cpu_s"],
        environment=recorded["environment"],
        details=recorded["details"],
    )


def _finish(material: Material, cell: Cell, compressed: Compressed, say: Say) -> dict[str, Any]:
    """Train unless it comes finished, and take the figures. Here the test images are read, once; of a network that
    comes finished they have been."""
    module = compressed.module
    known = compressed.finished
    if known is None:
        finish_cpu_s = _train(material, cell, compressed, say)
        accuracies = [material.accuracy(module, split) for split in (material.data.val, material.data.test)]
    else:
        finish_cpu_s, accuracies = compressed.finished_cpu_s, [known.val_metric, known.test_metric]
    costs = count(module, material.example)
    return {
        "val_accuracy": accuracies[0],
        "test_accuracy": accuracies[1],
        "macs": costs.macs,
        "params": costs.params,
        "search_cpu_s": compressed.cpu_s,
        "finish_cpu_s": finish_cpu_s,
        "distilled": compressed.taught,
        "genome": None if compressed.genome is None else compressed.genome.model_dump(),
        "widths": {name: layer.out_channels for name, layer in module.named_modules() if isinstance(layer, nn.Conv2d)},
        "details": dict(compressed.details),
    }


def _train(material: Material, cell: Cell, compressed: Compressed, say: Say) -> float:
    """The same for everyone: batch norm measured anew, the same epochs from the same seed; CPU-seconds."""
    protocol, folder, module = material.protocol, material.places.folder(cell), compressed.module
    checkpoint, progress = folder / "finishing.checkpoint", folder / "finishing.json"
    gone_on = checkpoint.is_file() and progress.is_file()
    watch = Stopwatch(json.loads(progress.read_text())["cpu_s"] if gone_on else 0.0)

    def look(done: int, trained: nn.Module) -> None:
        # Before the checkpoint: a training that goes on from there does not come this way again.
        write_json(progress, {"cpu_s": watch.cpu_s})

    def on_epoch(done: int, loss: float) -> None:
        say(f"{cell.name}: epoch {done}/{protocol.finish_epochs}, loss {loss:.3f}, {watch.cpu_s:.0f} s")

    recalibrate(module, material.train.images[:RECALIBRATION])
    train(
        module,
        material.task,
        material.train,
        Recipe(protocol.finish_epochs, protocol.peak_lr),
        seed=seed_of(material.seed, 4),
        mirror=material.data.mirror,
        teacher=material.teacher() if compressed.taught else None,
        checkpoint=checkpoint,
        look=look,
        on_epoch=on_epoch,
    )
    return watch.cpu_s
