"""Who answers for a target."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from edgesynth_agent import protocol

from edgesynth.devices import (
    QUICK_HOST,
    SCREEN_HOST,
    AgentClient,
    AgentOracle,
    EstimateOracle,
    FakeOracle,
    HostAgent,
    HostOracle,
    Oracle,
    Schedule,
    jobs,
    schedule_for,
)
from edgesynth.errors import DeviceError
from tests.agent.models import save_conv
from tests.agent.running import children
from tests.devices.contract import OracleContract
from tests.devices.references import IMAGES, save_reference

SHORT = Schedule(warmup_min_s=0, warmup_max_s=0.05, windows=3, window_s=0.02)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return save_conv(tmp_path / "conv.onnx")


class TestFakeOracle(OracleContract):
    def make(self) -> Oracle:
        return FakeOracle("host", lambda onnx: (2.0, None))

    def test_remembers_and_computes(self, model: Path) -> None:
        with FakeOracle("tx2-sim", lambda onnx: (2.0, 8.0)) as oracle:
            record = oracle.measure(model, batch=3)
        assert oracle.asked == [(model, 3)]
        assert (record.source, record.power_w, record.inferences_per_joule) == ("simulated", 4.0, 125.0)


class TestHostOracle(OracleContract):
    def make(self) -> Oracle:
        return HostOracle(SHORT)

    def test_what_was_measured_here_says_so(self, model: Path) -> None:
        stages = []
        with HostOracle(SHORT, lambda stage, share: stages.append(stage)) as oracle:
            record = oracle.measure(model)
        assert (record.source, record.energy_mj) == ("measured", None)
        assert record.ci95["latency_ms"] is not None
        assert stages[-1] == "done"

    def test_what_the_device_refuses_is_one_line(self, oracle: Oracle, tmp_path: Path) -> None:
        path = save_conv(tmp_path / "open.onnx", size="s")
        with pytest.raises(DeviceError, match="is open") as caught:
            oracle.measure(path)
        assert caught.value.exit_code == 3
        assert "\n" not in str(caught.value)

    def test_an_interrupt_leaves_the_device_free(self, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def interrupt(*_: object) -> None:
            raise KeyboardInterrupt

        with HostOracle(SHORT.model_copy(update={"window_s": 10.0})) as oracle:
            monkeypatch.setattr(AgentClient, "wait", interrupt)
            for _ in range(2):  # the second would be refused if the first were still running
                with pytest.raises(KeyboardInterrupt):
                    oracle.measure(model)

    def test_outputs_are_compared_with_the_reference(self, tmp_path: Path) -> None:
        model = save_conv(tmp_path / "net.onnx")
        reference = save_reference(model, tmp_path / "net.reference.npz")
        with HostOracle(SHORT, engine="onnxruntime", precision="fp32") as oracle:
            record = oracle.measure(model, batch=2, reference=reference)
            assert record.reference is not None
            assert (record.reference.images, record.reference.passed) == (IMAGES, True)
            assert oracle.measure(model).reference is None
            save_reference(model, reference, error=0.5)
            with pytest.raises(DeviceError, match="differs from the reference by up to 0"):
                oracle.measure(model, reference=reference)

    def test_engine_precision_and_scales_reach_the_device(self, model: Path, tmp_path: Path) -> None:
        with (
            HostOracle(SHORT, engine="onnxruntime", precision="fp16") as oracle,
            pytest.raises(DeviceError, match="ONNX Runtime runs the file as it is, in fp32"),
        ):
            oracle.measure(model)
        scales = tmp_path / "net.calibration"
        scales.write_text("TRT-8201-EntropyCalibration2\nx: 3f800000\n")
        with (
            HostOracle(SHORT, engine="onnxruntime", precision="int8") as oracle,
            pytest.raises(DeviceError, match="takes no calibration cache"),
        ):
            oracle.measure(model, calibration=scales)

    def test_a_played_machine_measures_nothing(self, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("EDGESYNTH_SIMULATED", "a test")
        with HostOracle(SHORT) as oracle:
            record = oracle.measure(model)
        assert record.source == "simulated"
        assert record.warnings[0] == "simulated: $EDGESYNTH_SIMULATED says so: a test"


def test_an_agent_that_was_found_some_other_way_answers_for_its_target(model: Path) -> None:
    with AgentOracle("host", HostAgent(), SHORT) as oracle:
        assert oracle.measure(model).target == "host"


def facts(sensor: str | None, *targets: str, source: str = "measured") -> dict[str, object]:
    return {"power": {"sensor": sensor}, "targets": ["host", *targets], "source": source}


@pytest.mark.parametrize(
    ("device", "schedule"),
    [
        (facts(None), QUICK_HOST),
        (facts("rapl"), jobs.QUICK_METERED),
        (facts("ina3221", "tx2"), jobs.QUICK_BOARD),
        (facts("ina3221", "tx2", source="simulated"), jobs.SIMULATED_BOARD),
    ],
)
def test_a_device_with_a_power_sensor_is_given_time_for_joules(device: dict[str, object], schedule: Schedule) -> None:
    assert schedule_for(device) == schedule
    assert schedule_for(device, screening=True) == SCREEN_HOST


@pytest.mark.parametrize(
    ("device", "quick", "reported"),
    [
        (facts(None), jobs.QUICK_METERED, jobs.REPORTED_METERED),
        (facts("rapl"), jobs.QUICK_METERED, jobs.REPORTED_METERED),
        (facts("ina3221", "tx2"), jobs.QUICK_BOARD, jobs.REPORTED_BOARD),
        (facts(None, "tx2", source="simulated"), jobs.QUICK_BOARD, jobs.REPORTED_BOARD),
    ],
)
def test_a_tier_is_that_of_the_agent(device: dict[str, object], quick: Schedule, reported: Schedule) -> None:
    for tier, expected in (("quick", quick), ("reported", reported)):
        schedule = schedule_for(device, tier=tier)  # type: ignore[arg-type]
        assert schedule == expected
        assert protocol.Schedule(**schedule.model_dump()).tier == tier


def test_the_schedule_is_that_of_the_device(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(AgentClient, "device", lambda client: facts("rapl"))
    monkeypatch.setattr(jobs, "QUICK_METERED", SHORT)
    with HostOracle() as oracle:
        flags = oracle.measure(model).engine.flags
    assert flags["window_s"] == SHORT.window_s


class TestEstimateOracle(OracleContract):
    def make(self) -> Oracle:
        return EstimateOracle("tx2-sim")

    def test_an_estimate_says_so(self, oracle: Oracle, model: Path) -> None:
        assert oracle.measure(model).source == "estimated"


def test_a_device_that_dies_is_a_device_error(tmp_path: Path) -> None:
    def kill(stage: str, share: float) -> None:
        (pid,) = children(os.getpid())
        os.kill(pid, signal.SIGKILL)

    with HostOracle(SHORT, kill) as oracle, pytest.raises(DeviceError, match="host: "):
        oracle.measure(save_conv(tmp_path / "conv.onnx"))


def test_importing_devices_is_light() -> None:
    heavy = {"torch", "onnx", "onnxruntime", "numpy", "edgesynth_agent"}
    code = f"import sys, edgesynth.devices; sys.exit(', '.join({heavy} & set(sys.modules)) or 0)"
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
