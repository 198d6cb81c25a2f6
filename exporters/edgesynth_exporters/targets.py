"""Targets: the kinds of device that edgesynth knows, and those that the user defines.

A user defines them in ~/.config/edgesynth/targets.toml, and in the file that $EDGESYNTH_TARGETS names:

    [my-board]
    based_on = "orin-nx"        # take over what is not stated here
    jetpack = "6.2.3"           # with the TensorRT and the opset that are in it
    memory_mib = 7620

Models that `edgesynth calibrate` fitted on measurements of the user's lie in ~/.config/edgesynth/models, each a target
with the name of its file; one that lies elsewhere is named by its path.
"""

import os
from collections.abc import Mapping
from pathlib import Path

from edgesynth_exporters.errors import EdgesynthError
from edgesynth_exporters.suggest import nearest
from edgesynth_exporters.target import FACTS, Kind, PowerMode, Precision, Target
from edgesynth_exporters.target_files import builtin_targets, read_model, read_targets

__all__ = [
    "FACTS",
    "TARGETS",
    "Kind",
    "PowerMode",
    "Precision",
    "Target",
    "all_targets",
    "find_power_mode",
    "find_target",
    "model_of",
    "models_folder",
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
    for path in _user_models():
        found[path.stem] = read_model(path, found)
    return found


def find_target(name: str) -> Target:
    """The target of that name. Raises EdgesynthError listing the known ones, and what `all_targets` raises."""
    # First those that need no file: a mistake in the user's own targets should not stand in their way.
    if name in TARGETS:
        return TARGETS[name]
    targets = all_targets()
    if name.endswith(".toml") and (path := _expanded(name, "the target")).exists():
        return read_model(path, {key: target for key, target in targets.items() if target.constants is None})
    if name not in targets:
        raise EdgesynthError(f"unknown target '{name}': known are {', '.join(targets)}{nearest(name, targets)}")
    return targets[name]


def find_power_mode(target: Target, number: int) -> PowerMode:
    """The mode with that number. Raises EdgesynthError listing those of the target."""
    modes = {mode.id: mode for mode in target.power_modes}
    if number not in modes:
        known = ", ".join(f"{mode.id} ({mode.name})" for mode in target.power_modes) or "none"
        raise EdgesynthError(
            f"{target.name} has no power mode {number}: known are {known}{nearest(str(number), map(str, modes))}"
        )
    return modes[number]


def model_of(target: Target) -> Target | None:
    """The model that estimates for a board, or for the board that it is based on: of the user's own the one that was
    written last, else the one that edgesynth knows; None where there is none.

    Raises what `all_targets` raises.
    """
    if target.kind == "model":
        return target
    boards = {target.name, target.based_on} - {None}
    models = [each for each in all_targets().values() if each.kind == "model" and each.based_on in boards]
    own = [each for each in models if each.constants is not None]
    if own:
        return max(own, key=lambda model: Path(str(model.constants)).stat().st_mtime)
    return models[0] if models else None


def models_folder() -> Path:
    """Where models of the user's are looked for; it need not be there."""
    return _configuration() / "edgesynth" / "models"


def total_power_rule(target: Target) -> str:
    """How the total power is read, in words: "VDD_IN", "GPU + CPU", "VIN, else A + B", or "none"."""
    return ", else ".join(" + ".join(alternative) for alternative in target.total_power) or "none"


def _user_files() -> list[Path]:
    named = os.environ.get(VARIABLE)
    usual = _configuration() / "edgesynth" / "targets.toml"
    paths = [usual] if os.path.lexists(usual) else []
    return [*paths, _expanded(named, f"${VARIABLE}")] if named else paths


def _user_models() -> list[Path]:
    return sorted(models_folder().glob("*.toml"))


def _expanded(named: str, by: str) -> Path:
    try:
        return Path(named).expanduser()
    except RuntimeError as error:  # nobody of that name has a home
        raise EdgesynthError(f"{named}: {by} names a home that is not there ({error})") from error


def _configuration() -> Path:
    """$XDG_CONFIG_HOME or ~/.config; a relative one is ignored, as the XDG base directory specification demands."""
    base = Path(os.environ.get("XDG_CONFIG_HOME", ""))
    return base if base.is_absolute() else Path.home() / ".config"
