"""`edgesynth export`: fold and export → simplify → precision → check → parity → (engine), and the files it leaves.

Each step is a function over plain data, in a module of its own; steps.py puts them in their order. All files come to be
in a folder beside their place and are moved there when every step has passed; what was there before stays on failure.
"""

import importlib.util
import shlex
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from edgesynth_exporters.errors import EdgesynthError, ExportError, MissingExtraError, ModelFileError, first_line
from edgesynth_exporters.export_record import ExportRecord, StepInfo
from edgesynth_exporters.failed import leave_failed, remove_failed
from edgesynth_exporters.machine import refuse_other_machine
from edgesynth_exporters.places import refuse_foreign
from edgesynth_exporters.precision import Scheme, choose_scheme
from edgesynth_exporters.publish import publish
from edgesynth_exporters.reproduce import SCRIPT
from edgesynth_exporters.steps import ENGINE_MODULES, Work, places_of, steps_of
from edgesynth_exporters.subject import Order, Subject
from edgesynth_exporters.torch_runner import refuse_bad_weights, torch_runner

__all__ = ["export_network"]

Note = Callable[[str], None]


def export_network(subject: Subject, order: Order, note: Note = lambda text: None) -> ExportRecord:
    """Make the files of an order, all or none; the record of what was made lies beside them. `note` is told about each
    step.

    Raises IncompatibleError where the target does not take the network, the precision, or what it costs; ExportError
    and its kin where a step fails; in both cases the folder OUT.failed has a script that repeats the step, or the error
    says why not. Raises EdgesynthError, and leaves nothing, for bad input: weights or answers that are no numbers, no
    images for int8, a file of somebody else's at a place that is wanted.
    """
    scheme = choose_scheme(order.target, order.precision, order.format)
    _require(subject, order, scheme)
    steps: list[StepInfo] = []
    with _folder_beside(order.out) as folder:
        work = Work(subject, order, scheme, folder, [*subject.warnings])
        for name, step in steps_of(order).items():
            start = time.perf_counter()
            try:
                _run(step, work)
            except EdgesynthError as error:
                if error.exit_code == 2:
                    raise
                error.args = (f"{error}; {_leave(work, name, error)}",)
                raise
            steps.append(StepInfo(name=name, seconds=round(time.perf_counter() - start, 3)))
            note(f"{name}: {steps[-1].seconds:.1f} s")
        record = publish(work, steps)
        remove_failed(order.paths.failed)
        return record


def _require(subject: Subject, order: Order, scheme: Scheme) -> None:
    """What must be so before any work is done."""
    refuse_foreign(order.paths, places_of(order, scheme))
    if order.format == "tensorrt":
        refuse_other_machine(order.target)
    refuse_bad_weights(subject.name, subject.module)
    if order.precision == "int8" and subject.calibration is None:
        raise EdgesynthError("int8 is calibrated on real images: give them with --data")
    module = ENGINE_MODULES.get(order.format)
    if module is not None and importlib.util.find_spec(module) is None:
        raise MissingExtraError(f"building an engine with {module}", order.format)
    torch_runner(subject.name, subject.module)(subject.images[:1])


def _run(step: Callable[[Work], None], work: Work) -> None:
    try:
        step(work)
    except ModelFileError as error:
        # The file is one that was made here: no bad input, but a tool that failed.
        raise ExportError(str(error)) from error


@contextmanager
def _folder_beside(out: Path) -> Iterator[Path]:
    """A folder on the same disk as `out`, gone when the block ends. Raises ExportError where none can be made, or the
    disk refuses to take what is written."""
    try:
        with tempfile.TemporaryDirectory(prefix=".edgesynth-", dir=out.parent) as name:
            yield Path(name)
    except OSError as error:
        raise ExportError(f"cannot write {out}: {error.strerror or error}") from error


def _leave(work: Work, step: str, error: EdgesynthError) -> str:
    """What to say of the script that repeats the step."""
    try:
        leave_failed(work, step, error)
    except Exception as failure:  # whatever it is, it must not hide why the export failed
        why = (failure.strerror if isinstance(failure, OSError) else None) or first_line(failure)
        return f"no script that repeats it could be left: {why}"
    return f"repeat it: python {shlex.quote(str(work.order.paths.failed / SCRIPT))}"
