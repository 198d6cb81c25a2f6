"""The command line: python -m benchmarks.classification --help."""

import argparse
import sys
from pathlib import Path

from benchmarks.classification.cells import HERE, Cell, Places, cells_of
from benchmarks.classification.protocol import CONTESTANTS, FAMILY, FULL, PROTOCOLS, SMOKE, Protocol
from benchmarks.classification.runner import run_missing


def main(arguments: list[str] | None = None) -> int:
    """Exit status: 0, or 1 where a cell broke off."""
    options = _parser().parse_args(arguments)
    command: str = options.command
    if command == "run":
        return _run(options)
    if command in ("page", "latency"):
        protocol = SMOKE if options.smoke else FULL
        write = _page if command == "page" else _latency
        write(protocol, _places(protocol.name, options.work))
        return 0
    protocol = FAMILY if command == "family" else PROTOCOLS[options.protocol]
    places = _places(protocol.name, options.work)
    import torch

    torch.set_num_threads(1)
    if command == "prototype":
        from benchmarks.classification.material import make_prototype

        make_prototype(protocol, places, options.seed, _say)
    elif command == "family":
        from benchmarks.classification.family import make_family

        make_family(protocol, places, _say)
        _page(FULL, _places(FULL.name, options.work))
    elif command == "synth":
        from benchmarks.classification.material import open_material
        from benchmarks.classification.run_of_edgesynth import make_run

        make_run(open_material(protocol, places, options.seed), _say)
    elif command == "cell":
        from benchmarks.classification.cell import run_cell

        run_cell(protocol, places, Cell(options.contestant, options.budget, options.seed), _say)
    return 0


def _run(options: argparse.Namespace) -> int:
    protocol = SMOKE if options.smoke else FULL
    cells = list(cells_of(protocol, options.only or (), options.budget or (), options.seed or ()))
    places = _places(protocol.name, options.work)
    broken = run_missing(protocol, places, cells, options.jobs, _say)
    if not (options.only or options.budget or options.seed):
        from benchmarks.classification.latency import lacks

        if lacks(protocol, places):
            _latency(protocol, places)
        _page(protocol, places)
    return 1 if broken else 0


def _latency(protocol: Protocol, places: Places) -> None:
    from benchmarks.classification.latency import measure_all

    measure_all(protocol, places, _say)


def _page(protocol: Protocol, places: Places) -> None:
    from benchmarks.classification.page import write_page

    write_page(protocol, places)


def _places(protocol: str, work: Path) -> Places:
    return Places.of(PROTOCOLS[protocol], None if work == HERE / "work" else work)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.classification", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="run the cells that have no result yet; all of them: then latencies and page")
    run.add_argument("--only", nargs="+", choices=list(CONTESTANTS), metavar="CONTESTANT")
    run.add_argument("--budget", nargs="+", type=int, choices=FULL.budgets)
    run.add_argument("--seed", nargs="+", type=int)
    run.add_argument("--jobs", type=int, default=1, help="cells at the same time")
    latency = commands.add_parser("latency", help="time every finished network, and estimate it on a Jetson TX2")
    page = commands.add_parser("page", help="write README.md and accuracy.svg from the results")
    for each in (run, latency, page):
        each.add_argument("--smoke", action="store_true", help="a tiny protocol, to see that everything works")
    family = commands.add_parser("family", help="one generator, many networks; a run of its own")
    prototype = commands.add_parser("prototype", help="train one prototype (run does it by itself)")
    prototype.add_argument("--seed", type=int, required=True)
    synth = commands.add_parser("synth", help="run edgesynth for one seed (run does it by itself)")
    synth.add_argument("--seed", type=int, required=True)
    cell = commands.add_parser("cell", help="run one cell (run does it by itself)")
    cell.add_argument("contestant", choices=list(CONTESTANTS))
    cell.add_argument("--budget", type=int, required=True)
    cell.add_argument("--seed", type=int, required=True)
    for each in (prototype, synth, cell):
        each.add_argument("--protocol", choices=list(PROTOCOLS), default=FULL.name)
    for each in (run, latency, page, family, prototype, synth, cell):
        each.add_argument("--work", type=Path, default=HERE / "work", help="folder for what is not kept")
    return parser


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
