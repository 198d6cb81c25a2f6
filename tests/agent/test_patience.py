"""Clients that take their time: each has some, and no more."""

import socket
import sys
import time

import pytest

from tests.agent.running import RunningAgent, rest_of, status_of

MODEL = "/v1/models/" + "0" * 64


@pytest.fixture(scope="module")
def hasty(tmp_path_factory):
    """An agent with shorter limits: what is tested is that they hold."""
    folder = tmp_path_factory.mktemp("hasty")
    code = (
        "import sys, edgesynth_agent.requestio as io, edgesynth_agent.jsonhttp as http; io._HEAD_LIMIT_S = 0.5;"
        "io._BODY_LIMIT_S = 0.5; io._LEAST_BYTES_PER_S = 1000; http._IDLE_LIMIT_S = 0.5;"
        "from edgesynth_agent.cli import main; sys.exit(main())"
    )
    with RunningAgent(folder, command=(sys.executable, "-c", code)) as agent:
        yield agent


class TestPatience:
    def drip(self, agent, head, byte):
        """A byte every tenth of a second until the agent has enough; its answer."""
        with agent.connect() as connection:
            connection.sendall(head)
            for _ in range(200):
                time.sleep(0.1)
                try:
                    connection.sendall(byte)
                except OSError:
                    return rest_of(connection)
            raise AssertionError("it never had enough")

    def test_a_head_that_drips(self, hasty):
        assert status_of(self.drip(hasty, b"GET /v1/health HTTP/1.1\r\nX: ", b"a")) is None

    def test_a_body_that_drips(self, hasty):
        head = f"PUT {MODEL} HTTP/1.1\r\nContent-Length: 100000\r\n\r\n".encode()
        assert status_of(self.drip(hasty, head, b"a")) in (None, 408)

    def test_a_client_that_says_nothing(self, hasty):
        with hasty.connect() as connection:
            assert connection.recv(100) == b""

    def test_half_a_request(self, hasty):
        with hasty.connect() as connection:
            connection.sendall(b"POST /v1/leases HTTP/1.1\r\nContent-Length: 100\r\n\r\n{")
            assert status_of(rest_of(connection)) == 408

    def test_a_body_that_keeps_its_pace_may_take_long(self, hasty):
        head = b"POST /v1/leases HTTP/1.1\r\nContent-Length: 8000\r\n\r\n"
        with hasty.connect() as connection:
            connection.sendall(head)
            for _ in range(20):
                connection.sendall(b" " * 400)
                time.sleep(0.1)
            connection.shutdown(socket.SHUT_WR)
            assert b"it is no JSON" in rest_of(connection)
