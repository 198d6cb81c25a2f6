"""Whether what the images showed is good enough. The script that repeats a failed comparison judges by this too."""

from pathlib import Path

from edgesynth_exporters.comparison import compare, judge_fp32
from edgesynth_exporters.errors import IncompatibleError, ParityError
from edgesynth_exporters.on_images import Seen
from edgesynth_exporters.parity import run_onnx_outputs
from edgesynth_exporters.reference import tolerance_elsewhere

__all__ = ["judge"]


def judge(seen: Seen, name: str, precision: str, casts: Path | None, max_drop: float) -> None:
    """fp32 has bounds, the metric at a lower precision may fall by `max_drop`, a share. `casts` is the file in fp16
    that is handed over, where it is not the one that was compared.

    Raises ParityError, or IncompatibleError for what the precision costs.
    """
    judge_fp32(seen.fp32)
    if casts is not None:
        _judge_casts(casts, seen)
    metric = seen.metric
    if metric is not None and seen.lower is not None and metric.drop > max_drop:
        raise IncompatibleError(
            f"{precision} costs {name} {metric.drop:.2%} of {metric.name} ({metric.pytorch:.2%} in fp32, "
            f"{metric.exported:.2%} on {metric.images} images), and --max-drop allows {max_drop:.2%}"
        )


def _judge_casts(path: Path, seen: Seen) -> None:
    """ONNX Runtime computes between the casts of a file in fp32, so it must be as near to PyTorch as what was rounded
    at each step."""
    for name, found in compare(run_onnx_outputs(path, seen.inputs), seen.outputs, bounded=False).items():
        measured = 0.0 if seen.lower is None else seen.lower[name].max_abs_error
        allowed = tolerance_elsewhere(found.greatest, measured)
        if found.max_abs_error > allowed:
            raise ParityError(
                f"output '{name}' of the file with casts differs from PyTorch's by up to {found.max_abs_error:.3g}, "
                f"and {allowed:.3g} is allowed"
            )
