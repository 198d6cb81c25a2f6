"""On a real cluster of two nodes, of one processor each, on this machine."""

import importlib.util
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from edgesynth.errors import MissingExtraError, ToolError
from edgesynth.synthesis.executors import InProcess, open_executor
from edgesynth.synthesis.executors.ray import SETTINGS, RayExecutor
from tests.needs import need
from tests.synthesis.executors.contract import DyingContract, train
from tests.synthesis.toys import same

MEMORY = 100 * 2**20
# A node that died is missed sooner than by default.
HEALTH = {"health_check_failure_threshold": 2, "health_check_period_ms": 500, "health_check_timeout_ms": 1000}


@pytest.fixture(scope="module")
def cluster():
    need(importlib.util.find_spec("ray"), "ray")
    os.environ.update(SETTINGS)
    from ray.cluster_utils import Cluster

    head = {"num_cpus": 1, "include_dashboard": False, "object_store_memory": MEMORY, "_system_config": HEALTH}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    cluster.add_node(num_cpus=1, object_store_memory=MEMORY)
    yield cluster
    cluster.shutdown()


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
    """Train, having left word of the node that does it."""

    folder: Path

    def __call__(self, seed):
        (self.folder / f"{seed} {where(seed)}").touch()
        time.sleep(1)  # long enough to be interrupted
        return train(seed)


def test_a_node_that_is_killed_at_work_loses_no_result(cluster, ray_executor, tmp_path):
    victim = cluster.add_node(num_cpus=1, object_store_memory=MEMORY)
    seeds = range(8)
    outcomes = ray_executor.map(Train(tmp_path), seeds)
    results = [next(outcomes)]
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob(f"* {victim.node_id}")) and time.monotonic() < deadline:
        time.sleep(0.05)
    cluster.remove_node(victim, allow_graceful=False)
    results += outcomes
    runs = [path.name.split() for path in tmp_path.iterdir()]
    assert victim.node_id in {node for _, node in runs}
    assert len(runs) > len(seeds)  # something was done again, on another node
    assert all(map(same, results, InProcess(threads=1).map(train, seeds)))


def test_ray_is_silent_and_leaves_our_answer_to_sigterm(cluster):
    program = f"""
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
