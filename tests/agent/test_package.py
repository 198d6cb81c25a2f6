"""The agent as what is shipped: its imports, its command line, its one file."""

import ast
import os
import platform
import subprocess
import sys
from pathlib import Path

import edgesynth_agent
import onnxruntime
import pytest
from edgesynth_agent.cli import main

from tests.agent.models import save_conv
from tests.agent.running import RunningAgent, job_request
from tests.agent.schemas import Record

PACKAGE = Path(edgesynth_agent.__file__).parent
BUILD = PACKAGE.parent / "build_pyz.py"


def build(out):
    subprocess.run([sys.executable, BUILD, "--out", out], check=True, stdout=subprocess.DEVNULL)
    return out


SERVE = ["serve", "--socket", "s", "--store", "d"]


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--help"], 0),
        (["--version"], 0),
        ([], 2),
        (["serve"], 2),
        ([*SERVE, "--job-memory-mib", "64"], 2),
        ([*SERVE, "--keep-jobs", "0"], 2),
    ],
)
def test_the_command_line(arguments, code, capsys):
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == code
    assert "edgesynth-agent" in "".join(capsys.readouterr())


def test_it_shares_no_code_with_the_workstation():
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not {name.split(".")[0] for name in names} & {"edgesynth", "edgesynth_exporters"}, path


def test_importing_all_of_it_imports_no_runtime():
    names = [
        ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)
        for path in PACKAGE.rglob("*.py")
        if path.name != "__main__.py"
    ]
    code = f"import sys, {', '.join(names)}; sys.exit(bool({{'numpy', 'onnxruntime'}} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0


def test_the_same_sources_give_the_same_file(tmp_path):
    first, second = build(tmp_path / "a.pyz"), build(tmp_path / "b.pyz")
    assert first.read_bytes() == second.read_bytes()
    assert os.access(first, os.X_OK)


@pytest.fixture(scope="module")
def pyz(tmp_path_factory):
    return build(tmp_path_factory.mktemp("dist") / "agent.pyz")


class TestOneFile:
    def test_it_says_its_version(self, pyz):
        said = subprocess.check_output([sys.executable, pyz, "--version"], universal_newlines=True)
        assert said == f"edgesynth-agent {edgesynth_agent.__version__}\n"

    def test_it_measures(self, pyz, tmp_path):
        with RunningAgent(tmp_path, "--until-eof", command=(sys.executable, pyz)) as agent:
            facts = agent.ask("GET", "/v1/device")[1]
            assert facts["python"] == platform.python_version()
            assert facts["runtimes"]["onnxruntime"]["version"] == onnxruntime.__version__
            model = agent.upload(save_conv(tmp_path / "conv.onnx"))
            job = agent.ended(agent.submit(job_request(model)))
            assert job["status"] == "done", job["error"]
            assert Record.of(job["result"]).engine.version == onnxruntime.__version__
            agent.process.stdin.close()
            assert agent.process.wait(20) == 0
            assert b"Traceback" not in agent.process.stderr.read()

    def test_it_refuses_and_lives_on(self, pyz, tmp_path):
        with RunningAgent(tmp_path, command=(sys.executable, pyz)) as agent:
            assert agent.ask("POST", "/v1/jobs", "{")[0] == 400
            assert b'"error"' in agent.say(b"\x16\x03\x01\r\n\r\n")
            model = agent.upload(save_conv(tmp_path / "conv.onnx"))
            job_id = agent.submit(job_request(model, window_s=10))
            agent.measuring(job_id)
            assert agent.ask("POST", "/v1/jobs", "{}")[0] == 400
            assert agent.ask("DELETE", f"/v1/jobs/{job_id}")[1]["status"] == "cancelled"

    def test_its_api_is_the_same(self, pyz, tmp_path):
        """Every answer is held against the OpenAPI file by `RunningAgent.exchange`."""
        with RunningAgent(tmp_path, command=(sys.executable, pyz)) as agent:
            for path in ("/v1/openapi.json", "/metrics", "/v1/lease", "/v1/jobs"):
                assert agent.exchange("GET", path)[0] == 200
            model = agent.upload(save_conv(tmp_path / "conv.onnx"))
            assert agent.exchange("HEAD", f"/v1/models/{model}")[0] == 200
            job_id = agent.ended(agent.submit(job_request(model)))["id"]
            for what in ("events", "result", "trace"):
                assert agent.exchange("GET", f"/v1/jobs/{job_id}/{what}")[0] == 200
            assert agent.ask("POST", f"/v1/leases/{agent.lease}/heartbeat", "")[0] == 200
            killed = agent.submit(job_request(model, window_s=10))
            agent.measuring(killed)
            agent.process.kill()
            agent.process.wait()
        with RunningAgent(tmp_path, command=(sys.executable, pyz)) as agent:
            assert agent.job(killed)["reason"] == "interrupted"
            assert agent.job(job_id)["status"] == "done"
            assert b'"error"' in agent.say(b"GET /v1/health HTTP/1.1\r\n" + b"a: b\r\n" * 20000)
            agent.submit(job_request(model, window_s=10))
            assert agent.ask("DELETE", f"/v1/leases/{agent.lease}")[0] == 200
            assert agent.ask("GET", "/v1/jobs")[1]["jobs"][0]["reason"] == "lease_ended"
