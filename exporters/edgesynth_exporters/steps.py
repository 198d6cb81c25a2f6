"""The steps of an export, in their order. Each reads what those before it left in `Work` and its folder."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import onnx
import torch

from edgesynth_exporters.check import check_model
from edgesynth_exporters.comparison import ABSOLUTE, Comparison
from edgesynth_exporters.engine import EngineRecord, Module, build_engine
from edgesynth_exporters.errors import EdgesynthError, ExportError, IncompatibleError
from edgesynth_exporters.export import export_onnx
from edgesynth_exporters.findings import Report
from edgesynth_exporters.judgement import judge
from edgesynth_exporters.on_images import Seen, compare_on_images
from edgesynth_exporters.precision import Scheme, cast_to_fp16, round_to_fp16
from edgesynth_exporters.quantize import Calibration, calibrate, calibration_cache, quantize
from edgesynth_exporters.simplify import simplify
from edgesynth_exporters.subject import FloatArray, Order, Subject
from edgesynth_exporters.torch_runner import torch_runner
from edgesynth_exporters.unwritable import unwritable_operator, what_to_do

__all__ = ["ENGINE_MODULES", "GREATEST_OPSET", "Work", "places_of", "steps_of"]

GREATEST_OPSET = 20
"""Of torch's TorchScript exporter (torch/onnx/_constants.py, https://github.com/pytorch/pytorch)."""
ENGINE_MODULES: dict[str, Module] = {"tensorrt": "tensorrt", "tensorrt-rtx": "tensorrt_rtx"}
"""Format to the package that builds it."""


@dataclass
class Work:
    """One export in progress. `folder` holds the files made so far. `together`: PyTorch may be asked several images at
    once."""

    subject: Subject
    order: Order
    scheme: Scheme
    folder: Path
    warnings: list[str] = field(default_factory=list)
    calibration: Calibration | None = None
    report: Report | None = None
    seen: Seen | None = None
    engine: EngineRecord | None = None
    together: bool = True

    def pytorch(self, images: FloatArray) -> dict[str, FloatArray]:
        """PyTorch's answers to images (N, C, H, W)."""
        return torch_runner(self.subject.name, self.subject.module, self.together)(images)

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
    def casts(self) -> Path | None:
        """What is handed over, where that is in fp16 and another file than the one that shows how fp16 computes."""
        return self.delivered if self.scheme.kind == "fp16-casts" else None

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


def places_of(order: Order, scheme: Scheme) -> list[Path]:
    """Where the files of an order go."""
    paths = order.paths
    places = [paths.onnx, paths.reference]
    if scheme.kind == "int8-cache":
        places.append(paths.calibration)
    if order.format != "onnx":
        places += [order.out, paths.engine_record]
    return [*places, paths.manifest]


def _export(work: Work) -> None:
    """Batch norm folded, at the opset of the target."""
    subject, target = work.subject, work.order.target
    try:
        fixed = export_onnx(subject.module, torch.tensor(subject.images[:1]), work.exported, work.opset)
    except ExportError as error:
        operator = unwritable_operator(error.__cause__)
        if operator is None:
            raise
        raise IncompatibleError(
            f"{target.name} does not take {subject.name}: torch cannot write its operator '{operator}' at opset "
            f"{work.opset}, the greatest for that target; {what_to_do(operator)}"
        ) from error
    # What a network decides by its values it decides for each image, as the file does.
    work.together = not fixed
    work.warnings += fixed


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
    pytorch = torch_runner(subject.name, subject.module, work.together)
    work.seen = compare_on_images(
        subject.images,
        lambda start, stop: pytorch(subject.images[start:stop]),
        work.simplified,
        None if order.precision == "fp32" else work.computed,
        subject.metric,
    )
    judge(work.seen, subject.name, order.precision, work.casts, order.max_drop)
    work.warnings += [_bound(name, found) for name, found in work.seen.fp32.items() if found.tolerance != ABSOLUTE]


def _bound(name: str, found: Comparison) -> str:
    return (
        f"output '{name}' reaches {found.greatest:.4g}, so in fp32 an error of {found.tolerance:.2g} was allowed and "
        f"not {ABSOLUTE:g}"
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
