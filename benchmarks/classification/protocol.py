"""The protocol of the comparison, as data: whatever an outcome depends on is here, or in edgesynth itself."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

__all__ = ["CONTESTANTS", "FAMILY", "FULL", "INHERITING", "PEERS", "PROTOCOLS", "SMOKE", "Protocol"]

CONTESTANTS = {
    "torch-pruning-taylor": "Torch-Pruning 1.6.1, global first-order Taylor importance, pruned in many small steps",
    "torch-pruning-group-sl": "Torch-Pruning 1.6.1, group-norm importance after sparse learning",
    "fastnas": "NVIDIA Model Optimizer 0.47.0, FastNAS with channel divisor 4",
    "uniform-scratch": "one width factor for all layers, trained from random weights on labels alone",
    "uniform-distilled": "the same shape from random weights, distilled as all others are",
    "random": "the first random network of edgesynth's space that lies just below the budget, inherited weights",
    "evolution": "regularised evolution over the same space and score, at equal evaluations",
    "edgesynth-first": "of one run of edgesynth synth, the network that scored best before any was finished",
    "edgesynth": "of the several networks that the same run has finished, the one that is best on validation images",
}
"""Every contestant by name, in the order of the page, and what it is."""
INHERITING = ("random", "evolution", "edgesynth-first", "edgesynth")
"""Those that take over from one run of edgesynth a seed."""
PEERS = ("torch-pruning-taylor", "torch-pruning-group-sl", "fastnas")
"""Those that run in an environment of their own."""


@dataclass(frozen=True)
class Protocol:
    """What all contestants have in common, and the `settings` of each."""

    name: str
    data: str
    train_images: int | None
    """Of the training split, before the scoring images are taken off; None: all."""
    scoring_images: int
    """The last of the training split, never trained on; a tenth of it where that is less."""
    prototype: str
    prototype_epochs: int
    finish_epochs: int
    peak_lr: float
    budgets: tuple[int, ...]
    """A network may have this part of the prototype's multiply-accumulates."""
    seeds: tuple[int, ...]
    settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def common(self) -> dict[str, Any]:
        """What every contestant's outcome depends on."""
        return {key: value for key, value in asdict(self).items() if key not in ("settings", "budgets", "seeds")}

    def digest(self, contestant: str | None = None) -> str:
        """12 hexadecimal digits over what a contestant's outcome depends on; the prototype's, if None. A family is made
        of everything."""
        settings = self.settings.get(contestant, {}) if contestant is not None else {}
        if contestant == "family":
            settings = self.settings
        text = json.dumps([self.common(), contestant, dict(settings)], sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:12]


_PRUNING = {"steps": 400, "most_of_a_layer": 0.95}
_RUN = {"learned_for": 4, "performance": "metric", "cycles": 6, "count": 3}
_SPACE = {"least_of_budget": 0.9, "run": _RUN}
_SMOKE_SPACE = {"least_of_budget": 0.5, "run": {**_RUN, "cycles": 1, "count": 1}}

FULL = Protocol(
    name="full",
    data="fashion-mnist",
    train_images=None,
    scoring_images=2000,
    prototype="resnet20",
    prototype_epochs=10,
    finish_epochs=6,
    peak_lr=0.1,
    budgets=(10, 4),
    seeds=(0, 1, 2),
    settings={
        "torch-pruning-taylor": {**_PRUNING, "batches_a_step": 4},
        "torch-pruning-group-sl": {**_PRUNING, "epochs": 2, "lr": 0.01, "reg": 5e-4},
        "fastnas": {"divisor": 4, "calibration_batches": 50, "bisections": 12},
        "random": _SPACE,
        "evolution": {**_SPACE, "population": 32, "sample": 8},
        "edgesynth-first": _SPACE,
        "edgesynth": _SPACE,
    },
)

SMOKE = Protocol(
    name="smoke",
    data="digits",
    train_images=600,
    scoring_images=2000,
    prototype="resnet20",
    prototype_epochs=1,
    finish_epochs=1,
    peak_lr=0.1,
    budgets=(10, 4),
    seeds=(0,),
    settings={
        "torch-pruning-taylor": {**_PRUNING, "steps": 40, "batches_a_step": 1},
        "torch-pruning-group-sl": {**_PRUNING, "steps": 40, "epochs": 1, "lr": 0.01, "reg": 5e-4},
        "fastnas": {"divisor": 4, "calibration_batches": 1, "bisections": 6},
        "random": _SMOKE_SPACE,
        "evolution": {**_SMOKE_SPACE, "population": 4, "sample": 2},
        "edgesynth-first": _SMOKE_SPACE,
        "edgesynth": _SMOKE_SPACE,
    },
)

FAMILY = replace(
    FULL,
    name="family",
    prototype_epochs=20,
    finish_epochs=12,
    budgets=(10,),
    seeds=(0,),
    settings={
        "edgesynth": {"run": {**_RUN, "learned_for": 10, "count": 8}},
        "family": {
            "further": 4,
            "budgets": [4, 8, 16],
            "seeds": 256,
            "spots": [
                {"require": ["macs<=2000000", "params<=50000"], "count": 1, "epochs": 30},
                {"require": ["macs<=5000000", "params<=100000"], "count": 1, "epochs": 30},
            ],
        },
    },
)
"""Of edgesynth alone: one generator, learned from a prototype at its plateau (`family.py`)."""

PROTOCOLS = {protocol.name: protocol for protocol in (FULL, SMOKE, FAMILY)}
