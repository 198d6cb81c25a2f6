"""A whole run does not depend on who computes its candidates."""

import pytest

from edgesynth.records import Results
from edgesynth.synthesis.executors import InProcess
from edgesynth.synthesis.executors.ray import RayExecutor
from edgesynth.synthesis.executors.workers import Workers
from edgesynth.synthesis.journal import Journal
from edgesynth.synthesis.progress import Progress
from edgesynth.synthesis.question import Question
from edgesynth.synthesis.run import synthesize

QUESTION = Question(
    data="digits",
    prototype="resnet8",
    requirements=("macs<=prototype/4", "latency_ms@tx2-sim<=prototype"),
    targets=("tx2-sim",),
    count=2,
    epochs=2,
    cycles=2,
    train_images=400,
)


class Lines(Progress):
    def __init__(self):
        self.lines = []

    def stage(self, title):
        self.lines.append(title)

    def note(self, text):
        self.lines.append(text)


def run_with(executor, run):
    """(Results, weights by network, lines of progress)."""
    progress = Lines()
    with executor, Journal.create(run) as journal:
        results = synthesize(QUESTION, journal, progress, executor)
    weights = {n.name: (run / "networks" / n.name / "weights.safetensors").read_bytes() for n in results.networks}
    return results, weights, progress.lines


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    return run_with(InProcess(threads=1), tmp_path_factory.mktemp("expected") / "run")


@pytest.mark.parametrize("kind", ["workers", "ray"])
def test_a_run_is_the_same_bit_for_bit(kind, expected, request, tmp_path):
    executor = Workers(2, threads=1) if kind == "workers" else RayExecutor(request.getfixturevalue("cluster").address)
    results, weights, lines = run_with(executor, tmp_path / "run")
    assert isinstance(results, Results)
    assert results == expected[0]
    assert weights == expected[1]
    assert len(weights) >= 2
    for name in weights:
        assert any(f"finishing {name}" in line for line in lines)
        assert any(f"{name}: trained" in line for line in lines)
