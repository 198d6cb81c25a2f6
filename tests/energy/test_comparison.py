"""The plain fits that the model is held against."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from edgesynth.energy.comparison import accuracy_of, count_ms, macs_only_ms
from edgesynth.energy.leaving_out import rms
from edgesynth.energy.rows import Row, read_rows

SOME = [row for row in read_rows() if row.harness == "torch2trt"][:30]


def made(latency: dict[str, float]) -> list[Row]:
    """Rows whose latency is 1 ms, and so much for each MAC and each kernel of a kind."""

    def of(row: Row) -> float:
        return (
            1 + latency.get("macs", 0.0) * row.macs + sum(latency.get(kind, 0.0) * n for kind, n in row.kinds.items())
        )

    return [replace(row, latency_ms=of(row)) for row in SOME]


def test_a_line_in_macs_is_found_for_networks_that_were_left_out() -> None:
    rows = made({"macs": 1e-7})
    assert macs_only_ms(rows) == pytest.approx([row.latency_ms for row in rows], rel=1e-6)


def test_a_time_for_each_kind_of_kernel_is_found() -> None:
    rows = made({"convolution": 0.03, "pooling": 0.02, "sum": 0.01, "element-wise": 0.05})
    assert count_ms(rows) == pytest.approx([row.latency_ms for row in rows], rel=1e-6)


def test_a_row_s_own_network_tells_it_nothing() -> None:
    rows = made({"macs": 1e-7})
    absurd = [replace(row, latency_ms=1e3) if row.network == rows[0].network else row for row in rows]
    assert macs_only_ms(absurd)[0] == pytest.approx(rows[0].latency_ms, rel=1e-6)


def test_held_out_rows_are_fitted_on_by_nobody() -> None:
    rows = made({"macs": 1e-7})
    absurd = [replace(row, latency_ms=1e3, held_out=True) if place < 5 else row for place, row in enumerate(rows)]
    assert macs_only_ms(absurd) == pytest.approx([row.latency_ms for row in rows], rel=1e-6)


def test_precisions_have_lines_of_their_own() -> None:
    rows = made({"macs": 1e-7})
    half = [
        replace(row, precision="fp16", latency_ms=row.latency_ms / 2, network=f"{row.network} fp16") for row in rows
    ]
    both = macs_only_ms([*rows, *half])
    assert both == pytest.approx([row.latency_ms for row in [*rows, *half]], rel=1e-6)


def test_accuracy_is_of_relative_errors() -> None:
    found = accuracy_of(np.array([1.1, 2.0, 2.0]), np.array([1.0, 2.0, 4.0]))
    assert (found.rows, found.median, found.worst) == (3, pytest.approx(0.1), pytest.approx(0.5))
    assert found.spearman == pytest.approx(0.866, abs=1e-3)
    assert accuracy_of(np.ones(3), np.arange(1.0, 4.0)).spearman is None
    assert rms(np.array([2.0, 2.0]), np.array([1.0, 4.0])) == pytest.approx(np.log(2))


def test_the_rows_know_their_kernels() -> None:
    for row in SOME:
        assert Counter(row.kinds).total() == row.kernels == len(row.load.macs)
