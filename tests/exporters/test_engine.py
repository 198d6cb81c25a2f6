"""Engines as the workstation builds them: the child, its answers, and the real TensorRT-RTX on each prototype."""

import importlib.util
import json
import signal
import subprocess
import sys
from pathlib import Path

import edgesynth_agent
import numpy as np
import pytest
import torch
from edgesynth_exporters import engine
from edgesynth_exporters.engine import build_engine
from edgesynth_exporters.engine_record import EngineAnswer, EngineRecord
from edgesynth_exporters.errors import EngineError, EngineRefusedError, MissingExtraError, ModelFileError
from edgesynth_exporters.export import export_onnx

from edgesynth.prototypes import PROTOTYPES
from tests.agent.engine_models import save_layers, save_quantized
from tests.agent.fake_tensorrt import DEVICE, install, timing_cache
from tests.agent.running import children, gone, until
from tests.needs import need

SCHEMA = Path(edgesynth_agent.__file__).parent / "schemas" / "engine-1.json"


def schema_text():
    return json.dumps(EngineAnswer.json_schema(by_alias=True, mode="serialization"), indent=2) + "\n"


def test_the_schema_is_that_of_the_record():
    assert SCHEMA.read_text() == schema_text(), "after a change of the record: python -m tests.exporters.test_engine"


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """The user's cache folder."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "edgesynth" / "timing"


@pytest.fixture
def onnx(tmp_path):
    return save_layers(tmp_path / "net.onnx")


@pytest.fixture
def fake(tmp_path, monkeypatch):
    """Put a fake `tensorrt` of a release, on a device with a name, where the child finds it."""

    def put(release="8.2", **behaviour):
        folder = tmp_path / "modules"
        folder.mkdir()
        install(folder, release, **behaviour)
        with (folder / "tensorrt.py").open("a") as file:
            file.write(f"import edgesynth_agent.build\nedgesynth_agent.build.device_model = lambda: {DEVICE!r}\n")
        monkeypatch.setenv("PYTHONPATH", str(folder))
        monkeypatch.syspath_prepend(str(folder))

    return put


@pytest.fixture
def rtx():
    need(importlib.util.find_spec("tensorrt_rtx"), "TensorRT-RTX: pip install 'edgesynth[tensorrt-rtx]'")


def build(onnx, precision="fp32", **options):
    return build_engine(onnx, onnx.with_suffix(".plan"), module="tensorrt", precision=precision, **options)


def files(folder):
    return sorted(path.name for path in folder.iterdir() if path.is_file())


class TestFakeTensorRt:
    def test_the_record_is_the_manifest(self, onnx, fake):
        fake()
        record = build(onnx, "fp16")
        assert record == EngineRecord.model_validate_json(onnx.with_suffix(".plan.json").read_bytes())
        assert (record.module, record.version, record.precision) == ("tensorrt", "8.2.1", "fp16")
        assert record.flags == ("FP16", "TF32")
        assert record.key.device_model == DEVICE
        assert record.plan.path == str(onnx.with_suffix(".plan"))
        assert onnx.with_suffix(".plan").stat().st_size == record.plan.bytes

    def test_the_timing_cache_lies_in_the_users_cache_folder(self, onnx, fake, cache):
        fake()
        for hit in (False, True):
            record = build(onnx)
            assert record.timing_cache.hit is hit
        assert [path.name for path in cache.iterdir()] == [f"tensorrt-8.2.1-{DEVICE}.cache"]

    def test_a_relative_cache_home_is_ignored(self, onnx, fake, tmp_path, monkeypatch):
        fake()
        monkeypatch.setenv("XDG_CACHE_HOME", "relative")
        monkeypatch.setenv("HOME", str(tmp_path / "home"))
        path = Path(build(onnx).timing_cache.path)
        assert path.parent == tmp_path / "home" / ".cache" / "edgesynth" / "timing"

    def test_the_caches_named_are_used(self, onnx, fake, tmp_path, cache):
        fake()
        (tmp_path / "timings").write_bytes(timing_cache("8.2"))
        (tmp_path / "scales").write_bytes(b"scales")
        caches = {"timing_cache": tmp_path / "timings", "calibration_cache": tmp_path / "scales"}
        record = build(onnx, "int8", **caches)
        assert record.timing_cache.hit
        assert record.key.calibration_sha256 is not None
        assert json.loads(onnx.with_suffix(".plan").read_bytes())["calibration"] == "scales"
        assert not cache.exists()

    def test_paths_are_the_callers(self, onnx, fake, tmp_path, monkeypatch):
        fake()
        monkeypatch.chdir(tmp_path)
        record = build(Path("net.onnx"), timing_cache=Path("timings"))
        assert record.onnx.path == str(onnx)
        assert files(tmp_path) == ["net.onnx", "net.plan", "net.plan.json", "timings"]

    def test_what_the_parser_refuses_is_a_no_that_names_the_node(self, tmp_path, fake):
        operators = ("Det", "Swoosh", "Swish", "Swash")
        fake("10.3", refuses=operators)
        path = save_layers(tmp_path / "net.onnx", ("Relu", *operators))
        with pytest.raises(EngineRefusedError) as caught:
            build(path)
        assert str(caught.value) == (
            f"tensorrt does not take {path}: "
            "node '/layer/Det' (Det): UNSUPPORTED_NODE: no importer for Det (in parseGraph); "
            "node '/layer/Swoosh' (Swoosh): UNSUPPORTED_NODE: no importer for Swoosh (in parseGraph); "
            "node '/layer/Swish' (Swish): UNSUPPORTED_NODE: no importer for Swish (in parseGraph); "
            "and 1 more; replace what it names, and export the network again"
        )
        assert caught.value.exit_code == 1
        assert [node for node, _, _ in caught.value.findings] == [f"/layer/{operator}" for operator in operators]
        assert files(tmp_path) == ["net.onnx"]

    def test_a_gpu_without_the_precision_is_a_no(self, tmp_path, fake):
        fake(fast=("fp16",))
        with pytest.raises(EngineRefusedError, match="its GPU has no fast int8; build with a precision that"):
            build(save_quantized(tmp_path / "net.onnx"), "int8")

    def test_a_file_of_another_precision_is_bad_input(self, tmp_path, fake):
        fake("11")
        path = save_layers(tmp_path / "net.onnx", dtype=np.float16)
        with pytest.raises(ModelFileError, match=r"net\.onnx: the ONNX computes in fp16; ask for fp16, or") as caught:
            build(path)
        assert caught.value.exit_code == 2
        assert build(path, "fp16").strongly_typed

    def test_a_build_that_fails_is_one_line(self, onnx, fake):
        fake(words="out of memory")
        with pytest.raises(EngineError, match=r"built no engine \(out of memory\); free memory or lower") as caught:
            build(onnx)
        assert caught.value.exit_code == 3
        assert "\n" not in str(caught.value)

    @pytest.mark.parametrize(("number", "hint"), [(signal.SIGSEGV, ""), (signal.SIGKILL, "takes too much memory")])
    def test_a_crash_is_one_line_with_the_command(self, onnx, fake, tmp_path, number, hint):
        fake(dies_of=int(number))
        with pytest.raises(
            EngineError, match=f"^tensorrt was killed by {number.name} while it built .*{hint}"
        ) as caught:
            build(onnx)
        command = str(caught.value).partition("to see it again: ")[2]
        assert command.startswith(f"{sys.executable} -m edgesynth_agent build")
        assert "--until-eof" not in command
        assert "\n" not in str(caught.value)
        assert files(tmp_path) == ["net.onnx"]

    def test_a_build_without_end_is_ended(self, onnx, fake, monkeypatch):
        fake(takes_s=60)
        started = spied(monkeypatch)
        with pytest.raises(EngineError, match=r"tensorrt on .*net\.onnx: no engine after 1 s; allow more time"):
            build(onnx, limit_s=1)
        assert all(gone(process.pid) for process in started)

    def test_an_interrupt_ends_the_child(self, onnx, fake, monkeypatch):
        fake(takes_s=60)
        started = spied(monkeypatch)
        communicate = subprocess.Popen.communicate
        monkeypatch.setattr(engine.subprocess.Popen, "communicate", interrupted_once(communicate))
        with pytest.raises(KeyboardInterrupt):
            build(onnx)
        assert len(started) == 1
        assert gone(started[0].pid)

    def test_it_ends_when_this_process_is_killed(self, onnx, fake):
        fake(takes_s=60)
        code = (
            "import sys; from pathlib import Path; from edgesynth_exporters.engine import build_engine; "
            f"build_engine(Path({str(onnx)!r}), Path({str(onnx)!r} + '.plan'), module='tensorrt', precision='fp32')"
        )
        with subprocess.Popen([sys.executable, "-c", code]) as parent:
            child = until(lambda: next(iter(children(parent.pid)), None))
            parent.kill()
        until(lambda: gone(child))

    def test_an_answer_that_is_none_is_one_line(self, onnx, fake, tmp_path):
        fake()
        with (tmp_path / "modules" / "tensorrt.py").open("a") as file:
            file.write("print('lost'); import os; os.write(2, b'cannot go on'); os._exit(7)\n")
        with pytest.raises(EngineError, match=r"builder ended with exit code 7 and no answer: .*cannot go on$"):
            build(onnx)

    def test_a_place_that_is_not_there_is_bad_input(self, onnx, fake, tmp_path):
        fake()
        with pytest.raises(ModelFileError, match="it is no place for a file"):
            build_engine(onnx, tmp_path / "missing" / "net.plan", module="tensorrt", precision="fp32")


def spied(monkeypatch):
    """The processes that get started from now on."""
    started = []

    class Spy(subprocess.Popen):
        def __init__(self, *arguments, **options):
            super().__init__(*arguments, **options)
            started.append(self)

    monkeypatch.setattr(engine.subprocess, "Popen", Spy)
    return started


def interrupted_once(communicate):
    def interrupted(self, *arguments, **options):
        if options.pop("timeout", None) is not None:
            raise KeyboardInterrupt
        return communicate(self, *arguments, **options)

    return interrupted


@pytest.mark.parametrize(("module", "extra"), [("tensorrt", "tensorrt"), ("tensorrt_rtx", "tensorrt-rtx")])
def test_a_missing_module_ends_in_the_command_that_installs_it(onnx, monkeypatch, module, extra):
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(engine.importlib.util, "find_spec", lambda name: None if name == module else find_spec(name))
    with pytest.raises(MissingExtraError, match=rf"pip install 'edgesynth\[{extra}\]'$"):
        build_engine(onnx, onnx.with_suffix(".plan"), module=module, precision="fp32")


@pytest.mark.usefixtures("rtx")
class TestTensorRtRtx:
    @pytest.mark.parametrize("name", PROTOTYPES)
    def test_takes_every_prototype(self, tmp_path, name):
        torch.manual_seed(0)
        onnx, plan = tmp_path / "net.onnx", tmp_path / "net.plan"
        export_onnx(PROTOTYPES[name](3, 10), torch.randn(1, 3, 32, 32), onnx, 13)
        record = build_engine(onnx, plan, module="tensorrt_rtx", precision="fp32")
        assert [(one.name, one.shape, one.dtype) for one in record.inputs] == [("input", (1, 3, 32, 32), "float32")]
        assert [(one.name, one.shape, one.dtype) for one in record.outputs] == [("output", (1, 10), "float32")]
        # Built ahead of time: of no device, and with the weights inside.
        assert record.key.device_model is None
        assert record.plan.bytes == plan.stat().st_size > onnx.stat().st_size / 2
        assert record.warnings == ()

    def test_names_the_node_that_it_does_not_take(self, tmp_path):
        path = save_layers(tmp_path / "net.onnx", ("Relu", "Det"))
        with pytest.raises(EngineRefusedError, match=r"tensorrt_rtx does not take .*node '/layer/Det' \(Det\): UNSUPP"):
            build_engine(path, tmp_path / "net.plan", module="tensorrt_rtx", precision="fp32")
        assert files(tmp_path) == ["net.onnx"]

    @pytest.mark.parametrize("precision", ["fp16", "int8"])
    def test_builds_what_the_file_computes_in(self, tmp_path, precision):
        path = tmp_path / "net.onnx"
        save_layers(path, dtype=np.float16) if precision == "fp16" else save_quantized(path)
        record = build_engine(path, tmp_path / "net.plan", module="tensorrt_rtx", precision=precision)
        assert (record.precision, record.strongly_typed) == (precision, True)


if __name__ == "__main__":
    SCHEMA.write_text(schema_text())
