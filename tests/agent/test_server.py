"""The agent as a process: its API, and everything that can go wrong around it."""

import contextlib
import json
import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import edgesynth_agent
import onnx
import pytest

from tests.agent.models import save_conv, save_identity
from tests.agent.running import RunningAgent, children, gone, job_request, until
from tests.agent.schemas import Record


@pytest.fixture(scope="module")
def agent(tmp_path_factory):
    with RunningAgent(tmp_path_factory.mktemp("agent")) as agent:
        yield agent


@pytest.fixture(scope="module")
def model(agent, tmp_path_factory):
    return agent.upload(save_conv(tmp_path_factory.mktemp("models") / "conv.onnx"))


class TestAnswers:
    def test_health(self, agent):
        assert agent.ask("GET", "/v1/health") == (
            200,
            {"status": "ok", "version": edgesynth_agent.__version__, "busy": False, "job": None, "warnings": []},
        )

    def test_device_facts(self, agent):
        status, facts = agent.ask("GET", "/v1/device")
        assert status == 200
        assert facts["cpus"] == os.cpu_count()
        assert facts["agent"] == edgesynth_agent.__version__
        assert facts["runtimes"]["onnxruntime"]["version"]
        assert bool(facts["power"]["sensor"]) != bool(facts["power"]["reason"])

    def test_a_model_is_there_after_its_upload(self, agent, model):
        assert agent.ask("GET", f"/v1/models/{model}")[0] == 200
        assert agent.ask("HEAD", f"/v1/models/{model}") == (200, None)
        assert agent.ask("GET", "/v1/models/" + "0" * 64)[0] == 404

    def test_a_job_ends_in_a_measurement(self, agent, model):
        job = agent.ended(agent.submit(job_request(model, batch=2)))
        assert (job["status"], job["progress"], job["error"]) == ("done", 1.0, None)
        record = Record.of(job["result"])
        assert (record.target, record.source, record.engine.batch) == ("host", "measured", 2)
        assert record.engine.backend == "onnxruntime"
        assert record.engine.flags["intra_op_threads"] == 1
        assert len(record.windows) == 3
        assert record.energy_mj is None
        # Be it that there is no sensor, or that these windows are too short for the one there is.
        assert any("energy" in warning and "unknown" in warning for warning in record.warnings)
        assert record.device["power"].keys() >= {"sensor", "reason"}

    def test_two_requests_on_one_connection(self, agent):
        request = b"GET /v1/health HTTP/1.1\r\nHost: x\r\n\r\n"
        assert agent.say(request + request).count(b"200 OK") == 2

    def test_it_listens_on_its_socket_and_nothing_else(self, agent):
        agent.ask("GET", "/v1/health")
        tables = [Path("/proc/net") / name for name in ("tcp", "tcp6", "udp", "udp6")]
        network = {line.split()[9] for table in tables if table.exists() for line in table.read_text().splitlines()[1:]}
        assert agent.sockets()
        assert not agent.sockets() & network
        assert stat.S_IMODE(agent.socket_path.stat().st_mode) == 0o600


class TestRefusals:
    def refused(self, answer, status):
        assert answer[0] == status
        assert set(answer[1]["error"]) == {"what", "where", "next"}
        assert all(answer[1]["error"].values())
        return answer[1]["error"]

    def test_unknown_route(self, agent):
        self.refused(agent.ask("GET", "/v1/secrets"), 404)
        self.refused(agent.ask("GET", "/v1/models/../../etc/passwd"), 404)

    def test_wrong_method(self, agent):
        assert "GET" in self.refused(agent.ask("DELETE", "/v1/health"), 405)["next"]

    @pytest.mark.parametrize("body", ["{", "[]", '{"batch": NaN}', "\x00", "[" * 50_000])
    def test_bad_json(self, agent, body):
        self.refused(agent.ask("POST", "/v1/jobs", body), 400)

    def test_a_field_out_of_bounds(self, agent, model):
        error = self.refused(agent.ask("POST", "/v1/jobs", json.dumps(job_request(model, batch=0))), 400)
        assert "batch" in error["where"]

    def test_json_too_large(self, agent):
        self.refused(agent.ask("POST", "/v1/jobs", " " * 70_000), 413)

    def test_a_model_too_large(self, agent):
        announced = {"Content-Length": str(10**12)}
        self.refused(agent.ask("PUT", "/v1/models/" + "0" * 64, b"x", announced), 413)

    def test_wrong_digest(self, agent):
        self.refused(agent.ask("PUT", "/v1/models/" + "0" * 64, b"x"), 422)

    def test_a_body_without_length(self, agent):
        self.refused(agent.ask("PUT", "/v1/models/" + "0" * 64, iter([b"x"])), 411)

    def test_a_length_that_is_none(self, agent):
        self.refused(agent.ask("POST", "/v1/jobs", "{}", {"Content-Length": "-5"}), 400)

    def test_a_body_that_ends_early(self, agent):
        head = b"PUT /v1/models/" + b"0" * 64 + b" HTTP/1.1\r\nContent-Length: 100\r\n\r\nabc"
        assert b" 400 " in agent.say(head).splitlines()[0]

    @pytest.mark.parametrize(
        "garbage",
        [
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
            b"GET\r\n\r\n",
            b"BREW /v1/health HTTP/1.1\r\n\r\n",
            b"GET /v1/health HTTP/9.9\r\n\r\n",
            b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\n\r\n",
            b"GET /v1/health HTTP/1.1\r\n" + b"a: b\r\n" * 200 + b"\r\n",
        ],
    )
    def test_garbage_gets_an_error_and_the_agent_lives_on(self, agent, garbage):
        assert b'"error"' in agent.say(garbage)
        assert agent.ask("GET", "/v1/health")[0] == 200

    def test_clients_that_go_away_are_no_harm(self, agent):
        for data in (b"", b"GET /v1/hea", b"POST /v1/jobs HTTP/1.1\r\nContent-Length: 9\r\n\r\n"):
            with agent.connect() as connection:
                connection.sendall(data)
        assert agent.ask("GET", "/v1/health")[0] == 200

    def test_too_many_connections_are_turned_away(self, agent):
        with contextlib.ExitStack() as stack:
            connections = [stack.enter_context(agent.connect()) for _ in range(40)]
            assert connections[-1].recv(100).startswith(b"HTTP/1.1 503 ")
        until(lambda: b" 200 " in agent.say(b"GET /v1/health HTTP/1.1\r\n\r\n"))

    def test_unknown_model(self, agent):
        self.refused(agent.ask("POST", "/v1/jobs", json.dumps(job_request("0" * 64)), agent.leased()), 404)

    def test_a_target_that_this_device_is_not(self, agent, model):
        error = self.refused(
            agent.ask("POST", "/v1/jobs", json.dumps(job_request(model, target="tx2")), agent.leased()), 422
        )
        assert "tx2" in error["what"]

    def test_unknown_job(self, agent):
        self.refused(agent.ask("GET", "/v1/jobs/123abc123abc"), 404)
        self.refused(agent.ask("DELETE", "/v1/jobs/123abc123abc"), 404)


class TestJobsThatGoWrong:
    def test_one_job_at_a_time(self, agent, model):
        first = agent.submit(job_request(model, window_s=10))
        status, document = agent.ask("POST", "/v1/jobs", json.dumps(job_request(model)), agent.leased())
        assert status == 409
        assert first in document["error"]["what"]
        assert agent.ask("DELETE", f"/v1/jobs/{first}")[1]["status"] == "cancelled"
        assert agent.ended(agent.submit(job_request(model)))["status"] == "done"

    def test_cancelling_ends_the_worker(self, agent, model):
        job_id = agent.submit(job_request(model, window_s=10))
        pid = agent.measuring(job_id)
        status, job = agent.ask("DELETE", f"/v1/jobs/{job_id}")
        assert (status, job["status"], job["result"], job["reason"]) == (200, "cancelled", None, "request")
        assert gone(pid)
        assert agent.ask("DELETE", f"/v1/jobs/{job_id}") == (200, job)

    @pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV])
    def test_a_worker_that_dies_costs_its_job_only(self, agent, model, number):
        job_id = agent.submit(job_request(model, window_s=10))
        os.kill(agent.measuring(job_id), number)
        job = agent.ended(job_id)
        assert job["status"] == "failed"
        assert number.name in job["error"]["what"]
        assert agent.ended(agent.submit(job_request(model)))["status"] == "done"

    def test_a_worker_that_hangs_is_ended_at_the_limit(self, agent, model):
        job_id = agent.submit(job_request(model, limit_s=4))
        pid = agent.measuring(job_id)
        os.kill(pid, signal.SIGSTOP)
        job = agent.ended(job_id)
        assert job["status"] == "failed"
        assert "4 s" in job["error"]["what"]
        assert gone(pid)

    def test_a_network_that_leaves_its_size_open_fails_with_a_sentence(self, agent, tmp_path):
        path = save_identity(tmp_path / "open.onnx", onnx.TensorProto.FLOAT, ["n", 3, "h"])
        job = agent.ended(agent.submit(job_request(agent.upload(path))))
        assert job["status"] == "failed"
        assert "export the network with fixed sizes" in job["error"]["next"]

    def test_a_job_that_needs_more_memory_than_it_may_use_fails(self, tmp_path):
        with RunningAgent(tmp_path, "--job-memory-mib", "128") as agent:
            model = agent.upload(save_conv(tmp_path / "conv.onnx", size=2048))
            job = agent.ended(agent.submit(job_request(model)))
            assert (job["status"], job["reason"]) == ("failed", "error")
            model = agent.upload(save_conv(tmp_path / "conv.onnx"))
            assert agent.ended(agent.submit(job_request(model)))["status"] == "done"


class TestLifeCycle:
    def test_it_hears_a_signal_in_the_midst_of_connections(self, tmp_path):
        """The kernel may give it to any thread, and most do nothing then but end."""
        for _ in range(4):
            with RunningAgent(tmp_path) as agent:
                for _ in range(100):
                    with agent.connect() as connection:
                        connection.sendall(b"GET")
            assert agent.process.returncode == 0

    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
    def test_a_signal_ends_it_in_order_with_its_worker(self, tmp_path, number):
        with RunningAgent(tmp_path) as agent:
            model = agent.upload(save_conv(tmp_path / "conv.onnx"))
            pid = agent.measuring(agent.submit(job_request(model, window_s=10)))
            agent.process.send_signal(number)
            assert agent.process.wait(20) == 0
            assert gone(pid)
            assert not agent.socket_path.exists()
            assert b"Traceback" not in agent.process.stderr.read()

    def test_it_ends_when_stdin_does(self, tmp_path):
        with RunningAgent(tmp_path, "--until-eof") as agent:
            time.sleep(0.1)
            assert agent.process.poll() is None
            agent.process.stdin.close()
            assert agent.process.wait(20) == 0
            assert not agent.socket_path.exists()

    def test_killed_it_leaves_no_worker_and_the_next_one_takes_over(self, tmp_path):
        with RunningAgent(tmp_path) as agent:
            model = agent.upload(save_conv(tmp_path / "conv.onnx"))
            pid = agent.measuring(agent.submit(job_request(model, window_s=10)))
            agent.process.kill()
            agent.process.wait()
            until(lambda: gone(pid))
        assert agent.socket_path.exists()
        with RunningAgent(tmp_path) as agent:
            assert agent.ask("GET", f"/v1/models/{model}")[0] == 200

    def serve(self, *arguments):
        command = [sys.executable, "-m", "edgesynth_agent", "serve", *arguments]
        done = subprocess.run(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, universal_newlines=True, timeout=20, check=False
        )
        assert "Traceback" not in done.stderr
        return done.returncode, done.stderr

    def test_a_second_agent_on_the_same_socket_gives_way(self, agent, tmp_path):
        code, said = self.serve("--socket", str(agent.socket_path), "--store", str(tmp_path / "models"))
        assert code == 3
        assert "listens there already" in said
        assert agent.ask("GET", "/v1/health")[0] == 200

    def test_it_does_not_overwrite_a_file(self, tmp_path):
        (tmp_path / "notes").write_text("keep me")
        code, said = self.serve("--socket", str(tmp_path / "notes"), "--store", str(tmp_path / "models"))
        assert code == 2
        assert "no socket" in said
        assert (tmp_path / "notes").read_text() == "keep me"

    def test_a_path_too_long_for_a_socket_is_named(self, tmp_path):
        code, said = self.serve("--socket", str(tmp_path / ("a" * 120)), "--store", str(tmp_path / "models"))
        assert code == 2
        assert "longer than" in said

    def test_no_children_are_left_of_what_ran_before(self, agent):
        assert children(agent.process.pid) == []

    def test_a_socket_needs_its_folder(self, tmp_path):
        code, said = self.serve("--socket", str(tmp_path / "no" / "s"), "--store", str(tmp_path / "models"))
        assert code == 2
        assert "No such file" in said
