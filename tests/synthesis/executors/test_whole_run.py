"""A whole run does not depend on who computes its candidates, nor on who of them dies."""

import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from edgesynth.records import Results
from edgesynth.synthesis.executors import InProcess
from edgesynth.synthesis.executors.ray import RayExecutor
from edgesynth.synthesis.executors.workers import Workers
from edgesynth.synthesis.journal import Journal
from edgesynth.synthesis.progress import Progress
from edgesynth.synthesis.question import Question
from edgesynth.synthesis.run import synthesize
from tests.synthesis.executors.conftest import MEMORY

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


@dataclass
class Held:
    """The function; but once the file `armed` is there, the first item that reaches the victim never ends, and the
    other nodes wait for it, or they might do everything before."""

    folder: Path
    victim: str
    function: Any

    def __call__(self, item):
        import ray

        if (self.folder / "armed").exists():
            if ray.get_runtime_context().get_node_id() == self.victim:
                (self.folder / "held").touch()
                time.sleep(600)
            deadline = time.monotonic() + 180
            while not (self.folder / "held").exists() and time.monotonic() < deadline:
                time.sleep(0.05)
        return self.function(item)


class HeldRay(RayExecutor):
    def __init__(self, address, folder, victim):
        super().__init__(address)
        self.folder, self.victim = folder, victim

    def map(self, function, items):
        return super().map(Held(self.folder, self.victim, function), items)


def test_a_node_that_is_killed_in_mid_run_changes_nothing(cluster, expected, tmp_path, monkeypatch):
    victim = cluster.add_node(num_cpus=1, object_store_memory=MEMORY)
    over = threading.Event()

    def kill():
        while not (tmp_path / "held").exists() and not over.wait(0.05):
            pass
        cluster.remove_node(victim, allow_graceful=False)

    def scored(self, done, total):
        (tmp_path / "armed").touch()

    monkeypatch.setattr(Lines, "scored", scored)
    killer = threading.Thread(target=kill)
    killer.start()
    try:
        executor = HeldRay(cluster.address, tmp_path, victim.node_id)
        results, weights, _ = run_with(executor, tmp_path / "run")
    finally:
        over.set()
        killer.join()
    assert (tmp_path / "held").exists()
    assert results == expected[0]
    assert weights == expected[1]
