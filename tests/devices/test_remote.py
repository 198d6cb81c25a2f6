"""The agent of a board by ssh."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from edgesynth.devices import remote
from edgesynth.devices.address import parse_address
from edgesynth.devices.opening import open_device
from edgesynth.devices.remote import RemoteAgent
from edgesynth.devices.ssh import CONFIG_VARIABLE, SshTransport
from edgesynth.devices.transport import LocalTransport
from edgesynth.errors import DeviceError
from tests.agent.models import save_conv
from tests.deploy.sshd import LocalSshd
from tests.devices.played import played_tx2


@pytest.fixture
def board(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An agent whose socket is where RemoteAgent looks second."""
    monkeypatch.setattr(remote, "SOCKETS", (str(tmp_path / "none.sock"), str(tmp_path / "one" / "agent.sock")))
    with played_tx2(tmp_path / "one"):
        yield tmp_path / "one" / "agent.sock"


def test_the_agents_socket_is_found(board: Path) -> None:
    with RemoteAgent(LocalTransport(Path("/")), "tx2@ssh://board") as client:
        assert client.device()["targets"] == ["host", "tx2"]
        assert client.name == "tx2@ssh://board"


@pytest.mark.parametrize(
    ("answer", "said"),
    [("exit 4", "no agent runs there; bring one by edgesynth deploy"), ("exit 3", "add the user to the group")],
)
def test_why_it_is_not(answer: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "_FIND", f"{answer} # {{}}")
    with pytest.raises(DeviceError, match=f"tx2@ssh://board: .*{said}"):
        RemoteAgent(LocalTransport(Path("/")), "tx2@ssh://board").__enter__()


def test_a_host_with_a_port_is_named_as_ssh_wants_it() -> None:
    agent = remote.agent_by_ssh("nvidia@10.0.0.7:2222", "tx2@ssh://nvidia@10.0.0.7:2222")
    assert isinstance(agent._transport, SshTransport)
    assert agent._transport.host == "ssh://nvidia@10.0.0.7:2222"
    assert remote.agent_by_ssh("me@[fe80::1]", "x")._transport.host == "me@[fe80::1]"


def test_measured_through_a_real_sshd(board: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "sshd"
    folder.mkdir()
    with LocalSshd(folder) as sshd:
        monkeypatch.setenv(CONFIG_VARIABLE, str(sshd.config))
        assert parse_address("tx2@ssh://board").where == "board"
        with open_device("tx2@ssh://board") as oracle:
            record = oracle.measure(save_conv(tmp_path / "conv.onnx"))
    assert (record.target, record.source) == ("tx2", "simulated")
