"""Targets: the kinds of device that edgesynth knows, and those that the user defines.

A user defines them in ~/.config/edgesynth/targets.toml, and in the file that $EDGESYNTH_TARGETS names:

    [my-board]
    based_on = "orin-nx"        # take over what is not stated here
    jetpack = "6.2.3"           # with the TensorRT and the opset that are in it
    memory_mib = 7620
"""

import os
from collections.abc import Mapping
from pathlib import Path

from edgesynth_exporters.errors import EdgesynthError
from edgesynth_exporters.suggest import nearest
from edgesynth_exporters.target import FACTS, Kind, PowerMode, Precision, Target
from edgesynth_exporters.target_files import builtin_targets, read_targets

__all__ = [
    "FACTS",
    "TARGETS",
    "Kind",
    "PowerMode",
    "Precision",
    "Target",
    "all_targets",
    "find_target",
    "model_of",
    "total_power_rule",
]

VARIABLE = "EDGESYNTH_TARGETS"

TARGETS: Mapping[str, Target] = builtin_targets()
"""Those that edgesynth knows, by name."""


def all_targets() -> dict[str, Target]:
    """Those that edgesynth knows and those that the user's files define, by name.

    Raises EdgesynthError for a file of the user's that is wrong, or that $EDGESYNTH_TARGETS names and is not there.
    """
    found = dict(TARGETS)
    for path in _user_files():
        found |= read_targets(path, found)
    return found


def find_target(name: str) -> Target:
    """The target of that name. Raises EdgesynthError listing the known ones, and what `all_targets` raises."""
    # First those that need no file: a mistake in the user's own targets should not stand in their way.
    if name in TARGETS:
        return TARGETS[name]
    targets = all_targets()
    if name not in targets:
        raise EdgesynthError(f"unknown target '{name}': known are {', '.join(targets)}{nearest(name, targets)}")
    return targets[name]


def model_of(target: Target) -> Target | None:
    """The model that estimates for a board, or for the board that it is based on; None where there is none."""
    boards = {target.name, target.based_on}
    return next((each for each in TARGETS.values() if each.kind == "model" and each.based_on in boards), None)


def total_power_rule(target: Target) -> str:
    """How the total power is read, in words: "VDD_IN", "GPU + CPU", "VIN, else A + B", or "none"."""
    return ", else ".join(" + ".join(alternative) for alternative in target.total_power) or "none"


def _user_files() -> list[Path]:
    named = os.environ.get(VARIABLE)
    usual = _configuration() / "edgesynth" / "targets.toml"
    paths = [usual] if os.path.lexists(usual) else []
    return [*paths, _expanded(named)] if named else paths


def _expanded(named: str) -> Path:
    try:
        return Path(named).expanduser()
    except RuntimeError as error:  # nobody of that name has a home
        raise EdgesynthError(f"{named}: ${VARIABLE} names a home that is not there ({error})") from error


def _configuration() -> Path:
    """$XDG_CONFIG_HOME or ~/.config; a relative one is ignored, as the XDG base directory specification demands."""
    base = Path(os.environ.get("XDG_CONFIG_HOME", ""))
    return base if base.is_absolute() else Path.home() / ".config"
