"""A device that is a folder of this machine, and networks to deploy to it."""

import sys

import numpy as np
import onnx
import pytest
from edgesynth_exporters.targets import find_target
from onnx import TensorProto, helper, numpy_helper

from edgesynth.deploy import agent_file
from edgesynth.deploy.deploy import Deployment
from edgesynth.deploy.package import open_package
from edgesynth.deploy.plan import plan
from edgesynth.deploy.request import Request
from edgesynth.devices.transport import LocalTransport

# The folders that every system has.
SYSTEM = ("etc/systemd/system", "opt", "run", "usr/local/bin", "usr/local/lib", "var/lib")


@pytest.fixture(autouse=True)
def _own_folders(tmp_path, monkeypatch):
    """The journal and the cache of the user who runs the tests are left alone."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture(scope="session")
def agent(tmp_path_factory):
    """The agent, packed once."""
    return agent_file.make_agent_file(tmp_path_factory.mktemp("packed"))


@pytest.fixture(autouse=True)
def _packed_before(agent, monkeypatch):
    monkeypatch.setattr(agent_file, "make_agent_file", lambda folder: agent)


def save_network(path, weight=0.5, opset=13, channels=4):
    """A convolution whose weights tell one release from another."""
    weights = numpy_helper.from_array(np.full((channels, 3, 3, 3), weight, np.float32), "w")
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["image", "w"], ["maps"], pads=[1, 1, 1, 1]),
            helper.make_node("Relu", ["maps"], ["y"]),
        ],
        "net",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, channels, 8, 8])],
        [weights],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8), path)
    return path


class Board:
    """A device below `root`; every connection to it is made anew."""

    def __init__(self, folder):
        self.folder = folder
        self.root = folder / "board"
        for name in SYSTEM:
            (self.root / name).mkdir(parents=True)
        (folder / "run").mkdir()
        programs = folder / "bin"
        programs.mkdir()
        (programs / "python3").write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
        (programs / "python3").chmod(0o755)
        self.environment = {
            "PATH": f"{programs}:/usr/local/bin:/usr/bin:/bin",
            "HOME": str(folder),
            "XDG_RUNTIME_DIR": str(folder / "run"),  # paths of sockets are short
            "EDGESYNTH_SIMULATED": "a folder of the tests",
            "TMPDIR": "/tmp",
        }

    def transport(self, kind=LocalTransport):
        return kind(self.root, "board", self.environment)

    def request(self, weight=0.5, **changes):
        model = save_network(self.folder / "net.onnx", weight)
        package = open_package(str(model), find_target("tx2"), None)
        given = {"name": "cam", "holder": "ann@lab", "tier": "none", "allow_simulated": True}
        return Request(package=package, **given | changes)

    def deployment(self, weight=0.5, transport=None, tell=lambda text: None, observer=None, **changes):
        return Deployment(self.request(weight, **changes), transport or self.transport(), tell, observer)

    def deploy(self, *arguments, **options):
        return self.deployment(*arguments, **options).run()

    def plan(self, weight=0.5, **changes):
        return plan(self.request(weight, **changes), self.transport())

    @property
    def current(self):
        return self.root / "var/lib/edgesynth/models/cam/current"

    def tree(self):
        """Every name, what it is, and what is in it."""
        found = {}
        for path in sorted(self.root.rglob("*")):
            what = str(path.readlink()) if path.is_symlink() else path.read_bytes() if path.is_file() else None
            found[str(path.relative_to(self.root))] = what
        return found


@pytest.fixture
def board(tmp_path):
    return Board(tmp_path)
