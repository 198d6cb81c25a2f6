"""The page of a run: one HTML file without scripts and without anything from outside, made from results.json."""

import json
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import NoReturn

from edgesynth_exporters.files import write_atomically
from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup
from pydantic import ValidationError

from edgesynth.errors import RunError, StorageError
from edgesynth.records import Network, Results
from edgesynth.report import (
    agreement,
    anatomy,
    certificates,
    cheap,
    evidence,
    headline,
    layers,
    learning,
    numbers,
    quantities,
    reasons,
    tables,
    target_tables,
    trade_offs,
)

__all__ = ["read_results", "render", "write_report"]

SCHEMA = "edgesynth.results/1"


def write_report(run: Path) -> Path:
    """Write RUN/report.html from RUN/results.json, whole or not at all, and return its path.

    Raises RunError when the results are missing, of another schema or damaged, StorageError when the page
    cannot be written.
    """
    page = render(read_results(run))
    path = run / "report.html"
    try:
        write_atomically(path, page.encode())
    except OSError as error:
        raise StorageError(f"{path}: the report cannot be written: {error.strerror or error}") from error
    return path


def read_results(run: Path) -> Results:
    """RUN/results.json. Raises RunError in one line that says what is wrong with it."""
    file = run / "results.json"
    if not run.is_dir():
        raise RunError(f"{run}: no such run directory")
    try:
        content = json.loads(file.read_text("utf-8"), parse_constant=_refuse_constant)
    except FileNotFoundError:
        raise RunError(
            f"{run}: holds no results.json; finish the run (edgesynth synth … --resume) or name another folder"
        ) from None
    except OSError as error:
        raise RunError(f"{file}: cannot be read: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise RunError(f"{file}: is not valid JSON: {error}") from error
    schema = content.get("schema") if isinstance(content, dict) else None
    if schema != SCHEMA:
        raise RunError(f"{file}: has schema {str(schema)[:60]!r}, this edgesynth reads {SCHEMA!r}")
    try:
        return Results.model_validate(content)
    except ValidationError as error:
        first, more = error.errors()[0], error.error_count() - 1
        where = ".".join(str(part) for part in first["loc"])
        rest = f" (and {more} more)" if more else ""
        raise RunError(f"{file}: {where}: {first['msg']}{rest}") from error


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")


def render(results: Results) -> str:
    """The page as text. The same results give the same page, to the byte."""
    folder = resources.files(__package__)
    environment = Environment(
        loader=FunctionLoader(lambda name: folder.joinpath(name).read_text("utf-8")),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    insight = results.generator.insight
    template = environment.get_template("page.html.j2")
    return template.render(
        results=results,
        style=Markup(folder.joinpath("page.css").read_text("utf-8")),
        headline=headline.headline(results),
        verdicts=tables.verdict_tables(results),
        sizes=tables.size_rows(results),
        target_tables=target_tables.target_tables(results),
        certificates=certificates.certificates(results),
        trade_offs=trade_offs.trade_off_charts(results),
        energy_sources=trade_offs.energy_sources(results),
        agreement=agreement.agreement_charts(results),
        cards=_cards(results),
        performance=learning.performance_name(results),
        parity_images=sorted({network.parity.images for network in results.networks if network.parity}),
        learning=learning.learning_charts(results) if results.generator.cycles else [],
        evidence=None if insight is None else evidence.evidence(results, insight),
        reasons=[] if insight is None else reasons.reasons(results, insight),
        rungs=cheap.rung_rows(results),
        rung_charts=cheap.rung_charts(results),
        count=numbers.count,
        percent=numbers.percent,
        significant=numbers.significant,
    )


@dataclass(frozen=True)
class Card:
    """One FermiNet's picture. `asked_later` says that it was made for other requirements than those of the run."""

    network: Network
    asked_later: bool
    groups: list[anatomy.Group]
    bars: list[Markup]
    silhouette: Markup
    layers: list[layers.LayerTable]
    blocks: list[tuple[str, bool | None]]

    @property
    def name_width(self) -> int:
        """Characters of the longest name of a group, within reason."""
        return min(max((len(group.name) for group in self.groups), default=0), 24)


def _cards(results: Results) -> list[Card]:
    cards = []
    for network in results.networks:
        groups = anatomy.groups_of(results.prototype, network.genome)
        card = Card(
            network=network,
            asked_later=not quantities.is_of_the_run(results, network),
            groups=groups,
            bars=[anatomy.bar(group) for group in groups],
            silhouette=anatomy.silhouette(network.name, groups),
            layers=layers.layer_tables(results, network),
            blocks=[(block.name, network.genome.blocks.get(block.name)) for block in results.prototype.blocks],
        )
        cards.append(card)
    return cards
