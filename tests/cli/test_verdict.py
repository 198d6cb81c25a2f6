import pytest

from edgesynth.cli.verdict import exit_code


class Network:
    def __init__(self, *verdicts):
        self.requirements = dict(enumerate(verdicts))
        self.satisfied = all(verdict is True for verdict in verdicts)


MET, UNMET, UNKNOWN = Network(True, True), Network(True, False), Network(True, None)


@pytest.mark.parametrize(
    ("networks", "wanted", "code"),
    [
        ([MET, MET], 2, 0),
        ([MET, UNMET], 1, 0),
        ([MET, UNMET], 2, 1),
        ([MET, UNKNOWN], 2, 4),
        ([UNKNOWN, UNMET], 2, 1),
        ([Network(None, False), MET], 2, 1),
        ([], 1, 1),
    ],
)
def test_exit_code(networks, wanted, code):
    assert exit_code(networks, wanted) == code
