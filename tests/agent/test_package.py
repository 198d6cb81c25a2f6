"""The agent as what is shipped: its language level, its one file, its schema, and a real Python 3.6."""

import ast
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import edgesynth_agent
import jsonschema
import pytest
from edgesynth_agent.cli import main

import edgesynth
from edgesynth.records import Measurement
from tests.agent.models import save_conv
from tests.agent.running import RunningAgent, job_request
from tests.needs import need

PACKAGE = Path(edgesynth_agent.__file__).parent
BUILD = PACKAGE.parent / "build_pyz.py"
SCHEMA = PACKAGE / "schemas" / "measurement-1.json"

# The last of each with wheels for Python 3.6.
PYTHON36_PACKAGES = ("numpy==1.19.5", "onnxruntime==1.10.0")


def build(out):
    subprocess.run([sys.executable, BUILD, "--out", out], check=True, stdout=subprocess.DEVNULL)
    return out


def test_the_version_is_that_of_the_workstation():
    assert edgesynth_agent.__version__ == edgesynth.__version__


@pytest.mark.parametrize(("arguments", "code"), [(["--help"], 0), (["--version"], 0), ([], 2), (["serve"], 2)])
def test_the_command_line(arguments, code, capsys):
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == code
    assert "edgesynth-agent" in "".join(capsys.readouterr())


def test_the_schema_is_that_of_the_record():
    assert SCHEMA.read_text() == schema_text(), "after a change of the record: python -m tests.agent.test_package"


def schema_text():
    return json.dumps(Measurement.model_json_schema(by_alias=True, mode="serialization"), indent=2) + "\n"


def test_the_language_is_python_36():
    vermin = Path(sys.executable).with_name("vermin")
    done = subprocess.run(
        [vermin, "-t=3.6-", "--no-tips", PACKAGE], check=False, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stdout


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
def python36(request):
    """An interpreter with the packages that a JetPack 4.6 device would have; made once and kept."""
    folder = os.environ.get("EDGESYNTH_PYTHON36_VENV") or request.config.cache.mkdir("python36")
    venv_python = Path(folder) / "bin" / "python"
    if not _works(venv_python):
        # pyenv before PATH: its shim is on the PATH even where no 3.6 is chosen.
        pyenv = sorted((Path.home() / ".pyenv" / "versions").glob("3.6*/bin/python"))
        python = os.environ.get("EDGESYNTH_PYTHON36") or (pyenv[-1] if pyenv else shutil.which("python3.6"))
        need(python, "Python 3.6: on PATH, in pyenv, or named by EDGESYNTH_PYTHON36")
        try:
            _make_venv(python, Path(folder))
        except subprocess.CalledProcessError as error:
            need(False, f"{' and '.join(PYTHON36_PACKAGES)} under Python 3.6, which could not be installed: {error}")
    return venv_python


def _works(python):
    code = "import onnxruntime, sys; sys.exit(sys.version_info[:2] != (3, 6) or onnxruntime.__version__ != '1.10.0')"
    return python.exists() and subprocess.run([python, "-c", code], check=False, timeout=60).returncode == 0


def _make_venv(python, folder):
    pip = (folder / "bin" / "python", "-m", "pip", "--quiet", "--disable-pip-version-check", "install")
    # The pip that comes with 3.6 does not know the wheels' platform tag.
    for command in ([python, "-m", "venv", "--clear", folder], [*pip, "pip==21.3.1"], [*pip, *PYTHON36_PACKAGES]):
        subprocess.run(command, check=True, timeout=300, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


class TestPython36:
    def test_it_says_its_version(self, python36, tmp_path):
        said = subprocess.check_output([python36, build(tmp_path / "agent.pyz"), "--version"], text=True)
        assert said == f"edgesynth-agent {edgesynth_agent.__version__}\n"

    def test_it_measures(self, python36, tmp_path):
        pyz = build(tmp_path / "agent.pyz")
        with RunningAgent(tmp_path, "--until-eof", command=(python36, pyz)) as agent:
            facts = agent.ask("GET", "/v1/device")[1]
            assert facts["python"].startswith("3.6.")
            assert facts["runtimes"]["onnxruntime"]["version"] == "1.10.0"
            model = agent.upload(save_conv(tmp_path / "conv.onnx"))
            job = agent.ended(agent.submit(job_request(model)))
            assert job["status"] == "done", job["error"]
            jsonschema.Draft202012Validator(json.loads(SCHEMA.read_text())).validate(job["result"])
            record = Measurement.model_validate(job["result"])
            assert record.engine.version == "1.10.0"
            agent.process.stdin.close()
            assert agent.process.wait(20) == 0
            assert b"Traceback" not in agent.process.stderr.read()

    def test_it_refuses_and_lives_on(self, python36, tmp_path):
        pyz = build(tmp_path / "agent.pyz")
        with RunningAgent(tmp_path, command=(python36, pyz)) as agent:
            assert agent.ask("POST", "/v1/jobs", "{")[0] == 400
            assert b'"error"' in agent.say(b"\x16\x03\x01\r\n\r\n")
            model = agent.upload(save_conv(tmp_path / "conv.onnx"))
            job_id = agent.submit(job_request(model, window_s=10))
            agent.measuring(job_id)
            assert agent.ask("POST", "/v1/jobs", "{}")[0] == 400
            assert agent.ask("DELETE", f"/v1/jobs/{job_id}")[1]["status"] == "cancelled"

    def test_its_api_is_the_same(self, python36, tmp_path):
        """Every answer is held against the OpenAPI file by `RunningAgent.exchange`."""
        pyz = build(tmp_path / "agent.pyz")
        with RunningAgent(tmp_path, command=(python36, pyz)) as agent:
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
        with RunningAgent(tmp_path, command=(python36, pyz)) as agent:
            assert agent.job(killed)["reason"] == "interrupted"
            assert agent.job(job_id)["status"] == "done"
            assert b'"error"' in agent.say(b"GET /v1/health HTTP/1.1\r\n" + b"a: b\r\n" * 20000)
            agent.submit(job_request(model, window_s=10))
            assert agent.ask("DELETE", f"/v1/leases/{agent.lease}")[0] == 200
            assert agent.ask("GET", "/v1/jobs")[1]["jobs"][0]["reason"] == "lease_ended"


if __name__ == "__main__":
    SCHEMA.write_text(schema_text())
