"""Sections of the page about devices in the loop."""

import math
from collections.abc import Iterator, Sequence
from typing import Any

from benchmarks.energy.table import percent, table

__all__ = ["boards_section", "loop_section"]


def loop_section(document: dict[str, Any]) -> Iterator[str]:
    yield "## How many measurements the loop needs\n"
    yield (
        "The question: the most inferences per joule among candidates whose score is at least that of the candidate at "
        f"the {_shares(document['bounds'])} quantile. The candidates, ResNet-20 at 28x28, in the order of the search:\n"
    )
    for each in document["candidates"]:
        yield f"- *{each['name']}*: {each['count']}, from {each['source']}. Score: {each['score']}."
    errors = document["model"]
    deviations = [error["deviation"] for error in errors]
    yield (
        f"\nThe boards: {document['boards']}, hidden ones (`benchmarks/energy/hidden_boards.py`), others than those on "
        "which the settings of the correction were chosen. Each differs from "
        "`tx2-sim` in its overhead, in every constant, in launches by kind of kernel, in arithmetic by shape, in the "
        "multiples that channels are computed in, and by 1 % for each network; a measurement has 1 % of noise. What "
        "the model says of their joules is off, in the mean over candidates, by "
        f"{_factor(min(e['mean'] for e in errors))} to {_factor(max(e['mean'] for e in errors))}; beside that, "
        f"networks differ by {percent(min(deviations))} to {percent(max(deviations))} (standard deviation), "
        f"single ones from {_factor(min(e['least'] - e['mean'] for e in errors))} to "
        f"{_factor(max(e['greatest'] - e['mean'] for e in errors))}.\n"
    )
    yield (
        "Joules of the chosen network above those of the best, both as they truly are; the measurement of the chosen "
        "one for the record counts. Wanted: within 2 % at no more than 10 % of the measurements of every candidate.\n"
    )
    yield from table(
        ("how", "measured, mean", "share", "greatest share", "within 2 %", "median", "90 %", "95 %", "worst"), 1,
        (
            (name, found["measured"], percent(found["share"]), percent(found["greatest_share"]),
             percent(found["within"]), *(percent(value) for value in found["regret"].values()))
            for name, found in document["ways"].items()
        ),
    )  # fmt: skip
    yield (
        f"Each row: {next(iter(document['ways'].values()))['searches']} searches (candidates x boards x bounds). "
        "*The loop, N*: `ScreeningOracle` as `--measure N` uses it, half of N on the least certain while searching, "
        "the other half on those that would be chosen if they turned out well. *A tenth*: N is a tenth of the "
        "candidates, less one for the record. *The least certain alone*: as it was before, all of N while searching, "
        "and estimates stay as they were given. *At random*: N drawn at random, the same correction. *The model "
        "alone*: its first choice.\n"
    )
    worst = ", ".join(
        f"{o['candidates']} on board {o['board']} at {o['bound']:g} ({percent(o['regret'])}, {o['measured']} measured)"
        for o in document["worst"]
    )
    yield f"The searches in which the loop with a tenth chose worst: {worst}.\n"


def boards_section(document: dict[str, Any]) -> Iterator[str]:
    killed = document["killed"]
    yield "## Four boards against one\n"
    yield (
        f"{document['networks']} networks, each for {document['schedule_s']:g} s of warming up and measuring, through "
        "`PoolOracle`. The boards are real agents, a process each, on Unix sockets; their networks are paced: an "
        "inference sleeps for as long as the size of its file says, so that few processors can serve them all, and a "
        "network takes equally long on each. What the workstation does besides (uploads, starting workers) is real.\n"
    )
    yield f"- One board: {document['one_s']} s. {document['boards']} boards: {document['every_s']} s, " + (
        f"{document['times']}x the throughput; wanted: >= 3.5x. Median latencies of a network differ by "
        f"{percent(document['differ'])} at most."
    )
    yield (
        f"- With one of the {document['boards']} killed after {killed['after_s']} s: {killed['took_s']} s, "
        f"{killed['answered']} of {document['networks']} networks answered, {killed['rows']} rows in the database (one "
        f"each); median latencies differ from those of the run without by {percent(killed['differ'])} at most. What "
        "was lost is what the killed board had begun: another one began it anew.\n"
    )


def _shares(shares: Sequence[float]) -> str:
    return ", ".join(f"{share:g}" for share in shares)


def _factor(error: float) -> str:
    """Of a logarithm."""
    return f"{100 * math.expm1(error):+.0f} %"
