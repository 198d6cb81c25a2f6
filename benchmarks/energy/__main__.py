"""The command line: python -m benchmarks.energy model | speed | bound | page, or rows FILE.

Each of the first three writes its figures into results/ and the page anew; `page` does the latter alone. `rows` prints
how wrong the TX2 model is about the rows of a CSV file (see `others`).
"""

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.energy.page import write_page
from benchmarks.energy.provenance import HERE, provenance


def main(arguments: list[str] | None = None) -> int:
    """Exit status: always 0; what fails raises."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.energy", description=__doc__)
    parser.add_argument("command", choices=["model", "speed", "bound", "page", "rows"])
    parser.add_argument("file", nargs="?", type=Path, help="CSV of measured rows, for `rows`")
    options = parser.parse_args(arguments)
    command: str = options.command
    if command == "rows":
        if options.file is None:
            parser.error("rows: give a CSV file")
        from benchmarks.energy.others import compare_with

        sys.stdout.write(json.dumps(compare_with(options.file), indent=1) + "\n")
        return 0
    if command != "page":
        document = {"environment": provenance(), **_figures(command)()}
        path = HERE / "results" / f"{command}.json"
        path.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    write_page()
    return 0


def _figures(command: str) -> Callable[[], dict[str, Any]]:
    if command == "model":
        from benchmarks.energy.model import compare

        return compare
    if command == "speed":
        from benchmarks.energy.speed import measure_speed

        return measure_speed
    from benchmarks.energy.bound import bounds

    return bounds


if __name__ == "__main__":
    raise SystemExit(main())
