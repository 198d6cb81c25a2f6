"""The last step of an export: the reference, the manifest, and every file to its place."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import onnx

from edgesynth_exporters.comparison import Comparison
from edgesynth_exporters.engine_record import EngineRecord
from edgesynth_exporters.export import INPUT
from edgesynth_exporters.export_record import (
    CalibrationInfo,
    CheckInfo,
    ExportRecord,
    FileInfo,
    ImagesInfo,
    OutputParity,
    SchemeInfo,
    StepInfo,
    TargetInfo,
    TensorInfo,
)
from edgesynth_exporters.on_images import Seen
from edgesynth_exporters.places import locked, move_together, older_files, refuse_foreign
from edgesynth_exporters.reference import Reference, tolerance_elsewhere, write_reference
from edgesynth_exporters.steps import Work
from edgesynth_exporters.subject import Subject
from edgesynth_exporters.targets import Precision
from edgesynth_exporters.versions import tool_versions

__all__ = ["publish"]


def publish(work: Work, steps: Sequence[StepInfo]) -> ExportRecord:
    """Move the files of a work that passed all its steps to their places, the manifest last: all of them or none.

    Raises EdgesynthError where a file that is no export's has come there, OSError where the disk fails.
    """
    order, paths, seen = work.order, work.order.paths, work.seen
    if seen is None or work.report is None:
        raise ValueError("only what was checked and compared is published")
    reference = work.folder / "reference.npz"
    write_reference(reference, _reference(work, seen))
    files = {"onnx": (work.delivered, paths.onnx), "reference": (reference, paths.reference)}
    if work.cache.is_file():
        files["calibration"] = (work.cache, paths.calibration)
    engine = work.engine
    if engine is not None:
        files["engine"] = (work.plan, order.out)
        engine = _in_place(engine, paths.onnx, order.out)
        made = work.folder / "engine.json"
        _write_json(made, engine.model_dump(mode="json"))
        files["engine_record"] = (made, paths.engine_record)
    model = onnx.load(work.delivered, load_external_data=False)
    record = ExportRecord(
        schema="edgesynth.export/1",
        name=work.subject.name,
        source=dict(work.subject.source),
        target=TargetInfo(
            name=order.target.name,
            tensorrt=order.target.tensorrt,
            compute_capability=order.target.compute_capability,
            opset=order.target.opset,
        ),
        precision=order.precision,
        scheme=SchemeInfo(kind=work.scheme.kind, flags=work.scheme.flags, why=work.scheme.why),
        format=order.format,
        opset=work.opset,
        inputs=[_tensor(value, work.subject.mean, work.subject.std) for value in model.graph.input],
        outputs=_outputs(model, work.subject),
        files={what: _file(made, place) for what, (made, place) in files.items()},
        images=ImagesInfo(inputs=work.subject.inputs, origin=work.subject.origin, count=len(work.subject.images)),
        parity=_parities(work, seen),
        metric=seen.metric,
        calibration=_calibration(work),
        check=CheckInfo(ok=work.report.ok, findings=[asdict(finding) for finding in work.report.findings]),
        engine=engine,
        steps=list(steps),
        tools=tool_versions(),
        warnings=work.warnings,
    )
    manifest, aside = work.folder / "export.json", work.folder / "older"
    _write_json(manifest, record.model_dump(mode="json"))
    aside.mkdir()
    moves = dict(files.values()) | {manifest: paths.manifest}
    with locked(order.out.parent):
        refuse_foreign(paths, list(moves.values()))
        move_together(moves, sorted(older_files(paths) - set(moves.values())), aside)
    return record


def _reference(work: Work, seen: Seen) -> Reference:
    computed = seen.fp32 if seen.lower is None else seen.lower
    return Reference(
        inputs={INPUT: seen.inputs},
        outputs=seen.outputs,
        tolerance={name: tolerance_elsewhere(c.greatest, c.max_abs_error) for name, c in computed.items()},
        about={
            "schema": "edgesynth.reference/1",
            "network": work.subject.name,
            "target": work.order.target.name,
            "precision": work.order.precision,
            "images": work.subject.inputs,  # the file goes to boards: no path of this machine
            "answers": "of PyTorch in fp32",
            "onnx_sha256": _sha256(work.delivered),
        },
    )


def _in_place(engine: EngineRecord, onnx_path: Path, plan: Path) -> EngineRecord:
    """The record of an engine whose files have been moved."""
    return engine.model_copy(
        update={
            "onnx": engine.onnx.model_copy(update={"path": str(onnx_path.absolute())}),
            "plan": engine.plan.model_copy(update={"path": str(plan.absolute())}),
        }
    )


def _tensor(value: onnx.ValueInfoProto, mean: Sequence[float] | None, std: Sequence[float] | None) -> TensorInfo:
    kind = value.type.tensor_type
    return TensorInfo(
        name=value.name,
        dtype=str(onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type)),
        shape=tuple(dim.dim_value for dim in kind.shape.dim),
        mean=None if mean is None else tuple(mean),
        std=None if std is None else tuple(std),
    )


def _outputs(model: onnx.ModelProto, subject: Subject) -> list[TensorInfo]:
    """Classes name the second dimension of an only output that is as long."""
    infos = [_tensor(value, None, None) for value in model.graph.output]
    classes = subject.classes
    if classes is not None and len(infos) == 1 and infos[0].shape[1:2] == (len(classes),):
        return [infos[0].model_copy(update={"classes": classes})]
    return infos


def _file(made: Path, place: Path) -> FileInfo:
    return FileInfo(path=place.name, sha256=_sha256(made), bytes=made.stat().st_size)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _parities(work: Work, seen: Seen) -> dict[Precision, dict[str, OutputParity]]:
    parities: dict[Precision, dict[str, OutputParity]] = {"fp32": _parity_of(seen.fp32)}
    return parities if seen.lower is None else parities | {work.order.precision: _parity_of(seen.lower)}


def _parity_of(comparisons: Mapping[str, Comparison]) -> dict[str, OutputParity]:
    return {
        name: OutputParity(**{field: getattr(found, field) for field in OutputParity.model_fields})
        for name, found in comparisons.items()
    }


def _calibration(work: Work) -> CalibrationInfo | None:
    made = work.calibration
    if made is None:
        return None
    return CalibrationInfo(
        images=made.images,
        origin=work.subject.calibration_origin,
        method=made.method,
        errors=dict(made.errors),
    )


def _write_json(path: Path, document: object) -> None:
    path.write_text(json.dumps(document, indent=2, allow_nan=False) + "\n", encoding="utf-8")
