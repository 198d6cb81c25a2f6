"""The agent's tables of boards and releases are those of the workstation."""

from edgesynth_agent import board, targets
from edgesynth_exporters.targets import TARGETS


def test_the_targets_that_a_board_may_be():
    boards = {name: target.compute_capability for name, target in TARGETS.items() if target.kind == "board"}
    assert {name: capability for name, (capability, _) in targets._MODULES.items()} == boards


def test_the_releases():
    released = [target for target in TARGETS.values() if target.jetpack is not None]
    assert released
    for target in released:
        assert board.jetpack_of(target.l4t) == (target.jetpack, None)
