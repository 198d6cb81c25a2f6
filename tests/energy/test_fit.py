"""The fit against its file, and the fitted model against the published rows."""

import tomllib
from typing import Any

import pytest

from edgesynth.energy.constants import CONSTANTS_FILE, calibration
from edgesynth.energy.fit import fitted_text, marker
from edgesynth.energy.fitting import Fit, estimated_ms, fit, published_constants
from edgesynth.energy.model import energy_of
from edgesynth.energy.rows import Row, read_rows
from edgesynth.energy.uncertainty import energy_interval_mj, latency_interval_ms

TEXT = CONSTANTS_FILE.read_text(encoding="utf-8")
SMALL = "|avg_pool_3x3~0|+|nor_conv_1x1~0|skip_connect~1|+|nor_conv_1x1~0|skip_connect~1|skip_connect~2| 10 classes"
LARGE = "|nor_conv_3x3~0|+|nor_conv_3x3~0|avg_pool_3x3~1|+|skip_connect~0|nor_conv_3x3~1|skip_connect~2| 10 classes"


@pytest.fixture(scope="module")
def result() -> Fit:
    return fit(read_rows(), published_constants(TEXT))


@pytest.fixture(scope="module")
def rows() -> dict[tuple[str, str], Row]:
    return {(row.label, row.load.precision): row for row in read_rows()}


def flat(value: Any, path: str = "") -> dict[str, Any]:
    """Every leaf of a parsed TOML document by its path."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else None
    if items is None:
        return {path: value}
    return {key: leaf for name, inner in items for key, leaf in flat(inner, f"{path}/{name}").items()}


def test_the_file_holds_what_the_fit_prints(result: Fit) -> None:
    written, printed = (flat(tomllib.loads(text)) for text in (TEXT[marker(TEXT) :], fitted_text(result)))
    assert written.keys() == printed.keys()
    for path, value in printed.items():
        if isinstance(value, float):
            slack = 0.2 if path.endswith("percent") else 0.0  # in percent points
            assert written[path] == pytest.approx(value, rel=2e-3, abs=slack), path
        else:
            assert written[path] == value, path


def test_every_constant_has_a_source() -> None:
    document = tomllib.loads(TEXT)
    for name, entry in (document["published"] | document["fitted"]).items():
        assert (
            "://" in entry["source"]
            or "arXiv" in entry["source"]
            or "Hot Chips" in entry["source"]
            or (entry["source"].startswith("fitted: "))
        ), name


def test_seven_times_the_arithmetic_costs_an_eighth_more_time(rows: dict[tuple[str, str], Row]) -> None:
    """16 and 114 million multiply-accumulates: 12 % in latency, 1.24 in energy, as measured."""
    c = calibration().constants
    small, large = rows[SMALL, "fp32"], rows[LARGE, "fp32"]
    assert large.macs / small.macs == pytest.approx(7.3, abs=0.05)
    small_ms, large_ms = estimated_ms(small, c), estimated_ms(large, c)
    assert large_ms / small_ms == pytest.approx(large.latency_ms / small.latency_ms, rel=0.03)
    assert 1.08 < large_ms / small_ms < 1.16
    assert small.energy_mj and large.energy_mj
    ratio = energy_of(large.load, c, large_ms).total_mj / energy_of(small.load, c, small_ms).total_mj
    assert ratio == pytest.approx(large.energy_mj / small.energy_mj, rel=0.05)


def test_a_quarter_of_the_arithmetic_saves_no_time_where_launches_bind(rows: dict[tuple[str, str], Row]) -> None:
    c = calibration().constants
    row, quarter = rows[SMALL, "fp32"], rows[SMALL.replace("10 classes", "120 classes"), "fp32"]
    assert quarter.macs / row.macs == pytest.approx(0.25, abs=0.01)
    assert estimated_ms(quarter, c) == pytest.approx(estimated_ms(row, c), rel=0.01)


@pytest.mark.parametrize(
    ("network", "precision", "measured_ms"),
    [
        ("yolov8n", "fp16", 37.258),
        ("resnet_v1_50", "fp16", 15.7),
        ("resnet_v1_50", "fp32", 27.1),
        ("vgg16", "fp32", 79.2),
    ],
)
def test_big_networks_come_out_in_the_right_range(
    rows: dict[tuple[str, str], Row], network: str, precision: str, measured_ms: float
) -> None:
    row = rows[network, precision]
    assert row.latency_ms == measured_ms
    assert estimated_ms(row, calibration().constants) == pytest.approx(measured_ms, rel=0.2)


def test_the_intervals_hold_every_row_the_held_out_one_too() -> None:
    known = calibration()
    for row in read_rows():
        low_ms, high_ms = latency_interval_ms(row.load, known)
        assert low_ms < row.latency_ms < high_ms, row.label
        low_mj, high_mj = energy_interval_mj(row.load, known)
        assert row.energy_mj is None or low_mj < row.energy_mj < high_mj, row.label


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


def test_the_held_out_network_is_not_fitted_on(result: Fit) -> None:
    assert sum(row.held_out for row in result.rows) == 1
    assert len(result.latency_refits) == len({row.network for row in result.rows if not row.held_out})
