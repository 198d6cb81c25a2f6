import pytest
from edgesynth_exporters.errors import EdgesynthError
from edgesynth_exporters.targets import TARGETS, find_target


def test_targets_are_found_by_their_names():
    assert list(TARGETS) == ["host", "tx2-sim"]
    for name in TARGETS:
        assert find_target(name).name == name


def test_only_what_runs_here_is_measured():
    assert {name: target.source for name, target in TARGETS.items()} == {"host": "measured", "tx2-sim": "estimated"}


def test_no_target_is_promised_more_than_tensorrt_8_2_takes():
    assert all(target.opset <= 13 for target in TARGETS.values())


@pytest.mark.parametrize("name", ["", "TX2", "tx2", "host "])
def test_an_unknown_target_is_answered_with_the_known_ones(name):
    with pytest.raises(EdgesynthError, match=rf"^unknown target '{name}': known are host, tx2-sim$") as error:
        find_target(name)
    assert error.value.exit_code == 2
