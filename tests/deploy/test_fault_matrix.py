"""Every state of a deploy, and everything that can happen to a board in it.

Whatever happens: the board answers, `current` is a complete release, the next deploy succeeds without hands, and the
reason was told in one line. EDGESYNTH_FAULT_CELLS=all takes every cell of the table, else a part of them, and
EDGESYNTH_FAULT_TABLE names a file for what came of each.
"""

import itertools
import json
import os
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
from edgesynth_exporters.targets import find_target

from edgesynth.deploy.deploy import Deployment
from edgesynth.deploy.package import open_package
from edgesynth.deploy.request import DeployFailedError, Request
from edgesynth.deploy.steps import STATES
from edgesynth.devices.ssh import SshTransport
from tests.deploy.conftest import save_network
from tests.virtual_device.fixtures import make_virtual_device

__all__ = ["make_virtual_device"]

RELEASES = "/var/lib/edgesynth/models/cam/releases"


def cut_cable(device, deployment, held):
    device.cut_cable()
    held.callback(device.mend_cable)


def kill_sshd(device, deployment, held):
    assert device.kill_sshd()


def fill_disk(device, deployment, held):
    held.callback(device.free_disk)
    with suppress(OSError):  # somebody there wrote at the same time: it is full all the same
        device.fill_disk(0)


def kill_agent(device, deployment, held):
    device.kill(r"edgesynth-agent.* serve")


def reboot(device, deployment, held):
    device.reboot()


def power_cut(device, deployment, held):
    device.power_cut()
    device.boot()


def corrupt_upload(device, deployment, held):
    """The first byte of the model, as it arrives or where it lies."""
    release = deployment._now.staged.get("id")
    sealed = release is not None and device.corrupt(f"{RELEASES}/{release}/*.onnx")
    if not sealed:
        held.enter_context(device.corrupting(f"{RELEASES}/*.partial/*.onnx"))


def engine_build_fails(device, deployment, held):
    device.make_engine_build_fail()
    held.callback(device.make_engine_build_fail, False)


def parity_fails(device, deployment, held):
    device.make_parity_fail()
    held.callback(device.make_parity_fail, False)


FAULTS = (
    cut_cable,
    kill_sshd,
    fill_disk,
    kill_agent,
    reboot,
    power_cut,
    corrupt_upload,
    engine_build_fails,
    parity_fails,
)
ALL = [(state.name, fault) for state, fault in itertools.product(STATES, FAULTS)]
# One state for each fault and one fault for each state, at least; 5 and 9 have no common divisor.
SOME = ALL[::7]
CELLS = ALL if os.environ.get("EDGESYNTH_FAULT_CELLS") == "all" else SOME


class Rig:
    """One board with a release, and networks that differ in a weight."""

    def __init__(self, device, folder: Path) -> None:
        self.device, self.folder = device, folder
        self.weights = (0.001 * number for number in itertools.count(1))
        self.tell("| state | what happened | the deploy | `current` | the next deploy | what was said |")
        self.tell("|---" * 6 + "|")

    def deployment(self, weight: float, observer: Callable[[str, str], None] | None = None) -> Deployment:
        package = open_package(str(save_network(self.folder / "cam.onnx", weight)), find_target("tx2"), None)
        request = Request(package=package, name="cam", holder="ann@lab", tier="auto", allow_simulated=True)
        transport = SshTransport(f"nvidia@{self.device.name}", self.device.ssh_config)
        return Deployment(request, transport, observer=observer)

    def cell(self, state: str, fault: Callable[..., None]) -> None:
        weight = next(self.weights)
        before = self.current()
        with ExitStack() as held:
            deployment = self.deployment(weight, lambda at, when: strike(at, when))

            def strike(at: str, when: str) -> None:
                if (at, when) == (state, "before"):
                    fault(self.device, deployment, held)

            begin_s = time.monotonic()
            try:
                outcome = deployment.run().outcome
                reason = ""
            except DeployFailedError as error:
                outcome, reason = "failed", str(error.cause)
                assert reason
                assert "\n" not in reason
            took_s = time.monotonic() - begin_s
        self.device.wait_for_ssh()
        now = self.current()
        made = deployment._now.staged.get("id")
        assert now in ((made,) if outcome == "deployed" else (before, made))
        begin_s = time.monotonic()
        record = self.deployment(weight).run()
        again_s = time.monotonic() - begin_s
        assert record.outcome in ("deployed", "unchanged")
        assert self.current() == record.release
        kept = "the old release" if now == before else "the new release"
        happened = fault.__name__.replace("_", " ")
        came = [f"{outcome} in {took_s:.0f} s", kept, f"{record.outcome} in {again_s:.0f} s", reason]
        self.tell(f"| {' | '.join([state, happened, *came])} |")

    def tell(self, row: str) -> None:
        """Row by row: a long table is of use when it breaks off, too."""
        table = os.environ.get("EDGESYNTH_FAULT_TABLE")
        if table:
            with Path(table).open("a") as file:
                file.write(f"{row}\n")

    def current(self) -> str:
        """The id of the release that `current` leads to, which is complete: every file as its manifest says."""
        folder = self.device.ssh(f"readlink -f {RELEASES}/../current").stdout.strip()
        manifest = json.loads(self.device.ssh(f"cat {folder}/manifest.json").stdout)
        for file in manifest["files"].values():
            digest = self.device.ssh(f"sha256sum {folder}/{file['path']}").stdout.split()[0]
            assert digest == file["sha256"], f"{folder}/{file['path']} is damaged"
        return str(manifest["id"])


@pytest.fixture(scope="module")
def rig(make_virtual_device, tmp_path_factory):
    made = Rig(make_virtual_device(), tmp_path_factory.mktemp("networks"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(made.folder / "state"))
        patch.setenv("XDG_CACHE_HOME", str(made.folder / "cache"))
        made.deployment(next(made.weights)).run()
        yield made


@pytest.mark.parametrize(("state", "fault"), CELLS, ids=[f"{s}-{f.__name__}" for s, f in CELLS])
def test_what_happens_in_a_state(rig, state, fault):
    rig.cell(state, fault)


def test_a_part_has_every_state_and_every_fault():
    assert {state for state, _ in SOME} == {state.name for state in STATES}
    assert {fault for _, fault in SOME} == set(FAULTS)
