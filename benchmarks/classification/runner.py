"""Runs what is missing: every cell in a process of its own, with one thread."""

import subprocess
import sys
import threading
from collections import defaultdict
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks.classification.cells import Cell, Places, is_done
from benchmarks.classification.environment import ROOT, child_environment, peers_python
from benchmarks.classification.protocol import INHERITING, PEERS, Protocol

__all__ = ["run_missing"]

Say = Callable[[str], None]


def run_missing(protocol: Protocol, places: Places, cells: Sequence[Cell], jobs: int, say: Say) -> list[Cell]:
    """Run the cells that have no result of this protocol; those that broke off.

    Cells of one contestant and seed share work, so they do not run at the same time.
    """
    missing = [cell for cell in cells if not is_done(places, protocol, cell)]
    say(f"{len(missing)} of {len(cells)} cells to run")
    locks: defaultdict[Hashable, threading.Lock] = defaultdict(threading.Lock)

    def run(cell: Cell) -> bool:
        with locks[cell.seed]:
            made = _child(protocol, places, ["prototype", "--seed", str(cell.seed)], peer=False, say=say)
            if made and cell.contestant in INHERITING:
                made = _child(protocol, places, ["synth", "--seed", str(cell.seed)], peer=False, say=say)
        if not made:
            return False
        arguments = [cell.contestant, "--budget", str(cell.budget), "--seed", str(cell.seed)]
        if cell.contestant in PEERS:
            with locks["environment of the peers"]:
                peers_python(_root(protocol, places))
        with locks[cell.contestant, cell.seed]:
            return _child(protocol, places, ["cell", *arguments], peer=cell.contestant in PEERS, say=say)

    with ThreadPoolExecutor(jobs) as pool:
        done = list(pool.map(run, missing))
    return [cell for cell, ok in zip(missing, done, strict=True) if not ok]


def _root(protocol: Protocol, places: Places) -> Path:
    """The folder of what all protocols share: the environment of the peers."""
    return places.work if protocol.name == "full" else places.work.parent


def _child(protocol: Protocol, places: Places, arguments: Sequence[str], peer: bool, say: Say) -> bool:
    """Whether a process of this program ended well."""
    root = _root(protocol, places)
    python = str(peers_python(root)) if peer else sys.executable
    command = [python, "-m", "benchmarks.classification", *arguments, "--protocol", protocol.name]
    done = subprocess.run([*command, "--work", str(root)], env=child_environment(), cwd=ROOT, check=False)
    if done.returncode != 0:
        say(f"{' '.join(arguments)}: ended with {done.returncode}; the same command goes on where it stopped")
    return done.returncode == 0
