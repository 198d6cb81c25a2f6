"""What every cell starts from: the data as the product splits it, a trained prototype, and the prototype's answers."""

import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.classification.cells import Places
from benchmarks.classification.environment import environment
from benchmarks.classification.protocol import Protocol
from edgesynth.data import DataSet, Split, find_source
from edgesynth.prototypes import PROTOTYPES
from edgesynth.space.cost import Costs, count
from edgesynth.synthesis.storage import load_weights, save_weights, to_bytes, write_file, write_json
from edgesynth.synthesis.training import Recipe, Teacher, outputs, seed_of, train
from edgesynth.tasks import Classification

__all__ = ["Material", "Stopwatch", "make_prototype", "open_material", "prototype_weights"]

PUBLISHED = Path(__file__).parent / "prototypes"
"""The prototypes that the results in the repository were made from, a folder a protocol."""


@dataclass(frozen=True)
class Material:
    """`train` is what is trained on, `scoring` what candidates are scored on; `costs` are the prototype's."""

    protocol: Protocol
    places: Places
    seed: int
    data: DataSet
    train: Split
    scoring: Split
    task: Classification
    prototype: nn.Module
    costs: Costs

    @property
    def example(self) -> Tensor:
        """One image."""
        return torch.zeros(1, *self.data.input_shape)

    def limit(self, budget: int) -> int:
        """The multiply-accumulates that a network may have."""
        return self.costs.macs // budget

    def macs(self, module: nn.Module) -> int:
        """By the one counter of this comparison."""
        return count(module, self.example).macs

    def accuracy(self, module: nn.Module, split: Split) -> float:
        return self.task.evaluate(outputs(module, split.images), split.targets)

    def teacher(self) -> Teacher:
        """The prototype's answers to the training images, worked out once a prototype."""
        return Teacher(**load_weights(_answers(self.places, self.seed)))


class Stopwatch:
    """CPU-seconds of this process and its finished children, on top of those spent before it was started."""

    def __init__(self, before: float = 0.0) -> None:
        self._start = _cpu_s() - before

    @property
    def cpu_s(self) -> float:
        return round(_cpu_s() - self._start, 2)


def _cpu_s() -> float:
    times = os.times()
    return time.process_time() + times.children_user + times.children_system


def open_material(protocol: Protocol, places: Places, seed: int) -> Material:
    """Data and trained prototype. The prototype must have been made."""
    data, train_split, scoring = _splits(protocol)
    prototype = PROTOTYPES[protocol.prototype](data.input_shape[0], len(data.classes))
    prototype.load_state_dict(load_weights(prototype_weights(places, seed)))
    prototype.eval()
    costs = count(prototype, torch.zeros(1, *data.input_shape))
    return Material(protocol, places, seed, data, train_split, scoring, Classification(), prototype, costs)


def make_prototype(protocol: Protocol, places: Places, seed: int, say: Callable[[str], None]) -> None:
    """Train the prototype of a seed, describe it, and work out its answers, each unless that is done."""
    if not prototype_weights(places, seed).is_file() and not _published(protocol, places, seed):
        _train(protocol, places, seed, say)
    recorded = _read(places.prototype_result(seed))
    described = recorded is not None and recorded["protocol_digest"] == protocol.digest()
    if described and _answers(places, seed).is_file():
        return
    material = open_material(protocol, places, seed)
    if not described:
        write_json(places.prototype_result(seed), _description(material))
    teacher = Teacher.of(material.prototype, material.task, material.train, material.data.mirror)
    write_file(_answers(places, seed), to_bytes(teacher.tensors()))


def _description(material: Material) -> dict[str, Any]:
    """What is published of a prototype; here the test images are read, once."""
    protocol, weights = material.protocol, prototype_weights(material.places, material.seed)
    trained = json.loads(weights.with_suffix(".json").read_text())
    if trained["epochs"] != protocol.prototype_epochs:
        raise ValueError(f"{weights} was trained for {trained['epochs']} epochs: remove it")
    return {
        "schema": "edgesynth.benchmark.prototype/1",
        "protocol": protocol.name,
        "protocol_digest": protocol.digest(),
        "seed": material.seed,
        "val_accuracy": material.accuracy(material.prototype, material.data.val),
        "test_accuracy": material.accuracy(material.prototype, material.data.test),
        "macs": material.costs.macs,
        "params": material.costs.params,
        "training_cpu_s": trained["cpu_s"],
        "data_digests": material.data.digests,
        "environment": trained["environment"],
    }


def _published(protocol: Protocol, places: Places, seed: int) -> bool:
    """Take the prototype that the results in the repository were made from, if it is one of this protocol."""
    source = PUBLISHED / protocol.name / prototype_weights(places, seed).name
    if not source.is_file():
        return False
    for file in (source.with_suffix(".json"), source):
        write_file(places.work / file.name, file.read_bytes())
    return True


def _train(protocol: Protocol, places: Places, seed: int, say: Callable[[str], None]) -> None:
    data, split, _ = _splits(protocol)
    torch.manual_seed(seed_of(seed))
    module = PROTOTYPES[protocol.prototype](data.input_shape[0], len(data.classes))
    weights = prototype_weights(places, seed)
    checkpoint = weights.with_suffix(".checkpoint")
    progress = weights.with_suffix(".progress.json")
    before = _read(progress) if checkpoint.is_file() else None
    watch = Stopwatch(0.0 if before is None else before["cpu_s"])

    def look(done: int, trained: nn.Module) -> None:
        # Before the checkpoint: a training that goes on from there does not come this way again.
        write_json(progress, {"cpu_s": watch.cpu_s})

    def on_epoch(done: int, loss: float) -> None:
        say(f"prototype seed {seed}: epoch {done}/{protocol.prototype_epochs}, loss {loss:.3f}, {watch.cpu_s:.0f} s")

    train(
        module,
        Classification(),
        split,
        Recipe(protocol.prototype_epochs, protocol.peak_lr),
        seed=seed_of(seed, 1),
        mirror=data.mirror,
        checkpoint=checkpoint,
        look=look,
        on_epoch=on_epoch,
    )
    val = Classification().evaluate(outputs(module, data.val.images), data.val.targets)
    spent = {"seed": seed, "epochs": protocol.prototype_epochs, "val": val, "cpu_s": watch.cpu_s}
    write_json(weights.with_suffix(".json"), {**spent, "environment": environment()})
    save_weights(weights, module)
    checkpoint.unlink(missing_ok=True)
    progress.unlink(missing_ok=True)


def _splits(protocol: Protocol) -> tuple[DataSet, Split, Split]:
    """The data, and its training split parted as `edgesynth synth` parts it."""
    data = find_source(protocol.data).load().limit(protocol.train_images)
    images = len(data.train)
    cut = images - min(protocol.scoring_images, images // 10)
    train_split = Split(data.train.images[:cut], data.train.targets[:cut])
    return data, train_split, Split(data.train.images[cut:], data.train.targets[cut:])


def prototype_weights(places: Places, seed: int) -> Path:
    """The trained prototype of a seed. One that was trained elsewhere, with its .json beside it, is taken as it is."""
    return places.work / f"prototype-{seed}.safetensors"


def _answers(places: Places, seed: int) -> Path:
    return places.work / f"answers-{seed}.safetensors"


def _read(path: Path) -> dict[str, Any] | None:
    try:
        document: dict[str, Any] = json.loads(path.read_text())
    except FileNotFoundError:
        return None
    return document
