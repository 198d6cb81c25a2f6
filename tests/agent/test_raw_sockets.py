"""Everything that a broken or a bad client may send: an answer or a closed connection in time, and the agent lives on.

EDGESYNTH_API_REQUESTS says how many requests the fuzzed tests make; `make soak-agent` asks for 100,000.
"""

import contextlib
import json
import os
import random
import re
import socket
import threading
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.agent import api
from tests.agent.models import save_conv
from tests.agent.running import RunningAgent, children, rest_of, status_of, until

REQUESTS = int(os.environ.get("EDGESYNTH_API_REQUESTS", "300"))
FUZZED = settings(
    max_examples=max(1, REQUESTS // 3),
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
)
MODEL = "/v1/models/" + "0" * 64
MIB = 1024 * 1024


@pytest.fixture(scope="module")
def agent(tmp_path_factory):
    with RunningAgent(tmp_path_factory.mktemp("agent")) as agent:
        agent.upload(save_conv(tmp_path_factory.mktemp("models") / "conv.onnx"))
        agent.ask("GET", "/v1/device")
        yield agent


@pytest.fixture(autouse=True)
def well(agent):
    """After each test the agent answers, holds no more memory than it ever needs, and no thread or file."""
    yield
    assert agent.ask("GET", "/v1/health")[0] == 200
    assert memory_mib(agent) < 80
    assert agent.process.poll() is None


def memory_mib(agent):
    status = Path(f"/proc/{agent.process.pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+([0-9]+) kB", status)[1]) / 1024


def files_of(agent):
    return len(list(Path(f"/proc/{agent.process.pid}/fd").iterdir()))


def pour(agent, head, chunk, times):
    """Send a head and then a chunk many times, as long as the agent takes it; what it said."""
    with agent.connect() as connection:
        connection.sendall(head)
        try:
            for _ in range(times):
                connection.sendall(chunk)
            connection.shutdown(socket.SHUT_WR)
        except OSError:
            pass
        return rest_of(connection)


class TestSizes:
    def test_a_header_of_a_gigabyte(self, agent):
        said = pour(agent, b"GET /v1/health HTTP/1.1\r\nX: ", b"a" * MIB, 1024)
        assert status_of(said) in (None, 431)
        assert memory_mib(agent) < 80

    def test_headers_without_end(self, agent):
        said = pour(agent, b"GET /v1/health HTTP/1.1\r\n", b"a: b\r\n" * 1000, 10000)
        assert status_of(said) in (None, 431)

    def test_a_request_line_without_end(self, agent):
        assert status_of(pour(agent, b"GET /", b"a" * MIB, 64)) in (None, 414, 431)

    def test_a_body_larger_than_it_says_is_a_request_of_its_own(self, agent):
        said = agent.say(b"POST /v1/leases HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}" + b"x" * 100 + b"\r\n\r\n")
        assert [int(code) for code in re.findall(rb"HTTP/1\.[01] (\d+)", said)][:1] == [400]

    def test_a_model_larger_than_is_taken(self, agent):
        head = f"PUT {MODEL} HTTP/1.1\r\nContent-Length: {3 * 1024**3}\r\n\r\n".encode()
        assert status_of(pour(agent, head, b"x" * MIB, 1)) == 413

    @pytest.mark.parametrize("length", [b"-1", b"1e3", b"0x10", b"+5", b"5 5", b"", b"9" * 30, b"\xb2"])
    def test_lengths_that_are_none(self, agent, length):
        said = agent.say(b"POST /v1/leases HTTP/1.1\r\nContent-Length: " + length + b"\r\n\r\n{}")
        assert status_of(said) in (400, 411)

    def test_two_lengths(self, agent):
        said = agent.say(b"POST /v1/leases HTTP/1.1\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{} ")
        assert status_of(said) == 400

    @pytest.mark.parametrize("body", [b"2\r\n{}\r\n0\r\n\r\n", b"zz\r\n", b"ffffffffffffffff\r\n", b"-1\r\n", b""])
    def test_chunks_good_and_bad_are_not_taken(self, agent, body):
        said = agent.say(b"POST /v1/leases HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n" + body)
        assert status_of(said) == 411
        assert said.count(b"HTTP/1.1") == 1


class TestConnections:
    def test_pipelined_requests_are_answered_in_their_order(self, agent):
        said = agent.say(b"GET /v1/health HTTP/1.1\r\n\r\nGET /none HTTP/1.1\r\n\r\n" * 100)
        assert [int(code) for code in re.findall(rb"HTTP/1\.1 (\d+)", said)] == [200, 404] * 100

    def test_many_come_and_go(self, agent):
        before = files_of(agent)
        for _ in range(max(100, REQUESTS // 10)):
            with contextlib.suppress(OSError), agent.connect() as connection:
                connection.sendall(random.choice([b"", b"GET", b"GET /v1/health HTTP/1.1\r\n\r\n"]))
        agent.ask("GET", "/v1/health")  # it is answered in its turn: after it nobody waits any more to be let in
        until(lambda: files_of(agent) <= before)

    def test_many_at_once(self, agent):
        said = []

        def ask():
            with agent.connect() as connection:
                connection.sendall(b"GET /v1/health HTTP/1.1\r\nConnection: close\r\n\r\n")
                said.append(status_of(rest_of(connection)))

        threads = [threading.Thread(target=ask) for _ in range(100)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(said) == 100
        assert set(said) <= {200, 503}

    def test_a_client_that_does_not_read(self, agent):
        with agent.connect() as connection:
            connection.settimeout(0.5)
            with contextlib.suppress(OSError):
                for _ in range(2000):
                    connection.sendall(b"GET /v1/openapi.json HTTP/1.1\r\n\r\n")
            assert agent.ask("GET", "/v1/health")[0] == 200


@pytest.mark.parametrize(
    "path",
    [
        "/v1/models/../../../etc/passwd",
        "/v1/models/%2e%2e%2f%2e%2e%2fetc%2fpasswd",
        "/v1/jobs/../jobs.sqlite",
        "/v1/jobs/..%2f..%2fjobs/trace",
        "/v1/jobs/aaaaaaaaaaaa%00/trace",
        "http://x/v1/health",
        "/v1/models/" + "A" * 64,
        "/v1/models/" + "0" * 63,
        "/v1/health/",
        "*",
    ],
)
@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_no_path_leads_out(agent, method, path):
    said = agent.say(f"{method} {path} HTTP/1.1\r\nContent-Length: 1\r\n\r\nx".encode())
    assert status_of(said) == 404


class TestFuzzed:
    @FUZZED
    @given(st.binary(max_size=2000))
    def test_bytes(self, agent, data):
        self.well_answered(agent.say(data))

    @FUZZED
    @given(
        method=st.sampled_from([b"GET", b"PUT", b"POST", b"DELETE", b"HEAD", b"OPTIONS", b"\xff", b""]),
        path=st.sampled_from([b"/v1/health", b"/v1/jobs", b"/v1/leases", MODEL.encode(), b"/metrics"]) | st.binary(),
        version=st.sampled_from([b"HTTP/1.1", b"HTTP/1.0", b"HTTP/0.9", b"HTTP/2.0", b"http", b""]),
        headers=st.lists(
            st.tuples(
                st.sampled_from([b"Content-Length", b"Content-Range", b"Expect", b"Connection", b"Edgesynth-Lease"])
                | st.binary(max_size=10),
                st.sampled_from([b"0", b"5", b"100-continue", b"close", b"bytes 0-4/5", b"bytes 5-9/20"])
                | st.binary(max_size=20),
            ),
            max_size=5,
        ),
        body=st.binary(max_size=50),
    )
    def test_almost_requests(self, agent, method, path, version, headers, body):
        head = b"".join(b"%s: %s\r\n" % pair for pair in headers)
        self.well_answered(agent.say(b"%s %s %s\r\n%s\r\n%s" % (method, path, version, head, body)))

    def well_answered(self, said):
        """Nothing, or an answer that is no fault of the agent; the old form of HTTP has no status."""
        for code in re.findall(rb"^HTTP/1\.[01] (\d+)", said, flags=re.MULTILINE):
            assert int(code) < 500 or int(code) in (501, 503, 505, 507), said[:500]

    @FUZZED
    @given(data=st.data())
    def test_requests_of_the_openapi_file(self, agent, data):
        method, template, operation = data.draw(st.sampled_from(list(api.operations())))
        path, headers, query = template, {}, []
        for parameter in [*api.openapi()["paths"][template].get("parameters", []), *operation.get("parameters", [])]:
            value = str(data.draw(values(parameter["schema"])))
            if parameter["in"] == "path":
                path = path.replace("{" + parameter["name"] + "}", value)
            elif data.draw(st.booleans()):
                value = re.sub(r"[^ -~]", "?", value).strip()
                query += [f"{parameter['name']}={value}"] if parameter["in"] == "query" else []
                headers.update({parameter["name"]: value} if parameter["in"] == "header" else {})
        body = None
        if "requestBody" in operation:
            schema = next(iter(operation["requestBody"]["content"].values()))["schema"]
            body = data.draw(st.binary(max_size=100))
            if schema.get("format") != "binary":
                document = data.draw(values(schema))
                if isinstance(document, dict) and data.draw(st.integers(0, 3)) == 0:
                    document[data.draw(st.sampled_from([*document, "x"]))] = data.draw(anything)
                body = json.dumps(document, allow_nan=False).encode()
        elif method == "POST":
            body = b""
        status, _, _ = agent.exchange(method, path + ("?" + "&".join(query) if query else ""), body, headers)
        assert status < 500 or status == 507


anything = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()


def values(schema):
    """Values of the schemas that requests have in the file."""
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    if schema["type"] == "object":
        fields = {name: values(each) for name, each in schema["properties"].items()}
        needed = {name: fields.pop(name) for name in schema.get("required", list(fields))}
        return st.fixed_dictionaries(needed, optional=fields)
    if schema["type"] == "integer":
        return st.integers(schema.get("minimum"), schema.get("maximum"))
    if schema["type"] == "number":
        return st.floats(schema.get("minimum"), schema.get("maximum"), allow_nan=False)
    if "pattern" in schema:
        return st.from_regex(schema["pattern"].replace("$", r"\Z"))
    return st.text(min_size=schema.get("minLength", 0), max_size=schema.get("maxLength", 50))


def test_nothing_is_left_of_all_that(agent):
    assert children(agent.process.pid) == []
    deadline_s = time.monotonic() + 40
    threads = Path(f"/proc/{agent.process.pid}/task")
    while len(list(threads.iterdir())) > 5 and time.monotonic() < deadline_s:
        time.sleep(0.1)
    assert len(list(threads.iterdir())) <= 5
