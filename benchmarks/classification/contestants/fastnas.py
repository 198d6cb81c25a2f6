"""FastNAS of NVIDIA's Model Optimizer (https://github.com/NVIDIA/Model-Optimizer).

Its divisor of 32 channels would leave four networks in all of a ResNet of 16, 32 and 64 channels, so it is 4 here.
What it returns may lie well below the FLOPs asked for, and its counter is not ours; so the FLOPs that it is asked for
are bisected until its answer is as near below our budget as it gets. The sensitivities that it measures do not depend
on the budget: its own checkpoint keeps them for every further answer.
"""

import copy
import json
from pathlib import Path
from typing import Any

import modelopt.torch.prune as mtp  # type: ignore[import-not-found]  # in the peers' environment alone
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from benchmarks.classification.contestants.base import Compressed, ContestantError, reshaped
from benchmarks.classification.material import Material, Stopwatch
from edgesynth.synthesis.storage import write_json
from edgesynth.synthesis.training import BATCH, EVALUATION_BATCH, seed_of

__all__ = ["fastnas"]


def fastnas(material: Material, budget: int) -> Compressed:
    """The largest network under the budget that FastNAS answers with."""
    settings = material.protocol.settings["fastnas"]
    checkpoint = material.places.work / "fastnas" / f"seed{material.seed}-{material.protocol.digest('fastnas')}.pth"
    checkpoint.parent.mkdir(parents=True, exist_ok=True)
    measuring = checkpoint.with_suffix(".json")
    known = checkpoint.is_file() and measuring.is_file()
    if not known:
        # Half a map from a process that was stopped would hide what the rest of it cost.
        checkpoint.unlink(missing_ok=True)
    watch = Stopwatch(json.loads(measuring.read_text())["cpu_s"] if known else 0.0)
    limit = material.limit(budget)
    best: tuple[int, nn.Module] | None = None
    answers = []
    low, high = 0.0, 4.0 * limit  # FLOPs, two a multiply-accumulate; twice the budget leaves room for the undershoot
    asked = 2.0 * limit
    for _ in range(settings["bisections"]):
        network = _ask(material, asked, checkpoint, settings)
        if not measuring.is_file():
            write_json(measuring, {"cpu_s": watch.cpu_s})
        macs = None if network is None else material.macs(network)
        answers.append({"flops_asked": round(asked), "macs": macs})
        if macs is None or macs <= limit:
            low = asked
            if network is not None and macs is not None and (best is None or macs > best[0]):
                best = (macs, network)
        else:
            high = asked
        asked = (low + high) / 2
    if best is None:
        raise ContestantError(f"FastNAS found no network of at most {limit:,} MACs: {answers}")
    return Compressed(best[1], watch.cpu_s, details={"answers": answers})


@torch.no_grad()
def _score(network: nn.Module, material: Material) -> float:
    """Accuracy on the scoring images."""
    # Each call of eval() has modelopt measure batch norm anew on its calibration images: needed once, and costly.
    network.eval()
    parts = torch.split(material.scoring.images, EVALUATION_BATCH)
    return material.task.evaluate(torch.cat([network(part) for part in parts]), material.scoring.targets)


def _ask(material: Material, flops: float, checkpoint: Path, settings: Any) -> nn.Module | None:
    """FastNAS's answer as a plain network of the prototype's kind; None where it says that there is none so small."""
    # modelopt draws from torch's global generator.
    torch.manual_seed(seed_of(material.seed, 8))
    config = mtp.fastnas.FastNASConfig()
    config["nn.Conv2d"]["*"]["channel_divisor"] = settings["divisor"]
    config["nn.BatchNorm2d"]["*"]["feature_divisor"] = settings["divisor"]
    calibrating = settings["calibration_batches"] * BATCH
    images, targets = material.train.images[:calibrating], material.train.targets[:calibrating]
    try:
        pruned, _ = mtp.prune(
            copy.deepcopy(material.prototype),
            mode=[("fastnas", config)],
            constraints={"flops": flops},
            dummy_input=material.example,
            config={
                "data_loader": DataLoader(TensorDataset(images, targets), batch_size=BATCH),
                "score_func": lambda network: _score(network, material),
                "checkpoint": str(checkpoint),
                "max_iter_data_loader": settings["calibration_batches"],
                "verbose": False,
            },
        )
    except (AssertionError, ValueError) as error:
        if "satisf" in str(error):
            return None
        raise
    state = {name: tensor for name, tensor in pruned.state_dict().items() if not name.startswith("_")}
    network = reshaped(material.prototype, state)
    with torch.no_grad():
        example = material.scoring.images[:8]
        if not torch.allclose(network(example), pruned.eval()(example), atol=1e-4):
            raise ContestantError("the network that FastNAS returned is not a narrower prototype")
    return network
