"""A Ray cluster of this machine's own."""

import importlib.util
import os

import pytest

from edgesynth.synthesis.executors.ray import SETTINGS
from tests.needs import need

MEMORY = 100 * 2**20
# A node that died is missed sooner than by default.
HEALTH = {"health_check_failure_threshold": 2, "health_check_period_ms": 500, "health_check_timeout_ms": 1000}


@pytest.fixture(scope="session")
def cluster():
    """Two nodes of one processor each."""
    need(importlib.util.find_spec("ray"), "ray")
    os.environ.update(SETTINGS)
    from ray.cluster_utils import Cluster

    head = {"num_cpus": 1, "include_dashboard": False, "object_store_memory": MEMORY, "_system_config": HEALTH}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    cluster.add_node(num_cpus=1, object_store_memory=MEMORY)
    yield cluster
    cluster.shutdown()
