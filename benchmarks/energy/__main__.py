"""The command line: python -m benchmarks.energy model | speed | bound | page.

Each of the first three writes its figures into results/ and the page anew; `page` does the latter alone.
"""

import argparse
import json
from collections.abc import Callable
from typing import Any

from benchmarks.energy.page import write_page
from benchmarks.energy.provenance import HERE, provenance


def main(arguments: list[str] | None = None) -> int:
    """Exit status: always 0; what fails raises."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.energy", description=__doc__)
    parser.add_argument("command", choices=["model", "speed", "bound", "page"])
    command: str = parser.parse_args(arguments).command
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
