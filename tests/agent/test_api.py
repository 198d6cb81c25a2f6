"""The API on a real agent: leases, jobs, events, traces, uploads, metrics. Every answer is held against its file."""

import hashlib
import http.client
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time

import pytest
from edgesynth_agent.run_trace import read_run_trace

from tests.agent.models import save_conv
from tests.agent.running import RunningAgent, gone, job_request, rest_of, status_of, until
from tests.agent.schemas import SCHEMAS

UNKNOWN = "0" * 12


@pytest.fixture(scope="module")
def agent(tmp_path_factory):
    with RunningAgent(tmp_path_factory.mktemp("agent")) as agent:
        yield agent


@pytest.fixture(scope="module")
def model(agent, tmp_path_factory):
    return agent.upload(save_conv(tmp_path_factory.mktemp("models") / "conv.onnx"))


@pytest.fixture(autouse=True)
def free(agent):
    """Each test begins and ends with a device that nobody has."""
    yield
    agent.give_back()


def test_it_answers_with_its_file(agent):
    assert agent.ask("GET", "/v1/openapi.json") == (200, json.loads((SCHEMAS / "openapi.json").read_text()))


class TestLeases:
    def test_a_job_needs_one(self, agent, model):
        body = json.dumps(job_request(model))
        for headers in ({}, {"Edgesynth-Lease": "0" * 32}):
            status, document = agent.ask("POST", "/v1/jobs", body, headers)
            assert (status, document["error"]["where"]) == (403, "header Edgesynth-Lease")

    def test_the_device_is_one_holders(self, agent):
        lease_id = agent.take_lease(holder="ann@lab")
        shown = agent.ask("GET", "/v1/lease")[1]["lease"]
        assert (shown["holder"], shown["ttl_s"]) == ("ann@lab", 600)
        assert lease_id not in json.dumps(shown)
        status, document = agent.ask("POST", "/v1/leases", json.dumps({"holder": "bob", "ttl_s": 5}))
        assert status == 409
        assert "ann@lab" in document["error"]["what"]
        assert agent.ask("POST", f"/v1/leases/{lease_id}/heartbeat", "")[0] == 200
        assert agent.ask("DELETE", f"/v1/leases/{lease_id}")[0] == 200
        assert agent.ask("GET", "/v1/lease")[1] == {"lease": None}
        assert agent.ask("POST", f"/v1/leases/{lease_id}/heartbeat", "")[0] == 404

    @pytest.mark.parametrize(
        "request_",
        [{}, {"holder": "", "ttl_s": 5}, {"holder": "a\nb", "ttl_s": 5}, {"holder": "a", "ttl_s": 0}, {"holder": 5}],
    )
    def test_a_bad_request_is_refused(self, agent, request_):
        assert agent.ask("POST", "/v1/leases", json.dumps(request_))[0] == 400

    def test_without_heartbeats_the_job_ends_and_the_device_is_free(self, agent, model):
        begin_s = time.monotonic()
        beat = f"/v1/leases/{agent.take_lease(ttl_s=2)}/heartbeat"
        job_id = agent.submit(job_request(model, window_s=10))
        until(lambda: agent.ask("POST", beat, "")[0] == 200 and agent.job(job_id)["stage"] == "measuring")
        pid = agent.measuring(job_id)
        job = agent.ended(job_id)
        assert (job["status"], job["reason"]) == ("cancelled", "lease_ended")
        assert "had no heartbeat for 2 s" in job["error"]["what"]
        assert gone(pid)
        assert time.monotonic() - begin_s >= 2
        agent.take_lease()
        assert agent.ended(agent.submit(job_request(model)))["status"] == "done"

    def test_who_comes_next_waits_for_nothing(self, agent, model):
        agent.submit(job_request(model, window_s=10))
        agent.ask("DELETE", f"/v1/leases/{agent.lease}")
        agent.take_lease()
        assert agent.ended(agent.submit(job_request(model)))["status"] == "done"


class TestUploadsWhileAJobRuns:
    @pytest.fixture
    def other(self, tmp_path):
        return save_conv(tmp_path / "other.onnx", seed=int.from_bytes(os.urandom(3), "big")).read_bytes()

    @pytest.fixture
    def running(self, agent, model):
        job_id = agent.submit(job_request(model, window_s=10))
        agent.measuring(job_id)
        return job_id

    @pytest.mark.parametrize("kind", ["models", "files"])
    @pytest.mark.parametrize("lease", [{}, {"Edgesynth-Lease": "0" * 32}])
    def test_somebody_elses_would_disturb_it(self, agent, running, other, kind, lease):
        place = f"/v1/{kind}/{hashlib.sha256(other).hexdigest()}"
        status, document = agent.ask("PUT", place, other, lease)
        assert status == 409
        assert f"job {running} of test@here runs" in document["error"]["what"]
        assert agent.job(running)["status"] == "running"
        assert agent.ask("GET", place)[0] == 404

    def test_its_holder_may(self, agent, running, other):
        place = "/v1/models/" + hashlib.sha256(other).hexdigest()
        assert agent.ask("PUT", place, other, agent.leased())[0] == 201
        assert agent.job(running)["status"] == "running"

    def test_so_may_anybody_afterwards(self, agent, running, tmp_path):
        assert agent.ask("DELETE", f"/v1/jobs/{running}")[0] == 200
        agent.upload(save_conv(tmp_path / "other.onnx", seed=77))

    def test_one_under_way_ends_when_it_begins_and_what_came_is_kept(self, agent, model):
        data = os.urandom(200_000)
        place = "/v1/models/" + hashlib.sha256(data).hexdigest()
        part = f"Content-Range: bytes 0-{len(data) - 1}/{len(data)}"
        head = f"PUT {place} HTTP/1.1\r\nConnection: close\r\nContent-Length: {len(data)}\r\n{part}\r\n\r\n"
        with agent.connect() as connection:
            connection.sendall(head.encode() + data[:1000])
            until(lambda: agent.exchange("HEAD", place)[1]["Upload-Offset"] == "1000")
            agent.measuring(agent.submit(job_request(model, window_s=10)))
            connection.sendall(data[1000:])
            answer = rest_of(connection)
        assert status_of(answer) == 409
        assert b"would disturb its figure" in answer
        assert 1000 <= int(agent.exchange("HEAD", place)[1]["Upload-Offset"]) < len(data)


class TestJobs:
    def test_the_same_key_is_the_same_job(self, agent, model):
        key = {"Idempotency-Key": "run 7, candidate 3"}
        job_id = agent.submit(job_request(model), **key)
        agent.ended(job_id)
        assert agent.submit(job_request(model), **key) == job_id
        answer = agent.ask("POST", "/v1/jobs", json.dumps(job_request(model, batch=2)), {**agent.leased(), **key})
        assert answer[0] == 422
        assert [job["id"] for job in agent.ask("GET", "/v1/jobs")[1]["jobs"]].count(job_id) == 1

    def test_result_and_trace_of_a_job_that_is_done(self, agent, model, tmp_path):
        job = agent.ended(agent.submit(job_request(model, batch=2)))
        assert agent.ask("GET", f"/v1/jobs/{job['id']}/result") == (200, job["result"])
        status, _, data = agent.exchange("GET", f"/v1/jobs/{job['id']}/trace")
        assert (status, len(data)) == (200, job["trace_bytes"])
        (tmp_path / "trace.gz").write_bytes(data)
        again = read_run_trace(str(tmp_path / "trace.gz")).document()
        assert json.loads(json.dumps(again)) == job["result"]

    def test_before_the_end_there_is_no_result_and_without_one_never(self, agent, model):
        job_id = agent.submit(job_request(model, window_s=10))
        assert agent.ask("GET", f"/v1/jobs/{job_id}/result")[0] == 409
        agent.ask("DELETE", f"/v1/jobs/{job_id}")
        assert agent.ask("GET", f"/v1/jobs/{job_id}/result")[0] == 404
        assert agent.ask("GET", f"/v1/jobs/{job_id}/trace")[0] == 404
        for what in ("", "/result", "/trace", "/events"):
            assert agent.ask("GET", f"/v1/jobs/{UNKNOWN}{what}")[0] == 404

    def test_killed_the_next_agent_says_that_it_was_interrupted(self, tmp_path):
        with RunningAgent(tmp_path) as first:
            model = first.upload(save_conv(tmp_path / "conv.onnx"))
            job_id = first.submit(job_request(model, window_s=10))
            pid = first.measuring(job_id)
            first.process.kill()
            first.process.wait()
            until(lambda: gone(pid))
        with RunningAgent(tmp_path) as second:
            job = second.job(job_id)
            assert (job["status"], job["reason"], job["result"]) == ("failed", "interrupted", None)
            assert second.ask("GET", "/v1/lease")[1] == {"lease": None}
            assert second.ended(second.submit(job_request(model)))["status"] == "done"

    def test_stopped_it_says_so(self, tmp_path):
        with RunningAgent(tmp_path) as first:
            job_id = first.submit(job_request(first.upload(save_conv(tmp_path / "conv.onnx")), window_s=10))
            first.measuring(job_id)
        with RunningAgent(tmp_path) as second:
            job = second.job(job_id)
            assert (job["status"], job["reason"]) == ("cancelled", "agent_stopped")

    def test_a_worker_stuck_in_native_code_dies_with_the_agent(self, tmp_path):
        """Its thread that waits for the end of stdin is stopped like all others; the kernel ends it all the same."""
        with RunningAgent(tmp_path) as agent:
            job_id = agent.submit(job_request(agent.upload(save_conv(tmp_path / "conv.onnx")), window_s=10))
            pid = agent.measuring(job_id)
            os.kill(pid, signal.SIGSTOP)
            agent.process.kill()
            agent.process.wait()
            until(lambda: gone(pid))

    def test_only_the_last_jobs_and_traces_are_kept(self, tmp_path):
        with RunningAgent(tmp_path, "--keep-jobs", "2") as agent:
            model = agent.upload(save_conv(tmp_path / "conv.onnx"))
            ids = [agent.ended(agent.submit(job_request(model)))["id"] for _ in range(3)]
            until(lambda: agent.ask("GET", f"/v1/jobs/{ids[0]}")[0] == 404)
            assert [job["id"] for job in agent.ask("GET", "/v1/jobs")[1]["jobs"]] == ids[:0:-1]
            assert sorted(path.name for path in (tmp_path / "models/traces").iterdir()) == sorted(
                f"{job_id}.jsonl.gz" for job_id in ids[1:]
            )

    def test_one_store_is_one_agents(self, agent, tmp_path):
        command = [sys.executable, "-m", "edgesynth_agent", "serve", "--socket", str(tmp_path / "s"), "--store"]
        store = str(agent.socket_path.parent / "models")
        done = subprocess.run(
            [*command, store],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            universal_newlines=True,
            timeout=20,
            check=False,
        )
        assert done.returncode == 3
        assert "an agent uses it already" in done.stderr


class TestEvents:
    def lines(self, agent, path):
        status, headers, data = agent.exchange("GET", path)
        assert (status, headers["Transfer-Encoding"]) == (200, "chunked")
        return [json.loads(line) for line in data.splitlines()]

    def test_all_of_a_job_that_has_ended_and_the_rest_from_anywhere(self, agent, model):
        job_id = agent.ended(agent.submit(job_request(model)))["id"]
        events = self.lines(agent, f"/v1/jobs/{job_id}/events")
        assert [event["stage"] for event in events[:3]] == ["queued", "starting", "loading"]
        assert events[-1]["status"] == "done"
        assert "measuring" in {event["stage"] for event in events}
        for index in (0, 2, len(events) - 1):
            after = events[index]["sequence"]
            assert self.lines(agent, f"/v1/jobs/{job_id}/events?after={after}") == events[index + 1 :]

    def test_they_come_as_they_happen(self, agent, model):
        job_id = agent.submit(job_request(model, window_s=10))
        connection = http.client.HTTPConnection("localhost")
        connection.sock = agent.connect()
        connection.request("GET", f"/v1/jobs/{job_id}/events")
        with connection.getresponse() as response:
            while json.loads(response.readline())["stage"] != "measuring":
                pass
            threading.Timer(0.1, agent.ask, ("DELETE", f"/v1/jobs/{job_id}")).start()
            last = [json.loads(line) for line in response][-1]
        connection.close()
        assert (last["status"], last["reason"]) == ("cancelled", "request")

    def test_who_goes_away_holds_no_connection(self, agent, model):
        job_id = agent.submit(job_request(model, window_s=10))
        listeners = [agent.connect() for _ in range(5)]
        for listener in listeners:
            listener.sendall(b"GET /v1/jobs/%s/events HTTP/1.1\r\n\r\n" % job_id.encode())
            assert listener.recv(10)
        for listener in listeners:
            listener.close()
        until(lambda: connections(agent) == 1)

    @pytest.mark.parametrize("query", ["after=x", "after=-1", "after=", "after=1&after=2", "before=1", "after=9e9"])
    def test_a_bad_number_is_refused(self, agent, model, query):
        job_id = agent.ended(agent.submit(job_request(model)))["id"]
        assert agent.ask("GET", f"/v1/jobs/{job_id}/events?{query}")[0] == 400

    def test_an_old_client_gets_lines_without_chunks(self, agent, model):
        job_id = agent.ended(agent.submit(job_request(model)))["id"]
        head, _, body = agent.say(f"GET /v1/jobs/{job_id}/events HTTP/1.0\r\n\r\n".encode()).partition(b"\r\n\r\n")
        assert b"chunked" not in head
        assert json.loads(body.splitlines()[-1])["status"] == "done"


class TestUploads:
    def test_an_upload_goes_on_where_it_ended(self, agent, tmp_path):
        data = save_conv(tmp_path / "x.onnx", seed=7).read_bytes()
        path = "/v1/models/" + digest_of(data)
        head = f"PUT {path} HTTP/1.1\r\nContent-Range: bytes 0-{len(data) - 1}/{len(data)}\r\n"
        agent.say(f"{head}Content-Length: {len(data)}\r\n\r\n".encode() + data[:400])
        status, headers, _ = agent.exchange("HEAD", path)
        assert (status, headers["Upload-Offset"]) == (404, "400")
        middle = {"Content-Range": f"bytes 400-599/{len(data)}"}
        status, headers, _ = agent.exchange("PUT", path, data[400:600], middle)
        assert (status, headers["Upload-Offset"]) == (202, "600")
        assert agent.exchange("PUT", path, data[400:600], middle)[0] == 409
        rest = {"Content-Range": f"bytes 600-{len(data) - 1}/{len(data)}"}
        assert agent.ask("PUT", path, data[600:], rest)[0] == 201
        assert agent.exchange("HEAD", path)[0] == 200

    def test_a_model_in_use_is_not_removed_for_another(self, tmp_path):
        with RunningAgent(tmp_path, "--store-mib", "1") as agent:
            model = agent.upload(save_conv(tmp_path / "conv.onnx"))
            job_id = agent.submit(job_request(model, window_s=10))
            large = os.urandom(1024 * 1024 - 100)
            status, document = agent.ask("PUT", "/v1/models/" + digest_of(large), large, agent.leased())
            assert status == 507
            assert "in use" in document["error"]["what"]
            agent.ask("DELETE", f"/v1/jobs/{job_id}")
            assert agent.ask("PUT", "/v1/models/" + digest_of(large), large)[0] == 422  # there was room, and no ONNX
            assert agent.ask("GET", "/v1/models/" + model)[0] == 404


def digest_of(data):
    return hashlib.sha256(data).hexdigest()


def metric(agent, name):
    lines = agent.exchange("GET", "/metrics")[2].decode().splitlines()
    pairs = [line.rsplit(" ", 1) for line in lines if name in line and not line.startswith("#")]
    return {key: float(value) for key, value in pairs}


def connections(agent):
    return metric(agent, "edgesynth_agent_connections ")["edgesynth_agent_connections"]


class TestMetrics:
    def test_they_are_of_the_text_format(self, agent):
        _, headers, data = agent.exchange("GET", "/metrics")
        assert headers["Content-Type"].startswith("text/plain; version=0.0.4")
        name = r"edgesynth_agent_[a-z_]+"
        label = r'[a-z_]+="(?:[^"\\\n]|\\["\\n])*"'
        line = rf"# (?:HELP {name} .+|TYPE {name} gauge)|{name}(?:{{{label}(?:,{label})*}})? -?[0-9.e+-]+"
        assert data.endswith(b"\n")
        assert all(re.fullmatch(line, text) for text in data.decode().splitlines())

    def test_they_count(self, agent, model):
        done = 'edgesynth_agent_jobs{status="done"}'
        before = metric(agent, "agent_jobs")[done]
        agent.ended(agent.submit(job_request(model)))
        assert metric(agent, "agent_jobs")[done] == before + 1
        assert metric(agent, "agent_leased ") == {"edgesynth_agent_leased": 1}
        assert metric(agent, "agent_busy ") == {"edgesynth_agent_busy": 0}
        job_id = agent.submit(job_request(model, window_s=10))
        assert metric(agent, "agent_busy ") == {"edgesynth_agent_busy": 1}
        agent.ask("DELETE", f"/v1/jobs/{job_id}")
        assert metric(agent, "store_bytes")['edgesynth_agent_store_bytes{kind="models"}'] > 0
