"""Addresses of devices."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgesynth.devices.address import parse_address
from edgesynth.errors import EdgesynthError


@pytest.mark.parametrize(
    ("text", "target", "way", "where"),
    [
        ("host", "host", "here", None),
        ("tx2-sim", "tx2-sim", "model", None),
        ("tx2@ssh://board", "tx2", "ssh", "board"),
        ("tx2@ssh://nvidia@10.0.0.7:2222", "tx2", "ssh", "nvidia@10.0.0.7:2222"),
        ("orin-nano@ssh://me@[fe80::1]:22", "orin-nano", "ssh", "me@[fe80::1]:22"),
        ("tx2@unix:///run/edgesynth/agent.sock", "tx2", "unix", "/run/edgesynth/agent.sock"),
    ],
)
def test_addresses(text: str, target: str, way: str, where: str | None) -> None:
    address = parse_address(text)
    assert (address.target.name, address.way, address.where) == (target, way, where)
    assert address.text == text


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("tx2", "tx2 is a board, say where it is: write it like tx2@ssh://user@board.*or use tx2-sim"),
        ("host@ssh://board", "host is this machine and has no address"),
        ("tx2-sim@ssh://board", "tx2-sim is a model and has no address"),
        ("tx2@board", "no address of a device"),
        ("tx2@ssh://", "no address of a device"),
        ("tx2@ssh://-oProxyCommand=rm", "no address of a device"),
        ("tx2@ssh://a b", "no address of a device"),
        ("tx2@ssh://u@-oX", "no address of a device"),
        ("tx2@unix://relative", "no address of a device"),
        ("tx2@http://board", "no address of a device"),
        ("txx@ssh://board", "txx"),
    ],
)
def test_what_is_no_address(text: str, said: str) -> None:
    with pytest.raises(EdgesynthError, match=said):
        parse_address(text)


@given(st.text(max_size=40))
def test_whatever_is_written_after_the_target_is_an_address_or_refused(rest: str) -> None:
    """Nothing that ssh could take for an option or for two words gets through."""
    try:
        address = parse_address("tx2@ssh://" + rest)
    except EdgesynthError:
        return
    assert address.where == rest
    assert not rest.startswith("-")
    assert rest.isascii()
    assert not any(c.isspace() for c in rest)
