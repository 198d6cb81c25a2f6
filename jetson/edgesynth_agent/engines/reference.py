"""What a network answered where it was exported, against what the engine on this device answers.

A reference is a numpy archive without pickles: "inputs/NAME" and "outputs/NAME" for the same images, "tolerance/NAME"
for each output (greatest absolute error), and "about", a JSON text with "onnx_sha256", the model that it is of.
"""

import json
import zipfile
from typing import Any, Dict, List, NamedTuple, Optional

from edgesynth_agent.engines.base import Engine
from edgesynth_agent.errors import EngineError, RefusedError
from edgesynth_agent.plan import plain

__all__ = ["Reference", "compare", "read_reference", "require"]

_MOST_BYTES = 512 * 1024 * 1024
_PARTS = ("inputs", "outputs", "tolerance")


class Reference(NamedTuple):
    """Arrays by name, each with the images along its first axis."""

    images: int
    inputs: Dict[str, Any]
    outputs: Dict[str, Any]
    tolerance: Dict[str, float]


def read_reference(path: str, onnx_sha256: Optional[str]) -> Reference:
    """Raises RefusedError for a file that is no reference, is too large, or is of another model than that digest."""
    try:
        content = _arrays(path)
        about = json.loads(str(content.pop("about")))
        found = plain(str(about["onnx_sha256"]))
        reference = _reference(content)
    except MemoryError:
        raise
    except Exception as error:  # numpy and zipfile raise whatever they like for what somebody made up
        text = plain(str(error)) or type(error).__name__
        raise RefusedError("it is no reference of an export: " + text, path, "export the network again") from error
    if onnx_sha256 is not None and found != onnx_sha256:
        what = "it is of the model {}, and this is {}".format(found, onnx_sha256)
        raise RefusedError(what, path, "send the reference that lies beside the model")
    return reference


def _arrays(path: str) -> Dict[str, Any]:
    """What an archive holds, by name."""
    import numpy

    with zipfile.ZipFile(path) as archive:
        size = sum(entry.file_size for entry in archive.infolist())
    if size > _MOST_BYTES:
        raise ValueError("it expands to {} bytes, and {} is the most".format(size, _MOST_BYTES))
    with open(path, "rb") as file, numpy.load(file, allow_pickle=False) as archive:
        return {key: archive[key] for key in archive.files}


def _reference(content: Dict[str, Any]) -> Reference:
    """Raises ValueError, KeyError, TypeError for arrays that are none of a reference."""
    import numpy

    parts: Dict[str, Dict[str, Any]] = {kind: {} for kind in _PARTS}
    for key, values in content.items():
        kind, _, name = key.partition("/")
        if values.dtype.kind not in "fiub" or not numpy.isfinite(values).all():
            raise ValueError("'{}' holds something else than finite numbers".format(key))
        parts[kind][name] = float(values) if kind == "tolerance" else values
    counts = {len(values) for kind in ("inputs", "outputs") for values in parts[kind].values()}
    if len(counts) != 1 or 0 in counts or not parts["inputs"] or set(parts["tolerance"]) != set(parts["outputs"]):
        raise ValueError("its arrays do not belong together")
    return Reference(counts.pop(), parts["inputs"], parts["outputs"], parts["tolerance"])


def compare(engine: Engine, reference: Reference, batch: int) -> Dict[str, Any]:
    """Run the engine, prepared for `batch`, on all images: a JSON object {images, max_abs_error, argmax_agreement,
    passed, outputs: {NAME: {max_abs_error, tolerance, argmax_agreement, passed}}}.

    `argmax_agreement` is the share of answers with the same greatest channel (axis 1), None where there are none to
    choose from; it is reported, and errors alone decide. `max_abs_error` is None when an answer is no finite number,
    which never passes. Raises EngineError when inputs or outputs are not those of the reference.
    """
    answers = _answers(engine, reference, batch)
    outputs = {
        name: _judged(answers[name], wanted, reference.tolerance[name]) for name, wanted in reference.outputs.items()
    }
    errors = [each["max_abs_error"] for each in outputs.values()]
    agreements = [each["argmax_agreement"] for each in outputs.values() if each["argmax_agreement"] is not None]
    return {
        "images": reference.images,
        "max_abs_error": None if None in errors else max(errors),
        "argmax_agreement": min(agreements) if agreements else None,
        "passed": all(each["passed"] for each in outputs.values()),
        "outputs": outputs,
    }


def require(comparison: Dict[str, Any], where: str) -> None:
    """Raises EngineError, naming the first output that is not what it should be."""
    for name, found in comparison["outputs"].items():
        if found["passed"]:
            continue
        what = "output '{}' holds values that are no finite numbers".format(name)
        if found["max_abs_error"] is not None:
            what = "output '{}' differs from the reference by up to {:.3g}, and {:.3g} is allowed".format(
                name, found["max_abs_error"], found["tolerance"]
            )
        if found["argmax_agreement"] is not None:
            what += " (same answer on {:.1%})".format(found["argmax_agreement"])
        next_step = "the network does not compute here what was exported: try fp32, or export it again"
        raise EngineError(what, where, next_step)


def _answers(engine: Engine, reference: Reference, batch: int) -> Dict[str, Any]:
    """The engine's outputs for all images, batch by batch; the last image fills up the last batch."""
    import numpy

    gathered: Dict[str, List[Any]] = {name: [] for name in reference.outputs}
    for begin in range(0, reference.images, batch):
        rows = numpy.minimum(numpy.arange(begin, begin + batch), reference.images - 1)
        found = engine.outputs({name: values[rows] for name, values in reference.inputs.items()})
        if set(found) != set(gathered):
            what = "it answers {}, and the reference has {}".format(sorted(found), sorted(gathered))
            raise EngineError(what, "the outputs", "send the reference that lies beside the model")
        for name, values in found.items():
            gathered[name].append(numpy.asarray(values)[: reference.images - begin])
    joined = {name: numpy.concatenate(parts) for name, parts in gathered.items()}
    for name, values in joined.items():
        if values.shape != reference.outputs[name].shape:
            what = "its shape is {}, and that of the reference {}".format(values.shape, reference.outputs[name].shape)
            raise EngineError(what, "output '{}'".format(name), "send the reference that lies beside the model")
    return joined


def _judged(actual: Any, wanted: Any, tolerance: float) -> Dict[str, Any]:
    import numpy

    error: Optional[float] = None
    if numpy.isfinite(actual).all():
        difference = numpy.abs(actual.astype(numpy.float64) - wanted.astype(numpy.float64))
        error = float(difference.max()) if difference.size else 0.0
    agreement = None
    if wanted.ndim > 1 and wanted.shape[1] > 1:
        agreement = float((actual.argmax(axis=1) == wanted.argmax(axis=1)).mean())
    passed = error is not None and error <= tolerance
    return {"max_abs_error": error, "tolerance": tolerance, "argmax_agreement": agreement, "passed": passed}
