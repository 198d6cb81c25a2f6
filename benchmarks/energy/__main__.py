"""The command line: python -m benchmarks.energy model | speed | bound | driven | loop | boards | page, or rows FILE.

Each of the first six writes its figures into results/ and the page anew; `page` does the latter alone. `driven` trains
networks for hours, and goes on where it was stopped. `rows` prints
how wrong the TX2 model is about the rows of a CSV file (see `others`).
"""

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.energy.page import write_page
from benchmarks.energy.provenance import HERE, provenance

SEEDS = (0, 1, 2)


def main(arguments: list[str] | None = None) -> int:
    """Exit status: always 0; what fails raises."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.energy", description=__doc__)
    parser.add_argument("command", choices=["model", "speed", "bound", "driven", "loop", "boards", "page", "rows"])
    parser.add_argument("file", nargs="?", type=Path, help="CSV of measured rows, for `rows`")
    parser.add_argument("--seed", type=int, action="append", help="for `driven`: a seed; all three unless given")
    options = parser.parse_args(arguments)
    command: str = options.command
    if command == "rows":
        if options.file is None:
            parser.error("rows: give a CSV file")
        from benchmarks.energy.others import compare_with

        sys.stdout.write(json.dumps(compare_with(options.file), indent=1) + "\n")
        return 0
    if command != "page":
        document = {"environment": provenance(), **_figures(command, options.seed or SEEDS)()}
        path = HERE / "results" / f"{command}.json"
        path.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    write_page()
    return 0


def _figures(command: str, seeds: Sequence[int]) -> Callable[[], dict[str, Any]]:
    if command == "model":
        from benchmarks.energy.model import compare

        return compare
    if command == "speed":
        from benchmarks.energy.speed import measure_speed

        return measure_speed
    if command == "loop":
        from benchmarks.energy.loop import compare_loop

        return compare_loop
    if command == "boards":
        from benchmarks.energy.boards import compare_boards

        return compare_boards
    if command == "driven":
        from benchmarks.energy.driven import drive

        return lambda: drive(seeds, _say)
    from benchmarks.energy.bound import bounds

    return bounds


def _say(text: str) -> None:
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


if __name__ == "__main__":
    raise SystemExit(main())
