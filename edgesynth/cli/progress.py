"""What a long run shows on stderr: live bars on a terminal, plain lines elsewhere."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

from edgesynth.records import Cycle, Network
from edgesynth.synthesis.progress import Progress

__all__ = ["LiveProgress", "PlainProgress", "Stages", "open_progress"]


@contextmanager
def open_progress() -> Iterator[Progress]:
    """The progress that fits stderr, for the time of a `with` block."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield PlainProgress(console)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TextColumn("{task.fields[detail]}", style="dim"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Bars(*columns, console=console, transient=True) as bars:
        yield LiveProgress(bars)


class Stages:
    """What a device is at, as a line that changes, for a `with` block or until `done`: before anything is printed.
    Nothing where stderr is no terminal."""

    def __init__(self) -> None:
        self._console = Console(stderr=True)
        self._status = self._console.status("waiting for the device")

    def __enter__(self) -> "Stages":
        if self._console.is_terminal:
            self._status.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.done()

    def __call__(self, stage: str, share: float) -> None:
        self._status.update(f"{stage}, {share:.0%}")

    def done(self) -> None:
        self._status.stop()


class PlainProgress(Progress):
    """One line an event, with the seconds since the start."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._start = time.monotonic()
        self._last: dict[str, float] = {}

    def stage(self, title: str) -> None:
        self._line(title)
        self._last.clear()
        self._last[""] = time.monotonic()

    def note(self, text: str) -> None:
        self._line(f"  {text}")

    def epoch(self, what: str, done: int, total: int, loss: float) -> None:
        self._line(f"  {what}: epoch {done}/{total}, loss {loss:.4f}{self._left(what, done, total)}")

    def scored(self, done: int, total: int) -> None:
        if done == 0:  # a cycle begins; what came before it says nothing about how long cycles take
            self._last["cycles"] = time.monotonic()

    def cycle(self, cycle: Cycle, total: int) -> None:
        done = cycle.cycle + 1
        self._line(f"  cycle {done}/{total}: {cycle_line(cycle)}{self._left('cycles', done, total)}")

    def network(self, network: Network, satisfied: int, wanted: int) -> None:
        self._line(f"  {network_line(network, satisfied, wanted)}")

    def _left(self, what: str, done: int, total: int) -> str:
        """Time left, by the time since the last event of this kind."""
        now = time.monotonic()
        before = self._last.get(what, self._last.get("", self._start))
        self._last[what] = now
        return f", {(now - before) * (total - done):.0f} s left" if done < total else ""

    def _line(self, text: str) -> None:
        elapsed = time.monotonic() - self._start
        self._console.print(f"[{elapsed:6.1f} s] {text}", markup=False, highlight=False, soft_wrap=True)


class LiveProgress(Progress):
    """Bars that come and go, above them one line for each thing that is done."""

    def __init__(self, bars: Bars) -> None:
        self._bars = bars
        self._tasks: dict[str, int] = {}

    def stage(self, title: str) -> None:
        self._bars.console.print(title, markup=False, highlight=False, style="bold")

    def note(self, text: str) -> None:
        self._bars.console.print(f"  {text}", markup=False, style="dim")

    def epoch(self, what: str, done: int, total: int, loss: float) -> None:
        self._show(what, done, total, f"loss {loss:.3f}")

    def scored(self, done: int, total: int) -> None:
        self._show("candidates", done, total, "")

    def cycle(self, cycle: Cycle, total: int) -> None:
        self._show("cycles", cycle.cycle + 1, total, cycle_line(cycle))

    def network(self, network: Network, satisfied: int, wanted: int) -> None:
        self._bars.console.print(f"  {network_line(network, satisfied, wanted)}", markup=False)

    def _show(self, what: str, done: int, total: int, detail: str) -> None:
        if what not in self._tasks:
            self._tasks[what] = self._bars.add_task(what, total=total, detail=detail)
        self._bars.update(self._tasks[what], completed=done, total=total, detail=detail)  # type: ignore[arg-type]
        if done >= total:
            self._bars.remove_task(self._tasks.pop(what))  # type: ignore[arg-type]


def cycle_line(cycle: Cycle) -> str:
    """The figures of a cycle that people watch."""
    return f"mean U {cycle.mean_u:.1f}, best {cycle.best_u:.1f}, {cycle.satisfied_share:.0%} of seeds meet everything"


def network_line(network: Network, satisfied: int, wanted: int) -> str:
    """What came out of finishing a network."""
    verdict = "meets everything" if network.satisfied else "misses a requirement"
    return (
        f"{network.name}: {network.val_metric:.2%} on validation, {network.macs:,} MACs, "
        f"{network.params:,} parameters, {verdict} ({satisfied} of {wanted})"
    )
