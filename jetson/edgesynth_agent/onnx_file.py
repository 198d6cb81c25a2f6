"""Just enough of the ONNX format to refuse what must not be loaded, without the onnx package.

Field numbers are those of onnx.proto3 (ONNX 1.17); the encoding is protobuf's wire format. Values that are not
needed are skipped, so the cost grows with the number of nodes and tensors, not with the size of the weights.
"""

import mmap
from contextlib import contextmanager
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Tuple, Union

from edgesynth_agent.errors import RefusedError

__all__ = ["ModelSummary", "read_nodes", "read_summary"]

_MAX_DEPTH = 32  # graphs inside attributes of nodes, as If and Loop have them
_MAX_FIELDS = 4_000_000  # some hundred times what a network for a small device has

_FLOAT, _FLOAT16 = 1, 10  # TensorProto.DataType
_EXTERNAL = 1  # TensorProto.DataLocation

# Operators that only a quantised network has.
_QUANTIZED = {"QuantizeLinear", "DynamicQuantizeLinear", "ConvInteger", "MatMulInteger", "QLinearConv", "QLinearMatMul"}

Span = Tuple[int, int]


class ModelSummary(NamedTuple):
    """What the agent wants to know about a file before it is run."""

    nodes: int
    precision: str
    """It is "int8" with quantising operators, "fp16" where most bytes of weights are half floats, else "fp32"."""


def read_summary(path: str) -> ModelSummary:
    """Raises RefusedError when the file is no ONNX model, or keeps weights in other files."""
    with _mapped(path) as data:
        return _Walk(data).summary()


def read_nodes(path: str) -> List[Tuple[str, str]]:
    """Name and operator of each node of the main graph, in the order of the file. A name may be empty.

    Raises RefusedError when the file is no ONNX model.
    """
    with _mapped(path) as data:
        return _Nodes(data).nodes()


@contextmanager
def _mapped(path: str) -> Iterator[mmap.mmap]:
    with open(path, "rb") as file:
        try:
            data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except ValueError:  # an empty file cannot be mapped
            raise _no_onnx("the file is empty") from None
        with data:
            yield data


def _no_onnx(why: str) -> RefusedError:
    return RefusedError("it is no ONNX model ({})".format(why), "the uploaded file", "export the network as ONNX")


class _Walk:
    """One pass over a model. Each method reads the message of its name and calls those of its parts."""

    def __init__(self, data: mmap.mmap) -> None:
        self._data = data
        self._fields_left = _MAX_FIELDS
        self._depth = 0
        self._nodes = 0
        self._quantized = False
        self._weights: Dict[int, int] = {}

    def summary(self) -> ModelSummary:
        self._each((0, len(self._data)), {7: self._graph, 20: self._training, 25: self._function})
        if self._nodes == 0:
            raise _no_onnx("it has no nodes")
        half = self._weights.get(_FLOAT16, 0) > self._weights.get(_FLOAT, 0)
        return ModelSummary(self._nodes, "int8" if self._quantized else "fp16" if half else "fp32")

    def _graph(self, span: Span) -> None:
        self._each(span, {1: self._node, 5: self._tensor, 15: self._sparse_tensor})

    def _function(self, span: Span) -> None:
        self._each(span, {7: self._node, 11: self._attribute})

    def _training(self, span: Span) -> None:
        self._each(span, {1: self._graph, 2: self._graph})

    def _node(self, span: Span) -> None:
        self._nodes += 1
        self._each(span, {4: self._op_type, 5: self._attribute})

    def _op_type(self, span: Span) -> None:
        if bytes(self._data[span[0] : span[1]]).decode("utf-8", "replace") in _QUANTIZED:
            self._quantized = True

    def _attribute(self, span: Span) -> None:
        tensor, graph, sparse = self._tensor, self._graph, self._sparse_tensor
        self._each(span, {5: tensor, 6: graph, 10: tensor, 11: graph, 22: sparse, 23: sparse})

    def _sparse_tensor(self, span: Span) -> None:
        self._each(span, {1: self._tensor, 2: self._tensor})

    def _tensor(self, span: Span) -> None:
        kind, size = 0, span[1] - span[0]
        for number, value in self._fields(span):
            if number == 2 and isinstance(value, int):
                kind = value
            elif number == 13 or (number == 14 and value == _EXTERNAL):
                raise RefusedError(
                    "it keeps weights in another file, and the agent takes self-contained models only",
                    "the uploaded file",
                    "save the network with its weights inside",
                )
        self._weights[kind] = self._weights.get(kind, 0) + size

    def _each(self, span: Span, readers: Dict[int, Callable[[Span], None]]) -> None:
        self._depth += 1
        if self._depth > 4 * _MAX_DEPTH:  # graph, node, attribute, tensor: four messages a level
            raise _no_onnx("graphs are nested too deep")
        for number, value in self._fields(span):
            if number in readers:
                if isinstance(value, int):
                    raise _no_onnx("field {} is a number".format(number))
                readers[number](value)
        self._depth -= 1

    def _fields(self, span: Span) -> Iterator[Tuple[int, Union[int, Span]]]:
        """Number and value of each field of a message; the value of a length-delimited one is where it lies."""
        position, end = span
        while position < end:
            self._fields_left -= 1
            if self._fields_left < 0:
                raise _no_onnx("it has too many fields")
            key, position = self._varint(position, end)
            number, wire_type = key >> 3, key & 7
            value: Any = 0
            if wire_type == 0:
                value, position = self._varint(position, end)
            elif wire_type == 1:
                position += 8
            elif wire_type == 2:
                length, start = self._varint(position, end)
                position = start + length
                value = (start, position)
            elif wire_type == 5:
                position += 4
            else:
                raise _no_onnx("byte {} has wire type {}".format(position, wire_type))
            if number == 0 or position > end:
                raise _no_onnx("it ends inside a field")
            yield number, value

    def _varint(self, position: int, end: int) -> Tuple[int, int]:
        value = 0
        for shift in range(0, 70, 7):
            if position >= end:
                raise _no_onnx("it ends inside a number")
            byte = self._data[position]
            position += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value, position
        raise _no_onnx("a number is too long")


class _Nodes(_Walk):
    """One pass over the nodes of the main graph alone."""

    def nodes(self) -> List[Tuple[str, str]]:
        self._found: List[Tuple[str, str]] = []
        self._each((0, len(self._data)), {7: self._graph})
        return self._found

    def _graph(self, span: Span) -> None:
        self._each(span, {1: self._node})

    def _node(self, span: Span) -> None:
        texts = {3: "", 4: ""}
        for number, value in self._fields(span):
            if number in texts and not isinstance(value, int):
                texts[number] = bytes(self._data[value[0] : value[1]]).decode("utf-8", "replace")
        self._found.append((texts[3], texts[4]))
