"""`edgesynth synth`: learn a generator under requirements; generate, train, export and measure FermiNets."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from edgesynth.cli.verdict import exit_code
from edgesynth.errors import EdgesynthError

if TYPE_CHECKING:
    from edgesynth.synthesis.journal import Journal
    from edgesynth.synthesis.question import Question

__all__ = ["synth"]

Names = list[str] | None


def synth(
    data: Annotated[str | None, typer.Option(help="A name from `edgesynth data ls`, or a folder of images.")] = None,
    prototype: Annotated[str | None, typer.Option(help="A built-in prototype, or package.module:function.")] = None,
    weights: Annotated[Path | None, typer.Option(help="Trained weights of the prototype, .safetensors.")] = None,
    require: Annotated[Names, typer.Option(help="A requirement such as 'macs<=prototype/10'; repeatable.")] = None,
    target: Annotated[
        Names,
        typer.Option(
            help="host, tx2-sim, tx2@ssh://user@board: where to measure or estimate; repeatable.",
            show_default="host and tx2-sim",
        ),
    ] = None,
    measure: Annotated[
        int | None,
        typer.Option(min=0, help="Candidates to measure on a board: half searching, half choosing.", show_default="16"),
    ] = None,
    anew: Annotated[
        bool, typer.Option("--anew", help="Measure on boards also what earlier runs have measured there.")
    ] = False,
    wait_device: Annotated[
        float | None, typer.Option(min=0, help="Wait so many seconds for a board that is gone.", show_default="60")
    ] = None,
    count: Annotated[int | None, typer.Option(min=1, help="FermiNets wanted.", show_default="3")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Seed of everything random.", show_default="0")] = None,
    cycles: Annotated[int | None, typer.Option(min=1, help="Cycles of learning at most.", show_default="12")] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Epochs to train a network for.", show_default="8")] = None,
    train_images: Annotated[int | None, typer.Option(min=1, help="Train on so many images only.")] = None,
    performance: Annotated[
        Literal["netscore", "metric"] | None,
        typer.Option(help="What to maximise under the requirements.", show_default="netscore"),
    ] = None,
    least_side: Annotated[
        int | None,
        typer.Option(min=1, help="Networks may resize images, to no less a side than this.", show_default="32"),
    ] = None,
    freeze: Annotated[Names, typer.Option(help="A module of the prototype to keep as it is; repeatable.")] = None,
    out: Annotated[Path | None, typer.Option(help="Run directory.", show_default="runs/PROTOTYPE-DATA")] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Score and train in so many processes.")] = None,
    ray: Annotated[str | None, typer.Option(help="Score and train on a Ray cluster: HOST:PORT, or 'auto'.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in --out.")] = False,
    json_: Annotated[bool, typer.Option("--json", help="Print results.json on stdout.")] = False,
) -> int:
    """Learn a generator of small networks from a prototype, and finish those that meet all requirements.

    Exit code 0: as many as wanted meet everything. 1: fewer do. 4: it could not be told.
    """
    given: dict[str, Any] = {
        "data": data,
        "prototype": prototype,
        "weights": None if weights is None else str(weights.resolve()),
        "requirements": tuple(require) if require else None,
        "targets": tuple(target) if target else None,
        "count": count,
        "seed": seed,
        "cycles": cycles,
        "epochs": epochs,
        "measure": measure,
        "anew": anew or None,
        "train_images": train_images,
        "performance": performance,
        "least_side": least_side,
        "frozen": tuple(freeze) if freeze else None,
    }
    given = {name: value for name, value in given.items() if value is not None}
    if not resume:
        _check_complete(given)
    from edgesynth.cli.progress import open_progress
    from edgesynth.report.page import write_report
    from edgesynth.synthesis.executors import open_executor
    from edgesynth.synthesis.run import own_networks, synthesize
    from edgesynth.synthesis.workshop import WAIT_S

    # First the executor: where it cannot be had, no run directory is left behind.
    with open_executor(workers, ray) as executor:
        journal, question = _open(out or _default_run(given), given, resume)
        with journal, open_progress() as progress:
            try:
                results = synthesize(
                    question, journal, progress, executor, WAIT_S if wait_device is None else wait_device
                )
            except EdgesynthError as error:
                # A question that has no answer should not stand in the way of a better one.
                if not resume and not journal.all("prototype") and error.exit_code == 2:
                    journal.abandon()
                raise
            networks = own_networks(journal, results)
    page = write_report(journal.run)
    if json_:
        typer.echo((journal.run / "results.json").read_text(), nl=False)
    else:
        from edgesynth.cli.tables import print_results

        print_results(results, question.addresses())
        typer.echo(f"\npage to open: {page}")
    return exit_code(networks, question.count)


def _check_complete(given: dict[str, Any]) -> None:
    options = {"data": "--data", "prototype": "--prototype", "requirements": "--require"}
    missing = [option for name, option in options.items() if name not in given]
    if missing:
        raise typer.BadParameter(f"missing {', '.join(missing)}; or go on with a run by --resume --out RUN")


def _default_run(given: dict[str, Any]) -> Path:
    if "data" not in given or "prototype" not in given:
        raise typer.BadParameter("--resume needs --out RUN")
    name = f"{given['prototype']}-{Path(given['data']).name}"
    return Path("runs") / "".join(c if c.isalnum() or c in "-_." else "-" for c in name)


def _open(run: Path, given: dict[str, Any], resume: bool) -> tuple["Journal", "Question"]:
    """The journal of the run, new or old, and the question in it."""
    from edgesynth.synthesis.journal import Journal
    from edgesynth.synthesis.question import Question, recorded_question, same_question

    if resume:
        journal = Journal.open(run)
        try:
            question = recorded_question(journal)
            same_question(question, given)
        except EdgesynthError:
            journal.close()
            raise
        return journal, question
    question = Question(**given, weights_digest=_file_digest(given.get("weights")))
    # What is wrong with the words of the question should not leave a directory behind.
    question.parsed()
    question.addresses()
    return Journal.create(run, question.model_dump(mode="json")), question


def _file_digest(path: str | None) -> str | None:
    import hashlib

    from edgesynth.errors import PrototypeError

    if path is None:
        return None
    try:
        return hashlib.sha256(Path(path).read_bytes()).hexdigest()
    except OSError as error:
        raise PrototypeError(f"cannot read the weights {path}: {error.strerror}") from error
