"""The fit against its file, and the fitted model against the published rows."""

import tomllib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from edgesynth.energy.constants import SHIPPED, Calibration, calibration_of
from edgesynth.energy.fit import FOLDER, ShippedFit, fit_shipped, marker
from edgesynth.energy.fitting import LATENCY_NAMES, Prior, blank_constants, fit_latency
from edgesynth.energy.model import energy_of, timing_of
from edgesynth.energy.model_file import quoted
from edgesynth.energy.rows import Row, read_rows
from edgesynth.energy.uncertainty import energy_interval_mj, latency_interval_ms

FILE = FOLDER / SHIPPED["tx2-sim"]
SMALL = "|avg_pool_3x3~0|+|nor_conv_1x1~0|skip_connect~1|+|nor_conv_1x1~0|skip_connect~1|skip_connect~2| 10 classes"
LARGE = "|nor_conv_3x3~0|+|nor_conv_3x3~0|avg_pool_3x3~1|+|skip_connect~0|nor_conv_3x3~1|skip_connect~2| 10 classes"
IDENTITY = "|none~0|+|none~0|none~1|+|skip_connect~0|none~1|none~2| 10 classes"


@pytest.fixture(scope="module")
def result() -> ShippedFit:
    return fit_shipped(FILE, left_out=False)


@pytest.fixture(scope="module")
def rows(result: ShippedFit) -> dict[tuple[str, str], Row]:
    return {(row.label, row.precision): row for row in result.rows}


@pytest.fixture(scope="module")
def known() -> Calibration:
    return calibration_of("tx2-sim")


def errors(result: ShippedFit, chosen: list[Row]) -> NDArray[np.float64]:
    measured = np.array([row.latency_ms for row in chosen])
    return np.asarray(np.abs(np.log(result.latency.estimates_ms(chosen) / measured)))


@pytest.mark.parametrize("name", SHIPPED.values())
def test_the_file_holds_what_the_fit_finds(name: str) -> None:
    document = tomllib.loads((FOLDER / name).read_text(encoding="utf-8"))
    found = fit_shipped(FOLDER / name, left_out=False)
    for constant in LATENCY_NAMES:
        assert document["fitted"][constant]["value"] == pytest.approx(
            getattr(found.latency.constants, constant), rel=2e-3
        )
    assert document["harness_ms"] == pytest.approx(found.latency.overheads, rel=2e-3)
    for constant, value in vars(found.energy.power).items() if found.energy else ():
        assert (document["published"] | document["fitted"])[constant]["value"] == pytest.approx(value, rel=2e-3)


@pytest.mark.parametrize("name", SHIPPED.values())
def test_every_constant_has_a_source(name: str) -> None:
    document = tomllib.loads((FOLDER / name).read_text(encoding="utf-8"))
    for table in ("published", "prior", "fitted"):
        for constant, entry in document[table].items():
            assert entry["source"], constant
    for constant, entry in document["published"].items():
        assert any(mark in entry["source"] for mark in ("://", "arXiv", "Hot Chips")), constant
    assert marker((FOLDER / name).read_text(encoding="utf-8")) > 0


def test_seven_times_the_arithmetic_costs_an_eighth_more_time(
    rows: dict[tuple[str, str], Row], result: ShippedFit
) -> None:
    """16 and 114 million multiply-accumulates: 12 % in latency, 1.24 in energy, as measured."""
    small, large = rows[SMALL, "fp32"], rows[LARGE, "fp32"]
    assert large.macs / small.macs == pytest.approx(7.3, abs=0.05)
    small_ms, large_ms = result.latency.estimates_ms([small, large]).tolist()
    assert large_ms / small_ms == pytest.approx(large.latency_ms / small.latency_ms, rel=0.05)
    assert small.energy_mj and large.energy_mj and result.energy
    power = result.energy.power
    ratio = energy_of(large.load, power, large_ms).total_mj / energy_of(small.load, power, small_ms).total_mj
    assert ratio == pytest.approx(large.energy_mj / small.energy_mj, rel=0.08)


def test_a_quarter_of_the_arithmetic_saves_no_time_where_launches_bind(
    rows: dict[tuple[str, str], Row], result: ShippedFit
) -> None:
    row, quarter = rows[SMALL, "fp32"], rows[SMALL.replace("10 classes", "120 classes"), "fp32"]
    assert quarter.macs / row.macs == pytest.approx(0.25, abs=0.01)
    full_ms, quarter_ms = result.latency.estimates_ms([row, quarter]).tolist()
    assert quarter_ms == pytest.approx(full_ms, rel=0.01)


def test_nearly_all_networks_of_launches_are_estimated_within_an_eighth(result: ShippedFit) -> None:
    """Those that the fit has not seen too, and the overhead is that of a network with next to no kernels."""
    small = [row for row in result.rows if row.harness == "torch2trt"]
    found = errors(result, small)
    assert np.median(found) < 0.04
    assert np.quantile(found, 0.9) < 0.12
    unseen = errors(result, [row for row in small if row.held_out])
    assert len(unseen) > 50 and np.median(unseen) < 0.05
    assert result.latency.overheads["torch2trt"] < rows_ms(small, IDENTITY)


def rows_ms(rows: list[Row], label: str) -> float:
    return next(row.latency_ms for row in rows if row.label == label)


def test_the_others_come_out_in_the_right_range(result: ShippedFit) -> None:
    others = [row for row in result.rows if row.harness != "torch2trt" and not row.held_out]
    assert len(others) == 7
    assert errors(result, others).max() < 0.25
    assert np.median(errors(result, others)) < 0.1


def test_the_intervals_hold_95_percent_of_the_rows(known: Calibration, result: ShippedFit) -> None:
    """At the overhead of their harness, which is known better than the agent's."""
    inside = []
    for row in result.rows:
        overhead_ms = result.latency.overheads[row.harness]
        like = replace_overhead(known, overhead_ms)
        low_ms, high_ms = latency_interval_ms(row.load, like)
        inside.append(low_ms < row.latency_ms < high_ms)
        if row.energy_mj is not None and known.power is not None:
            low_mj, high_mj = energy_interval_mj(row.load, like, known.power)
            inside.append(low_mj < row.energy_mj < high_mj)
    assert np.mean(inside) > 0.95


def replace_overhead(known: Calibration, overhead_ms: float) -> Calibration:
    constants = replace(known.constants, overhead_ms=overhead_ms)
    return replace(known, constants=constants, overhead_range_ms=(overhead_ms, overhead_ms))


def test_the_networks_are_those_of_the_papers(rows: dict[tuple[str, str], Row]) -> None:
    """Millions of multiply-accumulates as published; ResNet-50 as slim builds it, which shrinks early."""
    published = {
        (SMALL, "fp32"): 15.65,
        (LARGE, "fp32"): 113.95,
        ("vgg16", "fp32"): 15470,
        ("resnet_v1_50", "fp16"): 3480,
        ("resnet_v1_152", "fp16"): 11300,
        ("inception_v1", "fp16"): 1500,
        ("inception_v4", "fp16"): 12300,
        ("yolov8n", "fp16"): 4350,
        ("mobilenet_v1_0.25_128", "fp16"): 14,
    }
    for key, millions in published.items():
        assert rows[key].macs / 1e6 == pytest.approx(millions, rel=0.04), key


def test_what_is_held_out_is_not_fitted_on(result: ShippedFit) -> None:
    """An absurd row changes nothing while it is held out."""
    document = tomllib.loads(FILE.read_text(encoding="utf-8"))
    held = next(row for row in result.rows if row.held_out)
    assert held.source and document["rows"] == "tx2-measurements.csv"
    used = [row for row in result.rows if not row.held_out][:12]
    base = blank_constants({name: entry["value"] for name, entry in document["published"].items()})
    plain = fit_latency(used, base, result.priors)
    absurd = fit_latency([*used, replace(held, latency_ms=1000.0, held_out=False)], base, result.priors)
    assert absurd.overheads != plain.overheads


def test_a_fit_finds_the_constants_that_made_its_rows(result: ShippedFit) -> None:
    """From rows computed with other constants than the priors', exactly; and with nothing measured, the priors."""
    used = [row for row in result.rows if not row.held_out]
    truth = replace(result.latency.constants, launch_us=40.0, pooling_us=33.0, overhead_ms=0.0)
    made = [
        replace(row, latency_ms=float(timing_of(row.load, truth).latency_ms) + 1.5, cpu_clock_mhz=truth.cpu_clock_mhz,
                gpu_clock_mhz=truth.gpu_clock_mhz, memory_clock_mhz=truth.memory_clock_mhz)
        for row in used
    ]  # fmt: skip
    found = fit_latency(made, truth, result.priors)
    assert found.constants.launch_us == pytest.approx(40, rel=0.02)
    assert found.constants.pooling_us == pytest.approx(33, rel=0.02)
    assert found.overheads["torch2trt"] == pytest.approx(1.5, rel=0.02)


def test_a_prior_is_sure_to_95_percent() -> None:
    assert Prior(10, 4).deviation * 1.96 == pytest.approx(np.log(4))


def test_whatever_a_source_says_is_a_string_of_toml() -> None:
    for text in ('a "quoted" \\ path\n', "tab\t", "ü – ’"):
        assert tomllib.loads(f"x = {quoted(text)}") == {"x": text}


def test_every_row_names_its_source_and_a_known_harness() -> None:
    document = tomllib.loads(FILE.read_text(encoding="utf-8"))
    for row in read_rows(Path(FOLDER / "data" / document["rows"])):
        assert "https://" in row.source and row.harness in document["harness_ms"]
