"""Plans that are kept, and which engine runs a network."""

import os
import sys
from pathlib import Path

import edgesynth_agent
import pytest
from edgesynth_agent.build import run_build
from edgesynth_agent.choose import EngineWanted, open_engine
from edgesynth_agent.engines.buffers import HostBuffers
from edgesynth_agent.errors import EngineError, RefusedError, RequestError
from edgesynth_agent.plan_cache import PlanWanted, build_in_child, plan_for
from edgesynth_agent.plan_folder import PlanFolder

from tests.agent.engine_models import save_layers
from tests.agent.fake_tensorrt import DEVICE, RELEASES, install, make

PACKAGE = Path(edgesynth_agent.__file__).parent


@pytest.fixture
def onnx(tmp_path):
    return str(save_layers(tmp_path / "net.onnx"))


@pytest.fixture
def plans(tmp_path):
    return PlanFolder(str(tmp_path / "plans"))


def wanted(onnx, **changes):
    return PlanWanted(onnx, "tensorrt", "8.2.1", DEVICE, "fp32", 1)._replace(**changes)


class Builder:
    """Builds with a fake in this process, and remembers what for."""

    def __init__(self, monkeypatch, release="8.2", **behaviour):
        self.trt = make(release, **behaviour)
        self.asked = []
        monkeypatch.setitem(sys.modules, "tensorrt", self.trt)

    def __call__(self, request):
        self.asked.append(request)
        document, _ = run_build(request)
        if document["error"] is not None:
            raise EngineError(document["error"]["what"], "the build", "next")
        return document


@pytest.fixture
def build(monkeypatch):
    return Builder(monkeypatch)


def test_a_plan_is_built_once_and_then_found(onnx, plans, build):
    first = plan_for(wanted(onnx), plans, build)
    second = plan_for(wanted(onnx), plans, build)
    assert (first.hit, second.hit, len(build.asked)) == (False, True, 1)
    assert first.data == second.data
    assert first.manifest["key"]["device_model"] == DEVICE
    assert build.asked[0].workspace_mib <= 1024
    assert build.asked[0].timing_cache_folder == plans.root


@pytest.mark.parametrize(
    "change",
    [{"precision": "fp16"}, {"batch": 2}, {"device_model": "another"}],
)
def test_another_key_is_another_plan(onnx, plans, build, change):
    plan_for(wanted(onnx), plans, build)
    assert not plan_for(wanted(onnx, **change), plans, build).hit
    assert plan_for(wanted(onnx), plans, build).hit


def test_another_model_or_calibration_is_another_plan(onnx, plans, build, tmp_path):
    plan_for(wanted(onnx), plans, build)
    other = str(save_layers(tmp_path / "other.onnx", ("Relu", "Relu")))
    assert not plan_for(wanted(other), plans, build).hit
    for scales in (b"one", b"two"):
        (tmp_path / "scales").write_bytes(scales)
        calibrated = wanted(onnx, precision="int8", calibration_cache=str(tmp_path / "scales"))
        assert not plan_for(calibrated, plans, build).hit


@pytest.mark.parametrize("damage", ["plan", "manifest", "cut"])
def test_a_damaged_plan_is_built_again_and_never_loaded(onnx, plans, build, damage):
    first = plan_for(wanted(onnx), plans, build)
    (path,) = Path(plans.root).glob("*.plan")
    if damage == "manifest":
        path.with_name(path.name + ".json").unlink()
    else:
        path.write_bytes(b"evil" if damage == "plan" else path.read_bytes()[:-1])
    second = plan_for(wanted(onnx), plans, build)
    assert not second.hit
    assert second.data.startswith(first.data[:-2])  # that ends in the timing cache, which grows


def test_a_module_that_says_another_version_than_it_builds_is_refused(onnx, plans, build):
    with pytest.raises(RefusedError, match="version of the module"):
        plan_for(wanted(onnx, module_version="8.6.1"), plans, build)


def test_the_longest_unused_plans_go_first(onnx, plans, build):
    for index, batch in enumerate((1, 2, 3)):
        plan_for(wanted(onnx, batch=batch), plans, build)
        (newest,) = [path for path in Path(plans.root).glob("*.plan") if path.stat().st_mtime > 1e6]
        os.utime(newest, (1000 + index, 1000 + index))
    full = PlanFolder(plans.root, plans.total_bytes() - 1)
    plan_for(wanted(onnx, batch=1), full, build)
    assert len(list(Path(plans.root).glob("*.plan.json"))) == 2
    assert [plan_for(wanted(onnx, batch=batch), plans, build).hit for batch in (1, 3, 2)] == [True, True, False]


def test_one_plan_is_kept_however_large(onnx, plans, build):
    tiny = PlanFolder(plans.root, 1)
    plan_for(wanted(onnx), tiny, build)
    assert plan_for(wanted(onnx), tiny, build).hit


def test_a_manifest_that_is_gone_does_not_stop_the_rest_from_going(onnx, plans, build):
    for batch in (1, 2, 3):
        plan_for(wanted(onnx, batch=batch), plans, build)
    for manifest in Path(plans.root).glob("*.json"):
        manifest.unlink()
    plan_for(wanted(onnx, batch=4), PlanFolder(plans.root, 1), build)
    assert len(list(Path(plans.root).glob("*.plan"))) == 1


def test_what_is_kept_is_counted(plans):
    assert plans.total_bytes() == 0
    Path(plans.root).mkdir()
    (Path(plans.root) / "a.plan").write_bytes(b"12345")
    (Path(plans.root) / "timing.cache").write_bytes(b"12")
    assert plans.total_bytes() == 7


def test_a_build_is_announced_and_a_plan_that_is_there_is_not(onnx, plans, build):
    said = []
    for _ in range(2):
        plan_for(wanted(onnx), plans, build, lambda: said.append(len(build.asked)))
    assert said == [0]


class TestChild:
    @pytest.fixture(autouse=True)
    def modules(self, tmp_path, monkeypatch):
        self.folder = tmp_path / "modules"
        self.folder.mkdir()
        monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(self.folder), str(PACKAGE.parent)]))

    @pytest.mark.parametrize("release", ["8.2", "11"])
    def test_builds_in_a_process_of_its_own(self, onnx, plans, release):
        install(self.folder, release, shape=(-1, 3, 8, 8))
        plan = plan_for(wanted(onnx, module_version=release + ".1", batch=3), plans, build_in_child)
        assert plan.manifest["inputs"][0]["shape"] == [3, 3, 8, 8]
        assert b'"profiles": [{"x": [[3, 3, 8, 8], ' in plan.data

    @pytest.mark.parametrize(
        ("behaviour", "reason"),
        [
            ({"refuses": ["Relu"]}, "parser does not take it"),
            ({"words": "no room"}, "no room"),
            ({"dies_of": 11}, "died of signal 11"),
        ],
    )
    def test_how_it_ended_is_told(self, onnx, plans, behaviour, reason):
        install(self.folder, "8.2", **behaviour)
        with pytest.raises(EngineError, match=reason):
            plan_for(wanted(onnx), plans, build_in_child)
        assert not list(Path(plans.root).glob("*.plan"))


class TestChoice:
    def open(self, onnx, build=None, gpu=DEVICE, **options):
        return open_engine(EngineWanted(onnx, 1, **options), HostBuffers, build, lambda: gpu)

    @pytest.mark.parametrize("release", RELEASES)
    def test_tensorrt_where_it_works(self, onnx, monkeypatch, release):
        build = Builder(monkeypatch, release)
        for cached in (False, True):
            engine, warnings = self.open(onnx, build)
            assert (engine.backend, engine.version, engine.precision) == ("tensorrt", release + ".1", "fp32")
            assert engine.flags["plan_cached"] is cached
            assert engine.flags["builder_flags"] == ["TF32"]
            assert warnings == []
        assert (Path(onnx).parent / "plans").is_dir()

    def test_onnx_runtime_where_there_is_no_gpu(self, onnx, build):
        engine, warnings = self.open(onnx, build, gpu=None)
        assert (engine.backend, warnings, build.asked) == ("onnxruntime", [], [])

    def test_why_a_gpu_is_not_used_is_told(self, onnx, monkeypatch):
        monkeypatch.setitem(sys.modules, "tensorrt", None)
        engine, (warning,) = self.open(onnx)
        assert engine.backend == "onnxruntime"
        assert warning.startswith("TensorRT is not used: tensorrt cannot be imported")

    def test_what_is_asked_for_is_what_runs_or_nothing(self, onnx, monkeypatch, build):
        assert self.open(onnx, build, backend="onnxruntime").engine.backend == "onnxruntime"
        assert self.open(onnx, build, backend="tensorrt", precision="fp16").engine.precision == "fp16"
        with pytest.raises(EngineError, match="no NVIDIA GPU"):
            self.open(onnx, build, gpu=None, backend="tensorrt")
        monkeypatch.setitem(sys.modules, "tensorrt", None)
        with pytest.raises(EngineError, match="cannot be imported"):
            self.open(onnx, build, backend="tensorrt")

    def test_onnx_runtime_makes_no_other_precision(self, onnx):
        with pytest.raises(RequestError, match="as it is, in fp32; ask for fp32, or export it in fp16"):
            self.open(onnx, backend="onnxruntime", precision="fp16")
