"""Files that mean harm: refused, or ended within limits; the reason is told, and the agent lives on as before."""

import gzip
import hashlib
import json
import re
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.agent.models import save_conv
from tests.agent.running import RunningAgent, children, job_request, rest_of, status_of
from tests.needs import need

MIB = 1024 * 1024
DIGEST = "0" * 64
HUNDRED_GB = 25_000_000_000  # floats


@pytest.fixture(scope="module")
def agent(tmp_path_factory):
    with RunningAgent(tmp_path_factory.mktemp("agent"), "--job-memory-mib", "2000") as agent:
        yield agent


@pytest.fixture(autouse=True)
def lives_on(agent):
    """Whatever came, the next one finds the same agent, with nothing running and nothing half stored."""
    pid = agent.process.pid
    yield
    assert agent.ask("GET", "/v1/health")[1]["busy"] is False
    assert agent.process.pid == pid
    assert agent.process.poll() is None
    assert children(pid) == []
    assert not list((agent.socket_path.parent / "models").glob("*.partial"))
    # At its peak, so a body that was held in memory for a moment counts too.
    status = Path(f"/proc/{pid}/status").read_text()
    assert int(re.search(r"VmHWM:\s+([0-9]+) kB", status)[1]) / 1024 < 80


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def save(path, nodes, initializers, shape=("n", 3)):
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    graph = helper.make_graph(nodes, "hostile", [x], [y], initializers)
    model = helper.make_model(graph, ir_version=7, opset_imports=[helper.make_opsetid("", 13)])
    path.write_bytes(model.SerializeToString())
    return path


def greedy_when_run(path):
    shape = numpy_helper.from_array(np.array([HUNDRED_GB], np.int64), "shape")
    nodes = [
        helper.make_node("ReduceSum", ["x"], ["one"], keepdims=0),
        helper.make_node("Expand", ["one", "shape"], ["many"]),
        helper.make_node("ReduceSum", ["many"], ["y"], keepdims=0),
    ]
    return save(path, nodes, [shape])


def greedy_when_loaded(path):
    """What depends on no input, ONNX Runtime computes when it loads the file."""
    shape = numpy_helper.from_array(np.array([HUNDRED_GB], np.int64), "shape")
    nodes = [
        helper.make_node("ConstantOfShape", ["shape"], ["many"]),
        helper.make_node("ReduceSum", ["many"], ["zero"], keepdims=0),
        helper.make_node("Add", ["x", "zero"], ["y"]),
    ]
    return save(path, nodes, [shape])


def greedy_weights(path):
    """Weights that say they are 100 GB, of which the file has none."""
    weights = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[HUNDRED_GB], raw_data=b"\0" * 4)
    return save(path, [helper.make_node("Add", ["x", "w"], ["y"])], [weights])


def greedy_inputs(path):
    """It is the agent that makes the inputs."""
    return save(path, [helper.make_node("Relu", ["x"], ["y"])], [], shape=["n", HUNDRED_GB])


def endless(path):
    """Loops for longer than anybody lives."""
    carried = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("v", "w")]
    inputs = [
        helper.make_tensor_value_info("i", TensorProto.INT64, []),
        helper.make_tensor_value_info("go", TensorProto.BOOL, []),
        carried[0],
    ]
    outputs = [helper.make_tensor_value_info("still", TensorProto.BOOL, []), carried[1]]
    nodes = [helper.make_node("Identity", ["go"], ["still"]), helper.make_node("Sin", ["v"], ["w"])]
    body = helper.make_graph(nodes, "body", inputs, outputs)
    times = numpy_helper.from_array(np.array(2**62, np.int64), "times")
    true = numpy_helper.from_array(np.array(True), "true")
    return save(path, [helper.make_node("Loop", ["times", "true", "x"], ["y"], body=body)], [times, true])


GREEDY = [greedy_when_run, greedy_when_loaded, greedy_weights, greedy_inputs]


def failed(agent, model, **changes):
    """The job of a model that fails: its reason, and what is told of it."""
    job = agent.ended(agent.submit(job_request(model, **changes)))
    assert job["status"] == "failed"
    assert all(job["error"].values())
    assert job["result"] is job["trace_bytes"] is None
    return job["reason"], job["error"]["what"]


class TestModels:
    @pytest.mark.parametrize("save_greedy", GREEDY)
    def test_one_that_wants_100_gb_fails_and_says_so(self, agent, tmp_path, save_greedy):
        reason, _ = failed(agent, agent.upload(save_greedy(tmp_path / "greedy.onnx")))
        assert reason in ("error", "died")
        assert agent.ended(agent.submit(job_request(agent.upload(save_conv(tmp_path / "conv.onnx")))))["result"]

    @pytest.mark.parametrize("save_greedy", GREEDY)
    def test_also_where_the_limit_is_above_it(self, tmp_path, save_greedy):
        mode = Path("/proc/sys/vm/overcommit_memory").read_text().strip()
        need(mode != "1", "a kernel that does not promise memory that there is not (vm.overcommit_memory 0 or 2)")
        with RunningAgent(tmp_path, "--job-memory-mib", "1000000") as unlimited:
            assert failed(unlimited, unlimited.upload(save_greedy(tmp_path / "greedy.onnx")))[0] in ("error", "died")

    def test_an_endless_one_is_ended_at_its_limit(self, agent, tmp_path):
        reason, what = failed(agent, agent.upload(endless(tmp_path / "endless.onnx")), limit_s=3)
        assert (reason, what) == ("time_limit", "it was not done within 3 s")


class TestUploads:
    def refused(self, agent, data, status, what, digest=None):
        found, document = agent.ask("PUT", f"/v1/models/{digest or sha256(data)}", data)
        assert found == status
        assert what in document["error"]["what"]
        assert agent.ask("GET", f"/v1/models/{digest or sha256(data)}")[0] == 404

    @pytest.mark.parametrize("location", ["/etc/passwd", "../../../etc/passwd", "weights.bin", "\0", "jobs.sqlite"])
    def test_weights_in_another_file(self, agent, tmp_path, location):
        model = onnx.load(str(save_conv(tmp_path / "conv.onnx")))
        tensor = model.graph.initializer[0]
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value=location)
        self.refused(agent, model.SerializeToString(), 422, "it keeps weights in another file")

    def test_another_digest(self, agent, tmp_path):
        data = save_conv(tmp_path / "conv.onnx", seed=7).read_bytes()
        self.refused(agent, data, 422, "its SHA-256 is " + sha256(data), digest=DIGEST)

    def test_a_serialized_engine(self, agent):
        self.refused(agent, b"ftrt" + bytes(1000), 422, "it is no ONNX model")

    @pytest.mark.parametrize("name", ["../x", "..%2f..%2fetc%2fpasswd", "/etc/passwd", DIGEST + "/..", DIGEST + "%00"])
    def test_a_name_that_leads_elsewhere(self, agent, tmp_path, name):
        data = save_conv(tmp_path / "conv.onnx").read_bytes()
        before = set(agent.socket_path.parent.rglob("*"))
        assert agent.ask("PUT", f"/v1/models/{name}", data)[0] == 404
        assert set(agent.socket_path.parent.rglob("*")) == before
        body = json.dumps(job_request(name))
        assert agent.ask("POST", "/v1/jobs", body, agent.leased())[0] == 400

    def test_3_gb_is_refused_by_its_length_alone(self, agent):
        head = f"PUT /v1/models/{DIGEST} HTTP/1.1\r\nContent-Length: {3 * 1024**3}\r\n\r\n"
        assert status_of(agent.say(head.encode())) == 413

    def test_3_gb_is_refused_by_the_length_that_its_first_part_tells(self, agent):
        headers = {"Content-Range": f"bytes 0-0/{3 * 1024**3}"}
        status, document = agent.ask("PUT", f"/v1/models/{DIGEST}", b"x", headers)
        assert status == 413
        assert document["error"]["what"] == "it has 3221225472 bytes, and 2147483648 is the most that is taken"

    def test_a_body_without_end_is_refused_at_its_beginning(self, agent):
        sent = 0
        with agent.connect() as connection:
            connection.sendall(f"PUT /v1/models/{DIGEST} HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n".encode())
            said = connection.recv(65536)  # before the first chunk
            chunk = b"%x\r\n" % MIB + bytes(MIB) + b"\r\n"
            try:
                while sent < 3 * 1024:
                    connection.sendall(chunk)
                    sent += 1
            except OSError:  # the agent closed the connection
                pass
            said += rest_of(connection)
        assert status_of(said) == 411
        assert sent < 16


class TestTraces:
    """A trace comes from a board, and is read on a workstation."""

    HEADER = b'{"schema": "edgesynth.run-trace/1", "windows": %d, "conditions": %d}\n'

    def recomputed(self, path):
        """`recompute`, with 500 MiB of memory at the most."""
        return subprocess.run(
            [sys.executable, "-m", "edgesynth_agent", "recompute", str(path)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            check=False,
            timeout=60,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_DATA, (500 * MIB, 500 * MIB)),
        )

    @pytest.mark.parametrize(
        "lines",
        [
            (b"", b" " * MIB),
            (HEADER % (10**9, 0), b'{"start_s": 0, "end_s": 0, "inferences": 0}\n' * 10000),
            (HEADER % (0, 10**9), b"[1, 2, 3]\n" * 100000),
            (HEADER % (1, 0) + b'{"start_s": 0, "end_s": 1, "inferences": 1000000000}\n', b"[1]\n" * 100000),
            (HEADER % (1, 0) + b'{"start_s": 0, "end_s": 1, "inferences": 1}\n[', b"[" * MIB),
        ],
        ids=["one line", "windows", "conditions", "latencies", "nesting"],
    )
    def test_one_that_expands_to_a_gigabyte_is_refused(self, tmp_path, lines):
        beginning, rest = lines
        # Members of a gzip file that follow one another are one content (RFC 1952, section 2.2).
        bomb = gzip.compress(beginning) + gzip.compress(rest) * (1024 * MIB // len(rest))
        assert len(bomb) < 30 * MIB
        (tmp_path / "bomb.gz").write_bytes(bomb)
        done = self.recomputed(tmp_path / "bomb.gz")
        assert (done.returncode, done.stdout) == (2, b"")
        assert done.stderr.count(b"\n") == 1
        assert b"it is no trace of a run" in done.stderr
