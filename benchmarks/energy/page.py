"""The page: README.md, from result files alone."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.energy.device_sections import boards_section, loop_section
from benchmarks.energy.driven_section import driven_section
from benchmarks.energy.provenance import HERE
from benchmarks.energy.table import percent, table

__all__ = ["page", "write_page"]

FITS = {"model": "edgesynth's model", "macs": "a line in MACs", "kernels": "a count of kernels by kind"}
WANTED = {
    "NAS-Bench-201": "median <= 5 %, worst <= 12 %, Spearman >= 0.9",
    "of these, the first": "the same",
    "other networks": "median <= 20 %",
}


def write_page() -> None:
    (HERE / "README.md").write_text(page(HERE / "results"), encoding="utf-8")


def page(results: Path) -> str:
    """The text of README.md. A part whose figures were not taken yet is left out."""
    parts = [
        "# Energy: the model of a Jetson TX2\n",
        "Written by `python -m benchmarks.energy` from the files in `results/`; do not edit.\n",
    ]
    for name, section in SECTIONS:
        path = results / f"{name}.json"
        if path.is_file():
            document = json.loads(path.read_text(encoding="utf-8"))
            parts += [*section(document), _where(document["environment"])]
    return "\n".join(parts)


def _model(document: dict[str, Any]) -> Iterator[str]:
    targets = {name: value for name, value in document.items() if name != "environment"}
    for target, found in targets.items():
        yield f"## {target} against measured rows\n"
        yield (
            "Each network is left out of the fit with all its rows, and then estimated at the overhead of the program "
            "that measured it. Rows that are held out are fitted on by nobody. Errors: |estimate / measurement - 1|.\n"
        )
        yield from table(
            ("rows", "wanted", "fit", "count", "median", "worst", "Spearman"), 3,
            (
                (group if fit == "model" else "", WANTED.get(group, "") if fit == "model" else "", FITS[fit],
                 accuracy["rows"], *_percents(accuracy), _rho(accuracy["spearman"]))
                for group in found["latency"]["model"]
                for fit, accuracy in ((fit, found["latency"][fit][group]) for fit in FITS)
            ),
        )  # fmt: skip
        if found["energy"]:
            energy = found["energy"]
            yield (
                f"Energy, at the estimated latency: median {percent(energy['median'])}, worst "
                f"{percent(energy['worst'])} of {energy['rows']} rows, Spearman {_rho(energy['spearman'])}; "
                "wanted: <= 6 %.\n"
            )
        constants = found["constants"]
        values = {**constants["latency"], **constants["power"]}
        yield f"Constants, fitted on all rows (`edgesynth/energy/{constants['file']}`): {_list(values)}."
        yield f"Overheads by program: {_list(constants['overheads_ms'])} ms.\n"
        yield from _rows(found["rows"])


def _rows(rows: Sequence[dict[str, Any]]) -> Iterator[str]:
    yield "<details><summary>Every row</summary>\n"
    yield from table(
        ("network", "precision", "MMACs", "kernels", "measured, ms", *(f"{name}, error" for name in FITS.values()),
         "measured, mJ", "edgesynth's model, error", "held out"), 2,
        (
            (f"`{row['network']}`" if "|" not in row["network"] else f"`{row['network'].replace('|', chr(92) + '|')}`",
             row["precision"], row["mmacs"], row["kernels"], row["latency_ms"],
             *(_signed(row[f"{fit}_ms"] / row["latency_ms"] - 1) for fit in FITS),
             row["energy_mj"] or "", _signed(row["model_mj"] / row["energy_mj"] - 1) if row["energy_mj"] else "",
             "yes" if row["held_out"] else "")
            for row in rows
        ),
    )  # fmt: skip
    yield "</details>\n"


def _bound(document: dict[str, Any]) -> Iterator[str]:
    overheads = document["overheads_ms"]
    yield f"## What can be saved at all: {document['prototype']}, {document['precision']}, on tx2-sim\n"
    yield (
        "Inferences per joule of the cheapest genomes of the space, whatever their accuracy, as multiples of the "
        "prototype's. They depend on the overhead of the program around the engine, which no network can lower: "
        f"{_list(overheads)} ms.\n"
    )
    yield from table(
        ("input", "MMACs", "genome", "kernels", "ms", "mJ", *(f"overhead {name}" for name in overheads)), 3,
        (
            (f"{size['side']}x{size['side']}", size["mmacs"], name, entry["kernels"], entry["assumed"]["ms"],
             entry["assumed"]["mj"], *(f"{entry[label]['times_inferences_per_joule']:.2f}x" for label in overheads))
            for size in document["sizes"]
            for name, entry in size["genomes"].items()
        ),
    )  # fmt: skip


def _speed(document: dict[str, Any]) -> Iterator[str]:
    one, search = document["estimate"], document["search"]
    yield "## How fast it answers\n"
    yield (
        f"- `estimate` of a file of {one['nodes']} operators, after start-up: median {one['median_ms']} ms, greatest "
        f"{one['greatest_ms']} ms of {one['repeats']}; wanted: <= 200 ms."
    )
    yield (
        f"- Genomes inside the search, with gradients, {search['batch']} at a time: "
        f"{search['genomes_per_minute']:,} a minute; wanted: 10,000. Built once for a space in "
        f"{search['built_once_s']} s.\n"
    )


SECTIONS = (
    ("model", _model),
    ("bound", _bound),
    ("driven", driven_section),
    ("loop", loop_section),
    ("boards", boards_section),
    ("speed", _speed),
)
"""By the name of the result file, in the order of the page."""


def _where(environment: dict[str, Any]) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in environment["versions"].items())
    return (
        f"Taken by `{environment['command']}` on {environment['date']}: {environment['cpu']}, {environment['cores']} "
        f"cores, Python {environment['python']}, {versions}, commit {environment['commit']}.\n"
    )


def _list(values: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:g}" for name, value in values.items())


def _percents(accuracy: dict[str, Any]) -> list[str]:
    return [percent(accuracy["median"]), percent(accuracy["worst"])]


def _signed(share: float) -> str:
    return f"{100 * share:+.1f} %"


def _rho(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.3f}"
