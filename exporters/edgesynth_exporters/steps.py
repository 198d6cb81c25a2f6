"""The steps of an export, in their order. Each reads what those before it left in `Work` and its folder."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import onnx
import torch

from edgesynth_exporters.check import check_model
from edgesynth_exporters.comparison import compare, judge_fp32
from edgesynth_exporters.engine import EngineRecord, Module, build_engine
from edgesynth_exporters.errors import EdgesynthError, IncompatibleError, ParityError
from edgesynth_exporters.export import export_onnx
from edgesynth_exporters.findings import Report
from edgesynth_exporters.on_images import Seen, compare_on_images
from edgesynth_exporters.parity import run_onnx_outputs
from edgesynth_exporters.precision import Scheme, cast_to_fp16, round_to_fp16
from edgesynth_exporters.quantize import Calibration, calibrate, calibration_cache, quantize
from edgesynth_exporters.reference import tolerance_elsewhere
from edgesynth_exporters.simplify import simplify
from edgesynth_exporters.subject import Order, Subject

__all__ = ["ENGINE_MODULES", "Work", "steps_of"]

GREATEST_OPSET = 20
"""Of torch's TorchScript exporter (torch/onnx/_constants.py, https://github.com/pytorch/pytorch)."""
ENGINE_MODULES: dict[str, Module] = {"tensorrt": "tensorrt", "tensorrt-rtx": "tensorrt_rtx"}
"""Format to the package that builds it."""


@dataclass
class Work:
    """One export in progress. `folder` holds the files made so far."""

    subject: Subject
    order: Order
    scheme: Scheme
    folder: Path
    warnings: list[str] = field(default_factory=list)
    calibration: Calibration | None = None
    report: Report | None = None
    seen: Seen | None = None
    engine: EngineRecord | None = None

    @property
    def opset(self) -> int:
        return min(self.order.target.opset, GREATEST_OPSET)

    @property
    def exported(self) -> Path:
        return self.folder / "exported.onnx"

    @property
    def simplified(self) -> Path:
        """fp32, whatever the precision."""
        return self.folder / "simplified.onnx"

    @property
    def lower(self) -> Path:
        """In the precision asked for, where that is another one."""
        return self.folder / f"{self.order.precision}.onnx"

    @property
    def computed(self) -> Path:
        """What shows on this machine how the precision asked for computes."""
        if self.order.precision == "fp32":
            return self.simplified
        return self.folder / "rounded.onnx" if self.order.precision == "fp16" else self.lower

    @property
    def delivered(self) -> Path:
        """What is handed over: fp32 where the builder on the board does the rest."""
        return self.lower if self.scheme.in_file and self.order.precision != "fp32" else self.simplified

    @property
    def cache(self) -> Path:
        """The calibration cache, where the scheme has one."""
        return self.folder / "int8.calibration"

    @property
    def plan(self) -> Path:
        return self.folder / f"engine{self.order.out.suffix}"


def steps_of(order: Order) -> dict[str, Callable[[Work], None]]:
    """The steps that an order takes, by name."""
    steps: dict[str, Callable[[Work], None]] = {"export": _export, "simplify": _simplify}
    if order.precision != "fp32":
        steps[order.precision] = _to_fp16 if order.precision == "fp16" else _to_int8
    steps |= {"check": _check, "parity": _parity}
    return steps if order.format == "onnx" else steps | {"engine": _engine}


def _export(work: Work) -> None:
    """Batch norm folded, at the opset of the target."""
    export_onnx(work.subject.module, torch.from_numpy(work.subject.images[:1]), work.exported, work.opset)


def _simplify(work: Work) -> None:
    onnx.save(simplify(onnx.load(work.exported)), work.simplified)


def _to_fp16(work: Work) -> None:
    model = onnx.load(work.simplified)
    onnx.save(cast_to_fp16(model), work.lower)
    onnx.save(round_to_fp16(model), work.computed)


def _to_int8(work: Work) -> None:
    if work.subject.calibration is None:
        raise EdgesynthError("int8 is calibrated on real images: give them with --data")
    target, model = work.order.target, onnx.load(work.simplified)
    work.calibration = calibrate(model, work.subject.calibration)
    onnx.save(quantize(model, work.calibration.amax), work.lower)
    if work.scheme.kind == "int8-cache":
        work.cache.write_text(calibration_cache(work.calibration.amax, target.tensorrt or ""))
        work.warnings.append(
            f"int8 parity is that of quantizers in ONNX Runtime, with the ranges of the cache; {target.name} chooses "
            "layer by layer what it computes in int8"
        )


def _check(work: Work) -> None:
    work.report = check_model(work.delivered, work.order.target, work.order.precision)
    errors = [finding for finding in work.report.findings if finding.severity == "error"]
    if errors:
        first = errors[0]
        where = "" if first.operator is None else f"{first.operator} '{first.node}': "
        more = f"; and {len(errors) - 1} more, see edgesynth check" if len(errors) > 1 else ""
        raise IncompatibleError(
            f"{work.order.target.name} does not take {work.subject.name}: {where}{first.reason}; {first.remedy}{more}"
        )


def _parity(work: Work) -> None:
    """fp32 against PyTorch within the bounds; the precision asked for is reported, and its metric judged."""
    order, subject = work.order, work.subject
    lower = None if order.precision == "fp32" else work.computed
    work.seen = compare_on_images(subject, work.simplified, lower)
    judge_fp32(work.seen.fp32)
    if work.scheme.kind == "fp16-casts":
        _compare_casts(work, work.seen)
    metric = work.seen.metric
    if metric is not None and lower is not None and metric.drop > order.max_drop:
        raise IncompatibleError(
            f"{order.precision} costs {subject.name} {metric.drop:.2%} of {metric.name} ({metric.pytorch:.2%} in fp32, "
            f"{metric.exported:.2%} on {metric.images} images), and --max-drop allows {order.max_drop:.2%}"
        )


def _compare_casts(work: Work, seen: Seen) -> None:
    """The file that is handed over, itself: ONNX Runtime computes between its casts in fp32, so it must be as near to
    PyTorch as what was rounded at each step."""
    for name, found in compare(run_onnx_outputs(work.delivered, seen.inputs), seen.outputs, bounded=False).items():
        measured = 0.0 if seen.lower is None else seen.lower[name].max_abs_error
        allowed = tolerance_elsewhere(found.greatest, measured)
        if found.max_abs_error > allowed:
            raise ParityError(
                f"output '{name}' of the file with casts differs from PyTorch's by up to {found.max_abs_error:.3g}, "
                f"and {allowed:.3g} is allowed"
            )


def _engine(work: Work) -> None:
    work.engine = build_engine(
        work.delivered,
        work.plan,
        module=ENGINE_MODULES[work.order.format],
        precision=work.order.precision,
        calibration_cache=work.cache if work.cache.is_file() else None,
    )
    target = work.order.target
    if target.kind == "board":
        there = "" if target.tensorrt is None else f" under TensorRT {target.tensorrt}"
        work.warnings.append(
            f"the engine is one of {work.engine.module} {work.engine.version} and shows that it takes the network; "
            f"a {target.name}{there} builds its own from the ONNX file"
        )
