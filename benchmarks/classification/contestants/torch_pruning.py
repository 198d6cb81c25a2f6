"""Torch-Pruning (https://github.com/VainF/Torch-Pruning), driven to a budget of multiply-accumulates.

It takes ratios of channels, not a budget, so it is stepped until the budget is met, as its authors do to reproduce
their own table (reproduce/main.py there), with the counter of this comparison in place of theirs.
"""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch_pruning as tp
from torch import nn

from benchmarks.classification.contestants.base import Compressed, ContestantError
from benchmarks.classification.material import Material, Stopwatch
from edgesynth.data import Split
from edgesynth.synthesis.compute import autocast, device
from edgesynth.synthesis.storage import from_bytes, load_checkpoint, save_checkpoint, to_bytes, write_file, write_json
from edgesynth.synthesis.training import BATCH, batches, seed_of

__all__ = ["group_sl", "taylor"]


def taylor(material: Material, budget: int) -> Compressed:
    """First-order Taylor importance, ranked over all layers, gradients of several fresh batches before every step."""
    settings = material.protocol.settings["torch-pruning-taylor"]
    watch = Stopwatch()
    module = copy.deepcopy(material.prototype)
    pruner = tp.pruner.BasePruner(
        module,
        material.example,
        importance=tp.importance.GroupTaylorImportance(),
        global_pruning=True,
        pruning_ratio=1.0,
        max_pruning_ratio=settings["most_of_a_layer"],
        iterative_steps=settings["steps"],
        ignored_layers=_outputs_of(module),
    )
    random = torch.Generator().manual_seed(seed_of(material.seed, 6))

    def before_step() -> None:
        module.zero_grad()
        for _ in range(settings["batches_a_step"]):
            chosen = torch.randint(len(material.train), (BATCH,), generator=random)
            answers = module(material.train.images[chosen])
            material.task.loss(answers, material.train.targets[chosen]).backward()  # type: ignore[no-untyped-call]

    steps = _prune(pruner, module, material, budget, before_step)
    module.zero_grad(set_to_none=True)
    return Compressed(module, watch.cpu_s, details={"steps": steps})


def group_sl(material: Material, budget: int) -> Compressed:
    """The method of its authors' best published row: groups of weights are driven towards zero, then the smallest go.

    Optimiser, regularisation and importance are those of their reproduction script; the epochs are the protocol's,
    far fewer than their hundred.
    """
    settings = material.protocol.settings["torch-pruning-group-sl"]
    module = copy.deepcopy(material.prototype)
    pruner = tp.pruner.GroupNormPruner(
        module,
        material.example,
        importance=tp.importance.GroupMagnitudeImportance(p=2, normalizer="max"),
        reg=settings["reg"],
        global_pruning=True,
        pruning_ratio=1.0,
        max_pruning_ratio=settings["most_of_a_layer"],
        iterative_steps=settings["steps"],
        ignored_layers=_outputs_of(module),
    )
    sparse_cpu_s = _learn_sparsely(material, module, pruner, settings)
    watch = Stopwatch(sparse_cpu_s)
    steps = _prune(pruner, module, material, budget, lambda: None)
    return Compressed(module, watch.cpu_s, details={"steps": steps, "sparse_learning_cpu_s": sparse_cpu_s})


def _prune(pruner: Any, module: nn.Module, material: Material, budget: int, before_step: Callable[[], None]) -> int:
    """Step until the budget is met; how many steps that took."""
    module.eval()
    limit, last = material.limit(budget), pruner.iterative_steps
    while (macs := material.macs(module)) > limit:
        if pruner.current_step >= last:
            raise ContestantError(f"after all {last} steps {macs:,} MACs are left, more than {limit:,}")
        before_step()
        pruner.step()
    return int(pruner.current_step)


def _learn_sparsely(material: Material, module: nn.Module, pruner: Any, settings: Any) -> float:
    """Train in place with the pruner's regularisation, once for all budgets of a seed; the CPU-seconds it took."""
    folder = material.places.work / "sparse"
    weights = folder / f"seed{material.seed}-{material.protocol.digest('torch-pruning-group-sl')}.safetensors"
    spent, checkpoint = weights.with_suffix(".json"), weights.with_suffix(".checkpoint")
    if weights.is_file():
        module.load_state_dict(from_bytes(weights.read_bytes()))
        return _recorded(spent)
    seed, epochs = seed_of(material.seed, 7), settings["epochs"]
    # Weight decay is left to the pruner, as in its authors' script.
    optimizer = torch.optim.SGD(module.parameters(), lr=settings["lr"], momentum=0.9)
    start = load_checkpoint(checkpoint, module, optimizer, (seed, epochs))
    watch = Stopwatch(_recorded(spent) if start else 0.0)
    for epoch in range(start, epochs):
        module.train()
        _sparse_epoch(material, module, pruner, optimizer, seed_of(seed, epoch), material.train)
        write_json(spent, {"cpu_s": watch.cpu_s})
        save_checkpoint(checkpoint, module, optimizer, epoch + 1, (seed, epochs))
    write_file(weights, to_bytes(module.state_dict()))
    checkpoint.unlink(missing_ok=True)
    return _recorded(spent)


def _sparse_epoch(
    material: Material, module: nn.Module, pruner: Any, optimizer: torch.optim.Optimizer, seed: int, split: Split
) -> None:
    for images, targets, _, _ in batches(split, material.task, seed, material.data.mirror):
        optimizer.zero_grad()
        with autocast(device()):
            answers = module(images)
        material.task.loss(answers.float(), targets).backward()  # type: ignore[no-untyped-call]
        pruner.regularize(module)
        optimizer.step()


def _recorded(path: Path) -> float:
    return float(json.loads(path.read_text())["cpu_s"])


def _outputs_of(module: nn.Module) -> list[nn.Module]:
    """The classifier, whose outputs are the classes."""
    return [layer for layer in module.modules() if isinstance(layer, nn.Linear)]
