"""What is deployed: an ONNX file that the target accepts, what it should answer, and what an application must know."""

import hashlib
import json
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgesynth_exporters.check import check_model
from edgesynth_exporters.export_record import ExportRecord
from edgesynth_exporters.files import write_atomically
from edgesynth_exporters.targets import Precision, Target

from edgesynth import __version__
from edgesynth.errors import EdgesynthError, IncompatibleError, ModelFileError, RunError

__all__ = ["Package", "default_name", "open_package"]

JOURNAL = "journal.sqlite"
MANIFEST = ".export.json"
PRIVATE = ("run", "weights")
"""What a source has that names places on this machine."""
ROLES = ("onnx", "reference", "calibration")
PREFERRED: Precision = "fp16"

Note = Callable[[str], None]


@dataclass(frozen=True)
class Package:
    """`files` by what they are: onnx, reference, perhaps calibration. `facts` go into the manifest on the device."""

    network: str
    target: Target
    precision: Precision
    batch: int
    files: Mapping[str, Path]
    facts: Mapping[str, Any]
    warnings: tuple[str, ...] = ()

    @property
    def bytes(self) -> int:
        return sum(path.stat().st_size for path in self.files.values())

    def order(self, name: str) -> dict[str, Any]:
        """As the agent takes it (edgesynth_agent.releases.order). Raises ModelFileError for a file that has gone."""
        return {
            "name": name,
            "target": self.target.name,
            "precision": self.precision,
            "batch": self.batch,
            "files": {role: _described(path) for role, path in self.files.items()},
            "facts": dict(self.facts),
        }


def open_package(network: str, target: Target, precision: Precision | None, note: Note = lambda text: None) -> Package:
    """`network` is RUN/NAME, which is exported first, or an ONNX file, with what `edgesynth export` left beside it.

    Raises IncompatibleError where the target does not take it, ModelFileError, and what the export raises.
    """
    if target.kind != "board":
        raise EdgesynthError(f"{target.name} is no board: nothing can be deployed to it; see edgesynth targets ls")
    path = Path(network)
    if path.suffix == ".onnx":
        package = _of_file(path, target, precision, note)
    elif (path.parent / JOURNAL).is_file() or (path.parent.parent / JOURNAL).is_file():
        package = _of_file(_exported(path, target, precision or _preferred(target), note), target, None, note)
    else:
        raise RunError(f"there is no network {network!r}: give RUN/NAME of a run directory, or MODEL.onnx")
    _require_accepted(package)
    return package


def default_name(package: Package) -> str:
    """The name that a network has on a device when none is given."""
    name = re.sub(r"[^a-z0-9._-]+", "-", package.network.lower()).strip("-._")[:64].rstrip("-._")
    return name or "network"


def _preferred(target: Target) -> Precision:
    return PREFERRED if PREFERRED in target.precisions else "fp32"


def _require_accepted(package: Package) -> None:
    report = check_model(package.files["onnx"], package.target, package.precision)
    errors = [finding for finding in report.findings if finding.severity == "error"]
    if errors:
        first = errors[0]
        where = "" if first.operator is None else f"{first.operator} '{first.node}': "
        more = f"; and {len(errors) - 1} more, see edgesynth check" if len(errors) > 1 else ""
        raise IncompatibleError(
            f"{package.target.name} does not take {package.files['onnx']}: {where}{first.reason}; {first.remedy}{more}"
        )


def _of_file(path: Path, target: Target, precision: Precision | None, note: Note) -> Package:
    if not path.is_file():
        raise ModelFileError(f"{path}: there is no such file; give MODEL.onnx, or RUN/NAME")
    manifest = path.with_suffix(MANIFEST)
    if not manifest.is_file():
        return _bare(path, target, precision or "fp32", note)
    try:
        record = ExportRecord.model_validate_json(manifest.read_bytes())
    except (OSError, ValueError) as error:
        raise ModelFileError(
            f"{manifest} is no record of an export that this version reads: export it again"
        ) from error
    if record.target.name != target.name:
        raise EdgesynthError(f"{path} was exported for {record.target.name}: export it for {target.name}")
    if precision not in (None, record.precision):
        raise EdgesynthError(f"{path} was exported in {record.precision}: export it in {precision}")
    named = {role: entry.path for role, entry in record.files.items() if role in ROLES}
    if named.get("onnx") != path.name or "reference" not in named or not (record.inputs and record.inputs[0].shape):
        raise ModelFileError(f"{manifest} does not describe {path.name} and a reference for it: export it again")
    if any(not name or name != Path(name).name for name in named.values()):
        raise ModelFileError(f"{manifest} names files that do not lie beside it: export it again")
    files = {role: path.with_name(name) for role, name in named.items()}
    for role, file in files.items():
        if _described(file)["sha256"] != record.files[role].sha256:
            raise ModelFileError(f"{file} is not the one that {manifest.name} is of: export it again")
    return Package(
        network=record.name,
        target=target,
        precision=record.precision,
        batch=record.inputs[0].shape[0],
        files=files,
        facts={
            "network": record.name,
            "inputs": [each.model_dump(mode="json") for each in record.inputs],
            "outputs": [each.model_dump(mode="json") for each in record.outputs],
            "source": _public(record.source),
            "export": {
                "opset": record.opset,
                "scheme": record.scheme.model_dump(mode="json"),
                "metric": None if record.metric is None else record.metric.model_dump(mode="json"),
            },
        },
        warnings=tuple(record.warnings),
    )


def _public(source: Mapping[str, Any]) -> dict[str, Any]:
    """For a manifest that everybody on the device may read. Data may be a folder: of that the last name."""
    public = {key: value for key, value in source.items() if key not in PRIVATE}
    if isinstance(public.get("data"), str):
        public["data"] = Path(public["data"]).name
    return public


def _bare(path: Path, target: Target, precision: Precision, note: Note) -> Package:
    digest = _described(path)["sha256"]
    folder = _cache() / "references" / f"{digest[:32]}-{target.name}-{precision}"
    reference, facts_file = folder / "reference.npz", folder / "facts.json"
    if not (reference.is_file() and facts_file.is_file()):
        from edgesynth.deploy.bare import make_reference

        note("no record of an export beside it: its answers to noise are taken by ONNX Runtime here")
        folder.mkdir(parents=True, exist_ok=True)
        made = make_reference(path, precision, target.name, reference)
        write_atomically(facts_file, json.dumps(made).encode())
    facts = json.loads(facts_file.read_bytes())
    batch = facts.pop("batch")
    return Package(
        network=path.stem,
        target=target,
        precision=precision,
        batch=batch,
        files={"onnx": path, "reference": reference},
        facts={"network": path.stem, **facts, "source": {"kind": "onnx"}, "export": None},
        warnings=("compared on noise with ONNX Runtime on this machine: edgesynth export compares with PyTorch",),
    )


def _exported(network: Path, target: Target, precision: Precision, note: Note) -> Path:
    """The ONNX file of a network of a run, exported into the user's cache unless it is there."""
    weights = network.parent.parent / "networks" / network.name / "weights.safetensors"
    if network.parent.name != "networks":
        weights = network.parent / "networks" / network.name / "weights.safetensors"
    key: dict[str, Any] = {"version": __version__, "network": str(network.resolve()), "precision": precision}
    key |= {"target": target.name, "tensorrt": target.tensorrt}
    key["weights"] = _described(weights)["sha256"] if weights.is_file() else None
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()
    out = _cache() / "exports" / digest[:32] / f"{network.name}.onnx"
    if key["weights"] is not None and out.with_suffix(MANIFEST).is_file():
        return out
    from edgesynth_exporters.pipeline import export_network
    from edgesynth_exporters.subject import Order

    from edgesynth.synthesis.exporting import open_subject

    out.parent.mkdir(parents=True, exist_ok=True)
    subject = open_subject(str(network), int8=precision == "int8")
    command = f"edgesynth export {network} --target {target.name} --precision {precision}"
    export_network(subject, Order(target=target, precision=precision, format="onnx", out=out, command=command), note)
    return out


def _cache() -> Path:
    """A relative $XDG_CACHE_HOME is ignored, as the XDG base directory specification demands."""
    base = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return (base if base.is_absolute() else Path.home() / ".cache") / "edgesynth"


def _described(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            return {"sha256": hashlib.file_digest(file, "sha256").hexdigest(), "bytes": file.seek(0, 2)}
    except OSError as error:
        raise ModelFileError(f"{path}: {error.strerror or error}; give a file that can be read") from error
