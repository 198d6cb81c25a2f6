"""`edgesynth-agent build` as a command: its one document, its exit codes, and what it leaves on the disk."""

import ast
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import edgesynth_agent
import pytest
from edgesynth_agent import build
from edgesynth_agent.build import BuildRequest, run_build
from edgesynth_agent.errors import UnsupportedError
from edgesynth_agent.plan import check_plan

from tests.agent.engine_models import save_layers, save_quantized
from tests.agent.fake_tensorrt import DEVICE, RELEASES, install, make, timing_cache
from tests.agent.schemas import check, schema

PACKAGE = Path(edgesynth_agent.__file__).parent
MODEL = ("--device-model", DEVICE)


@pytest.fixture
def onnx(tmp_path):
    return save_layers(tmp_path / "net.onnx")


@pytest.fixture
def fake(tmp_path, monkeypatch):
    """Put a fake `tensorrt` of a release where `build` below finds it."""

    def put(release="8.2", **behaviour):
        folder = tmp_path / "modules"
        folder.mkdir(exist_ok=True)
        install(folder, release, **behaviour)
        monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(folder), str(PACKAGE.parent)]))

    return put


def run(*arguments, python=sys.executable):
    """Exit code, document (None where stdout is empty) and stderr."""
    command = [python, "-m", "edgesynth_agent", "build", *map(str, arguments)]
    done = subprocess.run(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        universal_newlines=True,
        timeout=100,
        check=False,
        cwd="/",
    )
    document = json.loads(done.stdout) if done.stdout else None
    if document is not None:
        check(document, schema("engine-1.json"))
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, document, done.stderr


def left(folder):
    return sorted(path.name for path in folder.iterdir() if path.name != "modules")


@pytest.mark.parametrize("release", RELEASES)
def test_a_plan_has_its_manifest_beside_it(tmp_path, onnx, fake, release):
    fake(release)
    code, document, said = run(onnx, "--out", tmp_path / "net.plan", *MODEL, "--workspace-mib", 64)
    assert code == 0
    # What TensorRT prints from C must not end up in the document.
    assert said == "printed by TensorRT itself\n"
    assert left(tmp_path) == ["net.onnx", "net.plan", "net.plan.json"]
    assert json.loads((tmp_path / "net.plan.json").read_text()) == document
    plan = (tmp_path / "net.plan").read_bytes()
    digest = hashlib.sha256(plan).hexdigest()
    assert document["plan"] == {"path": str(tmp_path / "net.plan"), "sha256": digest, "bytes": len(plan)}
    assert document["onnx"]["sha256"] == document["key"]["onnx_sha256"] == hashlib.sha256(onnx.read_bytes()).hexdigest()
    assert document["module"] == "tensorrt"
    assert document["version"] == release + ".1"
    assert document["precision"] == "fp32"
    assert document["workspace_mib"] == 64
    assert document["timing_cache"] is None
    assert check_plan(str(tmp_path / "net.plan"), DEVICE, "tensorrt", release + ".1", "fp32") == plan


def test_int8_by_a_calibration_cache_is_keyed_by_it(tmp_path, onnx, fake):
    fake()
    (tmp_path / "scales").write_bytes(b"scales")
    options = ("--precision", "int8", "--calibration-cache", tmp_path / "scales", *MODEL)
    code, document, _ = run(onnx, "--out", tmp_path / "net.plan", *options)
    assert code == 0
    assert document["key"]["calibration_sha256"] == hashlib.sha256(b"scales").hexdigest()


class TestRefused:
    """A no, or a failure, leaves an older plan as it was."""

    @pytest.fixture(autouse=True)
    def older(self, tmp_path):
        (tmp_path / "net.plan").write_bytes(b"an older one")
        yield
        assert (tmp_path / "net.plan").read_bytes() == b"an older one"
        assert [name for name in left(tmp_path) if "plan" in name] == ["net.plan"]

    def test_by_the_parser_is_a_no_with_the_node(self, tmp_path, fake):
        fake(refuses=("Det",))
        path = save_layers(tmp_path / "net.onnx", ("Relu", "Det"))
        code, document, said = run(path, "--out", tmp_path / "net.plan", *MODEL)
        assert code == 1
        assert document["built"] is False
        assert [(one["node"], one["operator"]) for one in document["findings"]] == [("/layer/Det", "Det")]
        assert "node '/layer/Det' (Det): UNSUPPORTED_NODE: no importer for Det" in said

    def test_by_the_gpu_is_a_no(self, tmp_path, fake):
        fake(fast=("fp16",))
        path = save_quantized(tmp_path / "net.onnx")
        code, document, _ = run(path, "--out", tmp_path / "net.plan", *MODEL, "--precision", "int8")
        assert code == 1
        assert document["error"]["what"] == "TensorRT says that its GPU has no fast int8"

    @pytest.mark.parametrize(
        ("behaviour", "what"),
        [
            ({"words": "out of memory"}, "TensorRT took the network and built no engine (out of memory)"),
            ({"gpu": False}, "tensorrt cannot start a builder (CUDA initialization failure with error: 100)"),
        ],
    )
    def test_a_build_that_fails_is_no_no(self, tmp_path, onnx, fake, behaviour, what):
        fake(**behaviour)
        code, document, _ = run(onnx, "--out", tmp_path / "net.plan", *MODEL)
        assert code == 3
        assert document["error"]["what"] == what

    def test_a_crash_leaves_no_document(self, tmp_path, onnx, fake):
        fake(dies_of=int(signal.SIGSEGV))
        assert run(onnx, "--out", tmp_path / "net.plan", *MODEL)[:2] == (-signal.SIGSEGV, None)

    @pytest.mark.parametrize(
        ("content", "what"),
        [
            (None, "it cannot be read (No such file or directory)"),
            (b"", "it is no ONNX model (the file is empty)"),
            (b"no ONNX at all", "it is no ONNX model"),
        ],
    )
    def test_a_bad_file_is_bad_input(self, tmp_path, fake, content, what):
        fake()
        if content is not None:
            (tmp_path / "net.onnx").write_bytes(content)
        code, document, said = run(tmp_path / "net.onnx", "--out", tmp_path / "net.plan", *MODEL)
        assert code == 2
        assert document["error"]["what"].startswith(what)
        assert document["error"]["where"] == str(tmp_path / "net.onnx")
        assert len(said.splitlines()) == 1

    def test_a_calibration_cache_that_is_not_there_is_bad_input(self, tmp_path, onnx, fake):
        fake()
        options = ("--precision", "int8", "--calibration-cache", tmp_path / "scales", *MODEL)
        code, document, _ = run(onnx, "--out", tmp_path / "net.plan", *options)
        assert (code, document["error"]["where"]) == (2, str(tmp_path / "scales"))

    @pytest.mark.parametrize(
        "options",
        [
            ("--precision", "fp8"),
            ("--workspace-mib", "0"),
            ("--workspace-mib", "much"),
            ("--module", "json"),
            ("--device-model", " "),
            ("--timing-cache", "a", "--timing-cache-folder", "b"),
        ],
    )
    def test_bad_usage(self, tmp_path, onnx, fake, options):
        fake()
        code, document, said = run(onnx, "--out", tmp_path / "net.plan", *options)
        assert (code, document) == (2, None)
        assert said.startswith("usage: edgesynth-agent build")


@pytest.mark.parametrize("out", ["folder", "missing/net.plan"])
def test_a_place_where_no_file_can_be_is_bad_input(tmp_path, onnx, fake, out):
    fake()
    (tmp_path / "folder").mkdir()
    code, document, _ = run(onnx, "--out", tmp_path / out, *MODEL)
    assert (code, document["error"]["what"]) == (2, "it is no place for a file")
    assert left(tmp_path) == ["folder", "net.onnx"]


def test_what_is_no_file_is_not_read(tmp_path, fake):
    """A pipe would make it wait, a device would never end."""
    fake()
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/zero"), Path("/dev/null")):
        code, document, _ = run(path, "--out", tmp_path / "net.plan", *MODEL)
        assert (code, document["error"]["what"]) == (2, "it cannot be read (it is no regular file)")
        assert document["error"]["where"] == str(path)


def test_a_pipe_is_no_cache(tmp_path, onnx, fake):
    fake()
    os.mkfifo(tmp_path / "pipe")
    options = ("--out", tmp_path / "net.plan", *MODEL)
    code, document, _ = run(onnx, *options, "--precision", "int8", "--calibration-cache", tmp_path / "pipe")
    assert (code, document["error"]["where"]) == (2, str(tmp_path / "pipe"))
    code, document, _ = run(onnx, *options, "--timing-cache", tmp_path / "pipe")
    assert "cannot be read (it is no regular file)" in document["warnings"][0]


@pytest.mark.parametrize(
    ("model", "options", "what"),
    [
        ("net.onnx", ("--out", "net.onnx"), "the build reads that file"),
        ("net.onnx", ("--out", "link.plan"), "the build reads that file"),
        ("net.plan.json", ("--out", "net.plan"), "the build reads that file"),
        ("net.onnx", ("--out", "a.plan", "--calibration-cache", "a.plan"), "the build reads that file"),
        ("net.onnx", ("--out", "a.plan", "--timing-cache", "a.plan"), "the build reads that file"),
        ("net.onnx", ("--out", "b.plan", "--timing-cache", "net.onnx"), "the build reads that file as another"),
        ("net.onnx", ("--out", "pipe"), "it is no place for a file"),
        ("net.onnx", ("--out", "c.plan"), "it is no place for a file"),
    ],
)
def test_what_is_read_or_no_file_is_not_written_over(tmp_path, onnx, fake, model, options, what):
    fake()
    (tmp_path / "link.plan").symlink_to(onnx)
    (tmp_path / "a.plan").write_bytes(b"scales")
    (tmp_path / "c.plan.json").mkdir()
    shutil.copy(onnx, tmp_path / "net.plan.json")
    os.mkfifo(tmp_path / "pipe")
    before = {path: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
    paths = [one if one.startswith("--") else tmp_path / one for one in options]
    code, document, _ = run(tmp_path / model, *paths, *MODEL)
    assert (code, document["error"]["what"]) == (2, what)
    assert {path: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()} == before


def test_names_in_the_file_cannot_steer_a_terminal(tmp_path, onnx, monkeypatch):
    def refuse(*_):
        findings = [{"node": "\x1b[2J", "operator": None, "reason": "a\nb" + "x" * 10_000}]
        raise UnsupportedError("the parser said \x1b[31m", str(onnx), "change it", findings)

    monkeypatch.setitem(sys.modules, "tensorrt", make("8.2"))
    monkeypatch.setattr(build, "build_plan", refuse)
    document, code = run_build(BuildRequest(str(onnx), str(tmp_path / "net.plan"), device_model=DEVICE))
    assert code == 1
    texts = [*document["error"].values(), document["findings"][0]["node"], document["findings"][0]["reason"]]
    assert all(text.isprintable() and len(text) <= 2003 for text in texts)
    assert document["findings"][0]["operator"] is None


def test_a_module_that_is_not_there_ends_in_the_command_that_installs_it(tmp_path, onnx, monkeypatch):
    # A None in sys.modules is how an import is made to fail.
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    document, code = run_build(BuildRequest(str(onnx), str(tmp_path / "net.plan"), device_model=DEVICE))
    assert code == 3
    assert document["error"]["what"].startswith("tensorrt cannot be imported (ModuleNotFoundError")
    assert document["error"]["next"].endswith("pip install 'edgesynth[tensorrt]'")
    assert left(tmp_path) == ["net.onnx"]


def test_a_device_without_a_name_is_not_guessed(tmp_path, onnx, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorrt", make("8.2"))
    monkeypatch.setattr(build, "device_model", lambda: None)
    document, code = run_build(BuildRequest(str(onnx), str(tmp_path / "net.plan")))
    assert code == 3
    assert "it has no NVIDIA GPU that says its name" in document["error"]["what"]


def test_the_device_names_itself(tmp_path, onnx, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorrt", make("8.2"))
    monkeypatch.setattr(build, "device_model", lambda: "NVIDIA Jetson TX2")
    document, code = run_build(BuildRequest(str(onnx), str(tmp_path / "net.plan")))
    assert code == 0
    assert document["key"]["device_model"] == "NVIDIA Jetson TX2"


@pytest.mark.parametrize("failure", [MemoryError(), AttributeError("no such name")])
def test_what_nobody_foresaw_is_a_document_too(tmp_path, onnx, monkeypatch, failure, capsys):
    def fail(*_):
        raise failure

    monkeypatch.setitem(sys.modules, "tensorrt", make("8.2"))
    monkeypatch.setattr(build, "build_plan", fail)
    document, code = run_build(BuildRequest(str(onnx), str(tmp_path / "net.plan"), device_model=DEVICE))
    assert (code, document["built"]) == (3, False)
    check(document, schema("engine-1.json"))


class TestTimingCache:
    def test_is_written_and_read(self, tmp_path, onnx, fake):
        fake()
        options = ("--out", tmp_path / "net.plan", *MODEL, "--timing-cache", tmp_path / "new" / "timings")
        for hit in (False, True):
            code, document, _ = run(onnx, *options)
            assert code == 0
            content = (tmp_path / "new" / "timings").read_bytes()
            assert content == timing_cache("8.2") + (b"++" if hit else b"+")
            path = str(tmp_path / "new" / "timings")
            assert document["timing_cache"] == {"path": path, "hit": hit, "bytes": len(content)}
            assert document["warnings"] == []

    def test_of_another_device_is_replaced_with_a_warning(self, tmp_path, onnx, fake):
        fake()
        (tmp_path / "timings").write_bytes(timing_cache("8.2", "orin"))
        options = ("--out", tmp_path / "net.plan", *MODEL, "--timing-cache", tmp_path / "timings")
        code, document, _ = run(onnx, *options)
        assert (code, document["timing_cache"]["hit"]) == (0, False)
        assert document["warnings"] == ["the timing cache is of another device or TensorRT, and a new one was started"]
        assert (tmp_path / "timings").read_bytes() == timing_cache("8.2") + b"+"

    def test_in_a_folder_has_a_name_of_module_version_and_device(self, tmp_path, onnx, fake):
        fake()
        options = ("--out", tmp_path / "net.plan", "--device-model", "NVIDIA Jetson/TX2")
        code, document, _ = run(onnx, *options, "--timing-cache-folder", tmp_path / "cache")
        assert code == 0
        assert left(tmp_path / "cache") == ["tensorrt-8.2.1-NVIDIA-Jetson-TX2.cache"]
        assert document["timing_cache"]["path"] == str(tmp_path / "cache" / "tensorrt-8.2.1-NVIDIA-Jetson-TX2.cache")

    def test_that_cannot_be_used_costs_a_warning_and_no_engine(self, tmp_path, onnx, fake):
        fake()
        options = ("--out", tmp_path / "net.plan", *MODEL, "--timing-cache", tmp_path)
        code, document, _ = run(onnx, *options)
        assert code == 0
        assert document["warnings"] == [
            f"the timing cache {tmp_path} cannot be read (Is a directory)",
            f"the timing cache was not saved: {tmp_path}: Is a directory; name a folder with space that may be written",
        ]

    def test_of_a_build_that_failed_is_not_written(self, tmp_path, onnx, fake):
        fake(words="no")
        assert run(onnx, "--out", tmp_path / "net.plan", *MODEL, "--timing-cache", tmp_path / "timings")[0] == 3
        assert left(tmp_path) == ["net.onnx"]


def test_it_ends_when_the_program_that_started_it_does(tmp_path, onnx, fake):
    fake(takes_s=60)
    command = [sys.executable, "-m", "edgesynth_agent", "build", onnx, "--out", tmp_path / "net.plan", *MODEL]
    with subprocess.Popen([*command, "--until-eof"], stdin=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stderr.readline()  # it builds
        process.stdin.close()
        assert process.wait(20) == 3
    assert left(tmp_path) == ["net.onnx"]


def test_the_builder_knows_no_version_and_no_number_of_an_enum():
    for name in ("tensorrt_api.py", "tensorrt_builder.py"):
        for node in ast.walk(ast.parse((PACKAGE / "engines" / name).read_text())):
            assert not (isinstance(node, ast.Attribute) and node.attr == "__version__")
            if isinstance(node, ast.BinOp) and isinstance(node.op, ast.LShift):
                assert not isinstance(node.right, ast.Constant)


def test_importing_the_agent_imports_no_tensorrt():
    code = "import sys, edgesynth_agent.cli, edgesynth_agent.build; "
    code += "sys.exit(any(name.startswith('tensorrt') for name in sys.modules))"
    environment = {**os.environ, "PYTHONPATH": str(PACKAGE.parent)}
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60, env=environment).returncode == 0
