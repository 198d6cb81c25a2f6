"""What engines are fed: shapes for a batch, noise that is the same on every machine, and given arrays, checked."""

from typing import Any, Dict, List, NamedTuple, Sequence

from edgesynth_agent.errors import EngineError

__all__ = ["Tensor", "given", "noise", "shape_for"]

_FLOATS = ("float16", "float32", "float64")


class Tensor(NamedTuple):
    """An input or output as its runtime describes it; a dimension that is no whole number from 0 on is open."""

    name: str
    shape: Sequence[Any]
    dtype: str
    """numpy's name of it, where numpy has the type, else the runtime's."""


def shape_for(tensor: Tensor, batch: int) -> List[int]:
    """The shape to feed: an open first dimension becomes the batch. Raises EngineError for any other open one."""
    shape = list(tensor.shape)
    where = "input '{}' of shape {}".format(tensor.name, shape)
    if not shape:
        raise EngineError("a scalar has no batch", where, "give the input a batch dimension")
    if any(_is_open(size) for size in shape[1:]):
        raise EngineError(
            "a dimension other than the first is open, so the size of the work is not defined",
            where,
            "export the network with fixed sizes",
        )
    if not _is_open(shape[0]) and shape[0] != batch:
        raise EngineError(
            "batch {} was asked for, and the network is fixed to {}".format(batch, shape[0]),
            where,
            "ask for batch {}, or export the network with an open first dimension".format(shape[0]),
        )
    return [batch] + shape[1:]


def noise(tensors: Sequence[Tensor], batch: int, seed: int) -> Dict[str, Any]:
    """Normal noise for each input, in their order. Raises EngineError as `shape_for`, and for an input of no floats."""
    import numpy

    source = numpy.random.RandomState(seed)
    feed = {}
    for tensor in tensors:
        if tensor.dtype not in _FLOATS:
            raise EngineError(
                "it is {}, and only floating-point inputs can be fed noise".format(tensor.dtype),
                "input '{}'".format(tensor.name),
                "give the network a floating-point input",
            )
        values = source.standard_normal(shape_for(tensor, batch))
        feed[tensor.name] = numpy.ascontiguousarray(values, dtype=tensor.dtype)
    return feed


def given(prepared: Dict[str, Any], inputs: Dict[str, Any]) -> Dict[str, Any]:
    """`inputs` in the types of the `prepared` arrays. Raises EngineError unless names and shapes are theirs."""
    import numpy

    if not prepared:
        raise EngineError("no inputs yet", "the engine", "call prepare first")
    if set(inputs) != set(prepared):
        what = "inputs {} were given, and it has {}".format(_listed(inputs), _listed(prepared))
        raise EngineError(what, "the network", "give what it has")
    feed = {}
    for name, noise_ in prepared.items():
        values = numpy.asarray(inputs[name])
        if values.shape != noise_.shape:
            what = "shape {} was given, and {} is prepared".format(values.shape, noise_.shape)
            raise EngineError(what, "input '{}'".format(name), "give one prepared batch")
        feed[name] = numpy.ascontiguousarray(values, dtype=noise_.dtype)
    return feed


def _is_open(size: Any) -> bool:
    return not isinstance(size, int) or size < 0


def _listed(names: Dict[str, Any]) -> str:
    return ", ".join("'{}'".format(name) for name in sorted(names)) or "none"
