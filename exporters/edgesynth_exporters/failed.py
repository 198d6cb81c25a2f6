"""OUT.failed: what a failing export leaves, and what may be taken away again."""

import os
import shutil
import stat
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgesynth_exporters.errors import EdgesynthError
from edgesynth_exporters.on_images import PARITY_IMAGES, batch_size
from edgesynth_exporters.places import locked
from edgesynth_exporters.reproduce import leave_reproduction
from edgesynth_exporters.steps import ENGINE_MODULES, Work

__all__ = ["KEPT_BYTES", "leave_failed", "remove_failed"]

MARKER = ".edgesynth-export"
"""A folder with this file in it is ours to take away."""
KEPT_BYTES = 256 << 20
"""Of images and PyTorch's answers to them: so much is kept at most."""


def leave_failed(work: Work, step: str, error: EdgesynthError) -> None:
    """Turn the folder of the work into OUT.failed, with the script that repeats the step and what that reads.

    Raises OSError where it cannot be written, or something else has that name.
    """
    failed = work.order.paths.failed
    _refuse_foreign(failed)
    for path in set(work.folder.iterdir()) - _read_by(work, step):
        path.unlink() if path.is_file() else shutil.rmtree(path)
    (work.folder / MARKER).write_text("Left by an export that failed; the next one takes this folder away.\n")
    arrays = _arrays(work, step)
    module = work.subject.module if step == "export" else None
    leave_reproduction(work.folder, step, _values(work, arrays), work.order.command, error, module)
    for name, array in arrays.items():
        np.save(work.folder / f"{name}.npy", array, allow_pickle=False)
    if step == "parity":
        np.savez(work.folder / "answers.npz", allow_pickle=False, **_answers(work, arrays["images"]))
    work.folder.chmod(0o755)
    with locked(failed.parent):
        _refuse_foreign(failed)
        remove_failed(failed)
        work.folder.rename(failed)


def remove_failed(failed: Path) -> None:
    """What an earlier export of the same name left; what is somebody else's stays."""
    if _is_ours(failed):
        shutil.rmtree(failed, ignore_errors=True)


def _refuse_foreign(failed: Path) -> None:
    if os.path.lexists(failed) and not _is_ours(failed):
        raise FileExistsError(None, f"{failed} is there and is not of an export")


def _is_ours(failed: Path) -> bool:
    """A folder itself, and the marker a file itself: links lead elsewhere."""
    try:
        return stat.S_ISDIR(failed.lstat().st_mode) and stat.S_ISREG((failed / MARKER).lstat().st_mode)
    except OSError:
        return False


def _read_by(work: Work, step: str) -> set[Path]:
    """Files of the steps before that the script reads."""
    casts = {work.delivered} if work.casts is not None else set()
    return {
        "export": set(),
        "simplify": {work.exported},
        "check": {work.delivered},
        "parity": {work.simplified, work.computed} | casts,
        "engine": {work.delivered, work.cache},
    }.get(step, {work.simplified})


def _arrays(work: Work, step: str) -> dict[str, NDArray[Any]]:
    """What the script reads of the images, by name; cut to the first ones that KEPT_BYTES hold, one at least."""
    subject = work.subject
    if step == "export":
        return {"images": subject.images[:1]}
    if step == "int8" and subject.calibration is not None:
        each = subject.calibration[0].nbytes
        return {"calibration": subject.calibration[: max(1, KEPT_BYTES // each)]}
    if step != "parity":
        return {}
    metric = subject.metric if work.order.precision != "fp32" else None
    wanted = max(PARITY_IMAGES, 0 if metric is None else metric.images)
    each = subject.images[0].nbytes + sum(values.nbytes for values in work.pytorch(subject.images[:1]).values())
    images = subject.images[: min(wanted, max(1, KEPT_BYTES // each))]
    return {"images": images} if metric is None else {"images": images, "labels": metric.labels[: len(images)]}


def _answers(work: Work, images: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
    """PyTorch's, in the same batches as when they were compared."""
    size = batch_size(images, work.pytorch)
    parts = [work.pytorch(images[start : start + size]) for start in range(0, len(images), size)]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _values(work: Work, arrays: dict[str, NDArray[Any]]) -> dict[str, object]:
    subject, order = work.subject, work.order
    metric = subject.metric if "labels" in arrays else None
    if metric is not None:
        metric = replace(metric, images=min(metric.images, len(arrays["images"])))
    return {
        "module": subject.code,
        "name": subject.name,
        "opset": work.opset,
        "target": order.target.name,
        "precision": order.precision,
        "file": work.delivered.name,
        "lower": "None" if order.precision == "fp32" else f"HERE / {work.computed.name!r}",
        "casts": "None" if work.casts is None else f"HERE / {work.casts.name!r}",
        "max_drop": order.max_drop,
        "metric": metric,
        "images": len(subject.images),
        "plan": work.plan.name,
        "engine_module": ENGINE_MODULES.get(order.format),
        "calibration": f'HERE / "{work.cache.name}"' if work.cache.is_file() else None,
    }
