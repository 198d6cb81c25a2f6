"""The `edgesynth` command: puts the sub-commands together and turns errors into one line and an exit code.

Exit codes: 0 yes or done · 1 the answer is no · 2 bad usage or bad input · 3 a device or tool failed · 4 inconclusive ·
130 interrupted, resumable.
"""

import os
import signal
import sys
from collections.abc import Sequence
from typing import Annotated

import typer
from edgesynth_exporters.plain import plain

from edgesynth import __version__
from edgesynth.cli import (
    bench,
    calibrate,
    check,
    data,
    deploy,
    doctor,
    estimate,
    export,
    generate,
    report,
    synth,
    targets,
)
from edgesynth.errors import EdgesynthError

__all__ = ["app", "main", "run", "set_environment"]

INTERRUPTED = 130
RESUMABLE = ("synth",)
"""Commands that go on where they were interrupted."""
DEBUG = "--debug"

app = typer.Typer(
    name="edgesynth",
    help="Learn a generator of small networks that meet requirements on accuracy, size, latency and energy.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command()(synth.synth)
app.command()(generate.generate)
app.command()(export.export)
app.command()(report.report)
app.command()(check.check)
app.command()(bench.bench)
app.command()(estimate.estimate)
app.command()(calibrate.calibrate)
app.command()(deploy.deploy)
app.add_typer(data.app, name="data")
app.add_typer(targets.app, name="targets")
app.command()(doctor.doctor)


@app.callback(invoke_without_command=True)
def _options(
    version: Annotated[bool, typer.Option("--version", help="Print the version and leave.")] = False,
    debug: Annotated[bool, typer.Option(DEBUG, help="Show a traceback when something fails.")] = False,
) -> None:
    if version:
        typer.echo(f"edgesynth {__version__}")
        raise typer.Exit


def main() -> None:
    """Entry point of the console script."""
    # A polite request to stop is an interruption like Ctrl-C: children are ended and files closed on the way out.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    set_environment()
    sys.exit(run(sys.argv[1:]))


def set_environment() -> None:
    """Defaults for the libraries that sub-commands load; what the user has set stays."""
    # Threads that wait by spinning slow training down several times when anything else runs on the machine.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def run(arguments: Sequence[str]) -> int:
    """Run one command line; its exit code. Messages go to stderr, answers to stdout."""
    # Accepted anywhere on the line: one adds it to a command that has just failed.
    debug = DEBUG in arguments
    try:
        code = app([a for a in arguments if a != DEBUG], prog_name="edgesynth", standalone_mode=False)
    except (KeyboardInterrupt, typer.Abort):
        code = INTERRUPTED
    except typer.TyperException as error:
        # Usage errors can show the usage with them; the public class does not declare it.
        show = getattr(error, "show", None)
        if show is None:
            _say(error.format_message())
        else:
            show()
        return error.exit_code
    except BrokenPipeError:
        # The reader has gone, as in `| head`. Keep Python from complaining at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except EdgesynthError as error:
        if debug:
            raise
        _say(str(error))
        return error.exit_code
    except Exception as error:
        if debug:
            raise
        _say(f"internal error, {type(error).__name__}: {error}; run it again with {DEBUG} and report what it says")
        return 3
    if code == INTERRUPTED:  # also what the library makes of Ctrl-C by itself
        command = next((a for a in arguments if not a.startswith("-")), "")
        kept = "; what was found out is kept, a run goes on with --resume" if command in RESUMABLE else ""
        _say(f"interrupted{kept}")
    return code if isinstance(code, int) else 0


def _say(text: str) -> None:
    typer.echo(f"edgesynth: {plain(' '.join(text.split()))}", err=True)
