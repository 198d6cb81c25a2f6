"""Fits the models that ship with edgesynth: python -m edgesynth.energy.fit [--write]

Prints the fitted part of every model's file; `--write` puts it into the file.
"""

import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

from edgesynth.energy.constants import SHIPPED
from edgesynth.energy.fitting import EnergyFit, LatencyFit, Prior, blank_constants, blank_power, fit_energy, fit_latency
from edgesynth.energy.leaving_out import LeftOut, leave_out
from edgesynth.energy.model_file import Overhead, fitted_energy, fitted_text
from edgesynth.energy.rows import Row, read_rows

__all__ = ["ShippedFit", "fit_shipped", "marker", "text_of"]

FOLDER = Path(__file__).parent
AGENT_SHARE = (0.5, 0.1, 1.0)
"""The overhead of edgesynth's agent as a share of the harness like it: assumed, at least, at most."""


@dataclass(frozen=True)
class ShippedFit:
    """A model's rows, and what was fitted on those that are not held out."""

    rows: list[Row]
    latency: LatencyFit
    energy: EnergyFit | None
    priors: dict[str, Prior]
    left_out: LeftOut | None


def main() -> None:
    for name in SHIPPED.values():
        path = FOLDER / name
        text = path.read_text(encoding="utf-8")
        fitted = text_of(fit_shipped(path))
        if "--write" in sys.argv[1:]:
            path.write_text(text[: marker(text)] + fitted, encoding="utf-8")
        sys.stdout.write(f"# {name}\n{fitted}\n")


def fit_shipped(path: Path, *, left_out: bool = True) -> ShippedFit:
    """Fits the model whose file is `path` on the rows that the file names. Leaving networks out takes most of the
    time."""
    document = tomllib.loads(path.read_text(encoding="utf-8"))
    published = {name: float(entry["value"]) for name, entry in document["published"].items()}
    priors = {name: Prior(float(entry["value"]), float(entry["factor"])) for name, entry in document["prior"].items()}
    base, power = blank_constants(published), None if "no_power" in document else blank_power(published)
    rows = read_rows(FOLDER / "data" / document["rows"])
    used = [row for row in rows if not row.held_out]
    harnesses = list(dict.fromkeys(row.harness for row in rows))
    latency = fit_latency(used, base, priors, harnesses)
    energy = None if power is None else fit_energy(used, power, priors)
    unseen = leave_out(rows, base, power, priors, latency) if left_out else None
    return ShippedFit(rows, latency, energy, priors, unseen)


def text_of(result: ShippedFit) -> str:
    """The fitted part of the file. Networks must have been left out."""
    if result.left_out is None:
        raise ValueError("fit with left_out=True")
    like = result.latency.overheads["torch2trt"]
    value, low, high = (share * like for share in AGENT_SHARE)
    source = (
        "assumed: half that of torch2trt, which also calls TensorRT from Python and waits for the GPU, but allocates "
        "tensors besides; between a tenth of it and all of it. edgesynth calibrate replaces it by what agents measured"
    )
    overhead = Overhead(value, low, high, source)
    energy = None if result.energy is None else fitted_energy(result.rows, result.energy, result.left_out)
    return fitted_text(result.rows, result.latency, energy, result.left_out, overhead)


def marker(text: str) -> int:
    """Where in the text of a model's file the fitted part begins."""
    return text.index("\n", text.index("# ---- all below")) + 1


if __name__ == "__main__":
    main()
