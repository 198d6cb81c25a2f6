"""The tables of verdicts and of sizes, as rows of ready text."""

from collections.abc import Sequence
from dataclasses import dataclass

from edgesynth.records import Network, Results
from edgesynth.report import numbers
from edgesynth.report.quantities import (
    Bound,
    Subject,
    bounds,
    is_of_the_run,
    value_of,
    written,
    written_alike,
)

__all__ = [
    "Cell",
    "Header",
    "SizeRow",
    "VerdictRow",
    "VerdictTable",
    "size_rows",
    "verdict_tables",
    "verdict_word",
]


@dataclass(frozen=True)
class Header:
    """One requirement over its column: the text, and the bound as a number."""

    text: str
    bound: str


@dataclass(frozen=True)
class Cell:
    """One network's value under one requirement. `verdict` is "" for the prototype, which is not judged."""

    value: str
    verdict: str


@dataclass(frozen=True)
class VerdictRow:
    """One network under all requirements of its table."""

    name: str
    prototype: bool
    overall: str
    cells: list[Cell]


@dataclass(frozen=True)
class VerdictTable:
    """Networks that were made for the same requirements, the prototype above them."""

    headers: list[Header]
    rows: list[VerdictRow]


def verdict_tables(results: Results) -> list[VerdictTable]:
    """First what was made for the requirements of the run, then one table for each other demand, in order of
    appearance."""
    demands = dict.fromkeys([tuple(results.requirements), *(_asked(results, network) for network in results.networks)])
    return [_verdict_table(results, demand) for demand in demands]


def _asked(results: Results, network: Network) -> tuple[str, ...]:
    """What a network was made for; the run's requirements in the order of the run."""
    return tuple(results.requirements if is_of_the_run(results, network) else network.requirements)


def _verdict_table(results: Results, demand: tuple[str, ...]) -> VerdictTable:
    known = bounds(results, demand)
    networks = [network for network in results.networks if _asked(results, network) == demand]
    subjects: list[Subject] = [results.prototype, *networks]
    columns = [_column(subjects, bound) for bound in known]
    rows = []
    for index, subject in enumerate(subjects):
        judged = subject.requirements if isinstance(subject, Network) else None
        cells = [
            Cell(column[index], "" if judged is None else verdict_word(judged[bound.text]))
            for column, bound in zip(columns, known, strict=True)
        ]
        overall = verdict_word(subject.satisfied) if isinstance(subject, Network) else ""
        rows.append(VerdictRow(subject.name, judged is None, overall, cells))
    return VerdictTable([Header(bound.text, _bound_text(bound)) for bound in known], rows)


def _bound_text(bound: Bound) -> str:
    return "bound unknown" if bound.value is None else f"{bound.sign} {written(bound.quantity, bound.value)}"


def _column(subjects: Sequence[Subject], bound: Bound) -> list[str]:
    """The values under one requirement, all in one unit; "unknown" where there is none."""
    values = [value_of(subject, bound.quantity, bound.target) for subject in subjects]
    known = iter(written_alike(bound.quantity, [value for value in values if value is not None]))
    return ["unknown" if value is None else next(known) for value in values]


def verdict_word(met: bool | None) -> str:
    """1_r in words."""
    return "not known" if met is None else "met" if met else "not met"


@dataclass(frozen=True)
class SizeRow:
    """What a network is, on any target."""

    name: str
    prototype: bool
    validation: str
    test: str
    params: str
    macs: str
    fewer: str
    netscore: str
    parity: str
    same_answer: str
    onnx: str


def size_rows(results: Results) -> list[SizeRow]:
    """The prototype, then every FermiNet; each column in one unit."""
    subjects: list[Subject] = [results.prototype, *results.networks]
    params = numbers.aligned_counts([subject.params for subject in subjects])
    macs = numbers.aligned_counts([subject.macs for subject in subjects])
    fewer = numbers.aligned_ratios([(results.prototype.macs, subject.macs) for subject in subjects])
    rows = []
    for subject, params_text, macs_text, fewer_text in zip(subjects, params, macs, fewer, strict=True):
        parity = subject.parity
        row = SizeRow(
            name=subject.name,
            prototype=not isinstance(subject, Network),
            validation=numbers.percent(subject.val_metric),
            test=numbers.BLANK if subject.test_metric is None else numbers.percent(subject.test_metric),
            params=params_text,
            macs=macs_text,
            fewer=fewer_text,
            netscore=numbers.fixed(subject.netscore, 2),
            parity=numbers.BLANK if parity is None else numbers.scientific(parity.max_abs_error),
            same_answer=numbers.BLANK if parity is None else numbers.percent(parity.argmax_agreement),
            onnx=subject.onnx or numbers.BLANK,
        )
        rows.append(row)
    return rows
