"""On a real cluster of two nodes, of one processor each, on this machine."""

import importlib.util
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from edgesynth.errors import MissingExtraError, ToolError
from edgesynth.synthesis.executors import InProcess, open_executor
from edgesynth.synthesis.executors.ray import RayExecutor
from tests.needs import need
from tests.synthesis.executors.conftest import MEMORY
from tests.synthesis.executors.contract import DyingContract, train
from tests.synthesis.toys import same


@pytest.fixture(scope="module")
def ray_executor(cluster):
    with RayExecutor(cluster.address) as executor:
        yield executor


class TestRay(DyingContract):
    @pytest.fixture
    def executor(self, ray_executor):
        yield ray_executor
        ray_executor.threads = 1


def where(item):
    import ray

    return ray.get_runtime_context().get_node_id()


@dataclass
class Train:
    """Train, having left word of the node that does it. One node never ends; the others wait until it has begun, or
    they might have done everything before."""

    folder: Path
    slow: str

    def __call__(self, seed):
        (self.folder / f"{seed} {where(seed)}").touch()
        if where(seed) == self.slow:
            time.sleep(600)
        wait_for_word(self.folder, self.slow)
        return train(seed)


def wait_for_word(folder, node):
    deadline = time.monotonic() + 180
    while not list(folder.glob(f"* {node}")) and time.monotonic() < deadline:
        time.sleep(0.05)


def test_a_node_that_is_killed_at_work_loses_no_result(cluster, ray_executor, tmp_path):
    victim = cluster.add_node(num_cpus=1, object_store_memory=MEMORY)
    seeds = range(6)

    def kill():
        wait_for_word(tmp_path, victim.node_id)
        cluster.remove_node(victim, allow_graceful=False)

    killer = threading.Thread(target=kill)
    killer.start()
    results = list(ray_executor.map(Train(tmp_path, victim.node_id), seeds))
    killer.join()
    runs = [path.name.split() for path in tmp_path.iterdir()]
    assert victim.node_id in {node for _, node in runs}
    assert len(runs) > len(seeds)  # something was done again, on another node
    assert all(map(same, results, InProcess(threads=1).map(train, seeds)))


def test_ray_is_silent_and_leaves_our_answer_to_sigterm(cluster):
    program = f"""
import signal
from edgesynth.synthesis.executors.ray import RayExecutor
signal.signal(signal.SIGTERM, signal.default_int_handler)
with RayExecutor({cluster.address!r}) as executor:
    assert list(executor.map(float, range(3))) == [0.0, 1.0, 2.0]
    assert signal.getsignal(signal.SIGTERM) is signal.default_int_handler
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_cluster_that_is_not_there():
    need(importlib.util.find_spec("ray"), "ray")
    with pytest.raises(ToolError, match=r"cannot reach a Ray cluster at 127\.0\.0\.1:9: .*ray start"):
        RayExecutor("127.0.0.1:9").__enter__()


def test_without_the_extra_the_message_ends_in_the_command(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"pip install 'edgesynth\[ray\]'$"):
        open_executor(ray="auto")
