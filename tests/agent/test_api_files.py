"""References and calibration caches through the API of a real agent, and devices that are only played."""

import hashlib
import json
import os

import pytest

from tests.agent.fake_sysfs import FakeSysfs
from tests.agent.models import save_conv
from tests.agent.references import calibration_cache, save_reference
from tests.agent.running import RunningAgent, job_request
from tests.agent.schemas import Record

SCALES = calibration_cache({"x": 1.0})


@pytest.fixture(scope="module")
def agent(tmp_path_factory):
    with RunningAgent(tmp_path_factory.mktemp("agent"), "--store-mib", "64", "--file-mib", "1") as agent:
        yield agent


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return save_conv(tmp_path_factory.mktemp("models") / "conv.onnx", batch=2)


@pytest.fixture(scope="module")
def model(agent, path):
    return agent.upload(path)


def reference_of(path, folder, **changes):
    return save_reference(path, folder / "conv.reference.npz", batch=2, **changes).read_bytes()


def put(agent, data):
    digest = hashlib.sha256(data).hexdigest()
    assert agent.ask("PUT", f"/v1/files/{digest}", data) == (201, {"file": digest, "bytes": len(data)})
    return digest


class TestUpload:
    def test_it_goes_on_where_it_ended(self, agent, path, tmp_path):
        data = reference_of(path, tmp_path, error=1e-4)
        place = "/v1/files/" + hashlib.sha256(data).hexdigest()
        begin = {"Content-Range": f"bytes 0-399/{len(data)}"}
        status, headers, _ = agent.exchange("PUT", place, data[:400], begin)
        assert (status, headers["Upload-Offset"]) == (202, "400")
        status, headers, _ = agent.exchange("HEAD", place)
        assert (status, headers["Upload-Offset"]) == (404, "400")
        rest = {"Content-Range": f"bytes 400-{len(data) - 1}/{len(data)}"}
        assert agent.ask("PUT", place, data[400:], rest)[0] == 201
        assert agent.ask("GET", place)[1]["bytes"] == len(data)

    def test_an_engine_is_refused(self, agent):
        data = b"ptrt" + os.urandom(1000)
        status, document = agent.ask("PUT", "/v1/files/" + hashlib.sha256(data).hexdigest(), data)
        assert status == 422
        assert "neither a reference" in document["error"]["what"]

    def test_it_has_a_bound_of_its_own(self, agent):
        status, document = agent.ask("PUT", "/v1/files/" + "0" * 64, b"PK\3\4" + bytes(1024 * 1024))
        assert status == 413
        assert "the most that is taken" in document["error"]["what"]

    def test_it_is_counted(self, agent):
        put(agent, SCALES)
        lines = agent.exchange("GET", "/metrics")[2].decode().splitlines()
        sizes = dict(line.rsplit(" ", 1) for line in lines if line.startswith("edgesynth_agent_store_bytes"))
        assert float(sizes['edgesynth_agent_store_bytes{kind="files"}']) >= len(SCALES)
        assert sizes['edgesynth_agent_store_bytes{kind="plans"}'] == "0"


class TestJobs:
    def test_the_comparison_is_in_the_measurement(self, agent, path, model, tmp_path):
        digest = put(agent, reference_of(path, tmp_path))
        request = job_request(model, batch=2, reference=digest)
        job = agent.ended(agent.submit(request))
        assert job["status"] == "done", job["error"]
        assert job["request"] == request
        compared = Record.of(job["result"]).reference
        assert compared is not None
        assert (compared.images, compared.passed, compared.argmax_agreement) == (5, True, 1.0)
        assert compared.max_abs_error == pytest.approx(0, abs=1e-4)
        events = agent.exchange("GET", f"/v1/jobs/{job['id']}/events")[2].splitlines()
        assert "comparing outputs" in {json.loads(line)["stage"] for line in events}

    def test_another_answer_fails_the_job(self, agent, path, model, tmp_path):
        digest = put(agent, reference_of(path, tmp_path, error=0.25))
        job = agent.ended(agent.submit(job_request(model, batch=2, reference=digest)))
        assert (job["status"], job["reason"]) == ("failed", "error")
        assert "differs from the reference by up to 0.25, and 0.001 is allowed" in job["error"]["what"]

    def test_a_reference_of_another_model_fails_the_job(self, agent, path, model, tmp_path):
        digest = put(agent, reference_of(path, tmp_path, digest="b" * 64))
        job = agent.ended(agent.submit(job_request(model, batch=2, reference=digest)))
        assert "it is of the model " + "b" * 64 in job["error"]["what"]

    def test_what_only_looks_like_a_reference_fails_the_job(self, agent, model):
        digest = put(agent, b"PK\3\4" + bytes(100))
        job = agent.ended(agent.submit(job_request(model, batch=2, reference=digest)))
        assert "it is no reference of an export" in job["error"]["what"]

    @pytest.mark.parametrize(
        ("data", "what"),
        [(SCALES, "ONNX Runtime takes no calibration cache"), (SCALES + b"?\n", "it is no calibration cache: line 3")],
    )
    def test_a_calibration_cache_reaches_the_engine_and_is_checked(self, agent, model, data, what):
        request = job_request(model, batch=2, precision="int8", engine="onnxruntime", calibration=put(agent, data))
        job = agent.ended(agent.submit(request))
        assert what in job["error"]["what"]

    @pytest.mark.parametrize("field", ["reference", "calibration"])
    def test_a_file_that_is_not_here_is_told_at_once(self, agent, model, field):
        body = json.dumps(job_request(model, precision="int8", **{field: "0" * 64}))
        status, document = agent.ask("POST", "/v1/jobs", body, agent.leased())
        assert (status, document["error"]["where"]) == (404, "file " + "0" * 64)
        assert agent.ended(agent.submit(job_request(model, batch=2)))["status"] == "done"


class TestPlayedDevices:
    def test_on_a_tree_of_files_nothing_is_measured(self, path, tmp_path):
        tree = FakeSysfs(tmp_path / "board")
        tree.write("proc/device-tree/model", "quill\0")
        tree.write("proc/device-tree/compatible", "nvidia,p2597-0000+p3310-1000\0nvidia,tegra186\0")
        tree.iio("0-0041", 1, [("VDD_IN", 19064, 250), ("VDD_SYS_CPU", 19064, 40), ("VDD_SYS_DDR", 4776, 200)])
        with RunningAgent(tmp_path, "--root", tree.root) as agent:
            facts = agent.ask("GET", "/v1/device")[1]
            assert (facts["source"], facts["targets"], facts["model"]) == ("simulated", ["host", "tx2"], "quill")
            assert facts["power"]["total_rule"] == "VDD_IN"
            job = agent.ended(agent.submit(job_request(agent.upload(path), batch=2, target="tx2")))
        record = Record.of(job["result"])
        assert (record.source, record.target, record.device["source"]) == ("simulated", "tx2", "simulated")
        assert record.device["power"]["total_rule"] == "VDD_IN"
        assert record.warnings[0] == f"simulated: its sensors and facts are the files under {tree.root}"

    def test_nor_where_the_environment_says_so(self, path, tmp_path, monkeypatch):
        monkeypatch.setenv("EDGESYNTH_SIMULATED", "virtual TX2")
        with RunningAgent(tmp_path) as agent:
            facts = agent.ask("GET", "/v1/device")[1]
            assert facts["source"] == "simulated"
            assert "virtual TX2" in facts["reasons"]["source"]
            job = agent.ended(agent.submit(job_request(agent.upload(path), batch=2)))
        assert job["result"]["source"] == "simulated"
        assert job["result"]["warnings"][0].startswith("simulated: $EDGESYNTH_SIMULATED")

    def test_the_root_may_come_by_the_environment(self, tmp_path, monkeypatch):
        monkeypatch.setenv("EDGESYNTH_ROOT", str(tmp_path))
        with RunningAgent(tmp_path) as agent:
            assert agent.ask("GET", "/v1/device")[1]["source"] == "simulated"
