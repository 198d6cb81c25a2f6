"""`edgesynth export`: fold and export → simplify → precision → check → parity → (engine), and the files it leaves.

Each step is a function over plain data, in a module of its own; steps.py puts them in their order. All files come to be
in a folder beside their place and are moved there when every step has passed; what was there before stays on failure.
"""

import importlib.util
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from edgesynth_exporters.errors import EdgesynthError, ExportError, MissingExtraError, ModelFileError
from edgesynth_exporters.export_record import ExportRecord, StepInfo
from edgesynth_exporters.on_images import PARITY_IMAGES
from edgesynth_exporters.precision import choose_scheme
from edgesynth_exporters.publish import publish
from edgesynth_exporters.reproduce import SCRIPT, leave_reproduction
from edgesynth_exporters.steps import ENGINE_MODULES, Work, steps_of
from edgesynth_exporters.subject import Order, Subject
from edgesynth_exporters.torch_runner import refuse_bad_weights, torch_runner

__all__ = ["export_network"]

Note = Callable[[str], None]


def export_network(subject: Subject, order: Order, note: Note = lambda text: None) -> ExportRecord:
    """Make the files of an order, all or none; the record of what was made lies beside them. `note` is told about each
    step.

    Raises IncompatibleError where the target does not take the network, the precision, or what it costs; ExportError
    and its kin where a step fails; in both cases the folder OUT.failed has a script that repeats the step. Raises
    EdgesynthError, and leaves nothing, for bad input: weights or answers that are no numbers, no images for int8.
    """
    scheme = choose_scheme(order.target, order.precision, order.format)
    _require(subject, order)
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
                _leave(work, name, error)
                error.args = (f"{error}; repeat it: python {order.paths.failed / SCRIPT}",)
                raise
            steps.append(StepInfo(name=name, seconds=round(time.perf_counter() - start, 3)))
            note(f"{name}: {steps[-1].seconds:.1f} s")
        record = publish(work, steps)
        _remove_failed(order)
        return record


def _require(subject: Subject, order: Order) -> None:
    """What must be so before any work is done."""
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
        with tempfile.TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent) as name:
            yield Path(name)
    except OSError as error:
        raise ExportError(f"cannot write {out}: {error.strerror or error}") from error


def _leave(work: Work, step: str, error: EdgesynthError) -> None:
    """Turn the folder of the work into OUT.failed, with the script that repeats the step."""
    subject, order = work.subject, work.order
    images = subject.images[:PARITY_IMAGES]
    np.save(work.folder / "images.npy", images)
    if step == "parity":
        np.savez(work.folder / "answers.npz", allow_pickle=False, **torch_runner(subject.name, subject.module)(images))
    if step == "int8" and subject.calibration is not None:
        np.save(work.folder / "calibration.npy", subject.calibration)
    values = {
        "module": subject.code,
        "opset": work.opset,
        "target": order.target.name,
        "precision": order.precision,
        "file": work.delivered.name,
        "computed": work.computed.name,
        "plan": work.plan.name,
        "engine_module": ENGINE_MODULES.get(order.format),
        "calibration": f'HERE / "{work.cache.name}"' if work.cache.is_file() else None,
    }
    leave_reproduction(work.folder, step, values, order.command, error, subject.module)
    _remove_failed(order)
    shutil.copytree(work.folder, order.paths.failed, dirs_exist_ok=True)


def _remove_failed(order: Order) -> None:
    """What an earlier export of the same name left; a folder of somebody else's stays."""
    failed = order.paths.failed
    if (failed / SCRIPT).is_file():
        shutil.rmtree(failed)
