"""Prints the fitted part of `tx2.toml`: python -m edgesynth.energy.fit [--write]

Every free constant, the constants refitted without each network, and for each row the error of the estimate and
its error when the row's network was left out of the fit. `--write` puts it into the file.
"""

import math
import sys
from collections.abc import Iterator, Sequence

from edgesynth.energy.constants import CONSTANTS_FILE, Constants
from edgesynth.energy.fitting import ENERGY_NAMES, LATENCY_START, Fit, estimated_ms, fit, published_constants, rounded
from edgesynth.energy.model import timing_of
from edgesynth.energy.rows import Row, read_rows

__all__ = ["fitted_text", "marker"]

LAUNCH_BOUND_SHARE = 0.8  # bound by launches: they and the overhead fill this share of the time


def main() -> None:
    text = CONSTANTS_FILE.read_text(encoding="utf-8")
    fitted = fitted_text(fit(read_rows(), published_constants(text)))
    if "--write" in sys.argv[1:]:
        CONSTANTS_FILE.write_text(text[: marker(text)] + fitted, encoding="utf-8")
    sys.stdout.write(fitted)


def fitted_text(result: Fit) -> str:
    """The fitted constants, the errors, the refits and a table a row, in TOML."""
    parts = (_constants(result), _errors(result), _refits(result), _rows(result))
    return "\n".join(line for part in parts for line in part) + "\n"


def marker(text: str) -> int:
    """Where in the text of `tx2.toml` the fitted part begins."""
    return text.index("\n", text.index("# ---- all below")) + 1


def _constants(result: Fit) -> Iterator[str]:
    used = [row for row in result.rows if not row.held_out]
    latency = f"the latency of {len(used)} rows, {len(result.latency_refits)} networks"
    joules = [row for row in used if row.energy_mj is not None]
    energy = f"the energy of {len(joules)} rows, {len({row.network for row in joules})} networks, all fp32"
    for name in (*LATENCY_START, *ENERGY_NAMES):
        on = energy if name in ENERGY_NAMES else latency
        if name.startswith("efficiency"):
            on += f"; only those at {name[-4:]} depend on it"
        yield f'\n[fitted.{name}]\nvalue = {getattr(result.constants, name)}\nsource = "fitted: {on}"'


def _errors(result: Fit) -> Iterator[str]:
    used = [(row, left) for row, left in zip(result.rows, result.left_out, strict=True) if not row.held_out]
    kinds: dict[bool, list[float]] = {True: [], False: []}
    for row, left in used:
        kinds[_launch_bound(row, result.constants)].append(left)
    yield "\n# Root mean square of ln(estimate / measurement), for rows whose network (for energy: row) was left out."
    yield "[errors]"
    yield f"launch_bound_rms = {_rms(kinds[True])} # {len(kinds[True])} rows"
    yield f"gpu_bound_rms = {_rms(kinds[False])} # {len(kinds[False])} rows"
    yield f"energy_rms = {_rms([error for error in result.energy_left_out if error is not None])}"
    yield "# By how much the overhead falls when fitted on the rows without Python code around the engine."
    yield f"harness_ms = {result.harness_ms}"
    yield "\n[ranges]"
    yield f"macs_range = {_range([row.macs for row, _ in used])}"
    yield f"kernels_range = {_range([row.kernels for row, _ in used])}"
    yield f"energy_macs_range = {_range([row.macs for row, _ in used if row.energy_mj])}"
    yield f"energy_kernels_range = {_range([row.kernels for row, _ in used if row.energy_mj])}"


def _refits(result: Fit) -> Iterator[str]:
    yield "\n# The constants fitted without one network after the other, in the order of the rows."
    yield "[refits.latency]"
    for name in LATENCY_START:
        yield f"{name} = {[getattr(refit, name) for refit in result.latency_refits]}"
    yield "\n# The constants fitted without one row with joules after the other."
    yield "[refits.energy]"
    for name in ENERGY_NAMES:
        yield f"{name} = {[getattr(refit, name) for refit in result.energy_refits]}"


def _rows(result: Fit) -> Iterator[str]:
    for index, row in enumerate(result.rows):
        yield f'\n[[row]]\nnetwork = "{row.label}"\nprecision = "{row.load.precision}"'
        yield f"held_out = {str(row.held_out).lower()}\nmacs = {row.macs}\nkernels = {row.kernels}"
        yield f"latency_ms = {rounded(row.latency_ms)}"
        yield f"estimate_ms = {rounded(estimated_ms(row, result.constants))}"
        yield f"error_percent = {_percent(result.errors[index])}"
        if not row.held_out:
            yield f"left_out_error_percent = {_percent(result.left_out[index])}"
        energy_error, energy_left_out = result.energy_errors[index], result.energy_left_out[index]
        if row.energy_mj is not None and energy_error is not None and energy_left_out is not None:
            yield f"energy_mj = {rounded(row.energy_mj)}"
            yield f"estimate_mj = {rounded(row.energy_mj * math.exp(energy_error))}"
            yield f"energy_error_percent = {_percent(energy_error)}"
            yield f"energy_left_out_error_percent = {_percent(energy_left_out)}"


def _launch_bound(row: Row, constants: Constants) -> bool:
    timing = timing_of(row.load, constants)
    return timing.launch_bound_ms > LAUNCH_BOUND_SHARE * timing.latency_ms


def _rms(values: Sequence[float]) -> float:
    return rounded(math.sqrt(sum(value * value for value in values) / len(values)))


def _range(values: Sequence[int]) -> list[int]:
    return [min(values), max(values)]


def _percent(log_error: float) -> float:
    return round(100 * math.expm1(log_error), 1)


if __name__ == "__main__":
    main()
