"""Taking the weights out of an ONNX file before it is parsed: protobuf's wire format, as far as that needs it.

Field numbers are those of onnx.proto3 (https://github.com/onnx/onnx/blob/v1.17.0/onnx/onnx.proto3), the encoding is
https://protobuf.dev/programming-guides/encoding/. Every message is looked into, so that one knows how many there are
before they are made; the elements of tensors are not, so the cost grows with the number of nodes and tensors, not with
the size of the weights.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from mmap import mmap
from typing import Literal

__all__ = ["Content", "Dropped", "WireError", "without_weights"]

LARGE = 4096  # bytes; axes, shapes and scalars are smaller
MOST_FIELDS = 4_000_000  # a network of a hundred thousand nodes has a million
MOST_MESSAGES = 1_500_000  # of some 200 bytes in memory, each
MOST_STRUCTURE = 256 << 20  # bytes that may remain without the weights
DEEPEST = 100  # messages within messages, as protobuf itself has it; graph, node, attribute are three a level

Encoding = Literal["raw", "float", "double", "varint"]

# Which fields hold further messages, and of what kind. An "entry" holds text and numbers alone.
PARTS = {
    "model": {7: "graph", 8: "entry", 14: "entry", 20: "training", 25: "function", 26: "entry"},
    "training": {1: "graph", 2: "graph", 3: "entry", 4: "entry"},
    "function": {7: "node", 9: "entry", 11: "attribute", 12: "value", 14: "entry"},
    "graph": {
        1: "node",
        5: "tensor",
        11: "value",
        12: "value",
        13: "value",
        14: "annotation",
        15: "sparse",
        16: "entry",
    },
    "node": {5: "attribute", 9: "entry", 10: "devices"},
    "attribute": {
        5: "tensor",
        6: "graph",
        10: "tensor",
        11: "graph",
        14: "type",
        15: "type",
        22: "sparse",
        23: "sparse",
    },
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {3: "entry", 13: "entry", 16: "entry"},
    "value": {2: "type", 4: "entry"},
    "type": {1: "shaped", 4: "typed", 5: "typed-2", 7: "entry", 8: "shaped", 9: "typed"},
    "shaped": {2: "shape"},
    "typed": {1: "type"},
    "typed-2": {2: "type"},
    "shape": {1: "entry"},
    "annotation": {2: "entry"},
    "devices": {2: "sharding"},
    "sharding": {2: "entry", 3: "sharded"},
    "sharded": {2: "entry"},
    "entry": {},
}
CONTENTS: dict[int, Encoding] = {
    4: "float",
    5: "varint",
    7: "varint",
    9: "raw",
    10: "double",
    11: "varint",
}
"""Fields of a tensor that hold its elements, packed."""
DOCUMENTATION = 12  # of a tensor


class WireError(Exception):
    """These bytes are no ONNX file; says why."""


@dataclass(frozen=True)
class Content:
    """Where elements of a tensor lie: `length` bytes from `start` of the file."""

    encoding: Encoding
    start: int
    length: int


@dataclass(frozen=True)
class Dropped:
    """A tensor whose elements were left out: the encoded TensorProto without them, and where they are.

    Its doc_string is `mark`, there and in the model: by that it is known again, whatever it is called.
    """

    mark: str
    tensor: bytes
    contents: tuple[Content, ...]


_Field = tuple[int, int, int, int, int]
"""Number, wire type, start of the key, where a length-delimited value begins, end."""


def without_weights(data: mmap) -> tuple[bytes, list[Dropped]]:
    """The model in `data` without the elements of its larger tensors, and those tensors in the order of the file.

    Raises WireError where the bytes are no protobuf message, or one of absurd size or depth.
    """
    walk = _Walk(data)
    structure = walk.message(0, len(data), "model", 0)
    return walk.copy(0, len(data)) if structure is None else structure, walk.dropped


class _Walk:
    def __init__(self, data: mmap) -> None:
        self._data = data
        self._fields_left = MOST_FIELDS
        self._messages_left = MOST_MESSAGES
        self._bytes_left = MOST_STRUCTURE
        self.dropped: list[Dropped] = []

    def message(self, start: int, end: int, kind: str, depth: int) -> bytes | None:
        """The message between `start` and `end`, encoded anew without weights; None where it has none to leave out."""
        self._messages_left -= 1
        if self._messages_left < 0:
            raise WireError(f"it has more than {MOST_MESSAGES:,} nodes, attributes and other parts")
        if depth > DEEPEST:
            raise WireError("its graphs are nested too deep")
        if kind == "tensor" and end - start > LARGE:
            return self._tensor(start, end)
        parts, chunks, copied = PARTS[kind], [], start
        for number, wire_type, begin, value, stop in self._fields(start, end):
            part = parts.get(number) if wire_type == 2 else None
            inner = None if part is None else self.message(value, stop, part, depth + 1)
            if inner is not None:
                chunks += [self.copy(copied, begin), _key(number), _varint(len(inner)), inner]
                copied = stop
        if not chunks:
            return None
        chunks.append(self.copy(copied, end))
        return b"".join(chunks)

    def _tensor(self, start: int, end: int) -> bytes | None:
        chunks, contents, copied = [], [], start
        for number, wire_type, begin, value, stop in self._fields(start, end):
            encoding = CONTENTS.get(number)
            if encoding is not None and wire_type == 2:
                contents.append(Content(encoding, value, stop - value))
                chunks.append(self.copy(copied, begin))
                copied = stop
            elif wire_type == 2 and number in PARTS["tensor"]:
                self.message(value, stop, "entry", 0)
        if not contents:
            return None
        mark = f"tensor {len(self.dropped)}"
        text = mark.encode()
        chunks += [self.copy(copied, end), _key(DOCUMENTATION), _varint(len(text)), text]  # the last one counts
        tensor = b"".join(chunks)
        self.dropped.append(Dropped(mark, tensor, tuple(contents)))
        return tensor

    def copy(self, start: int, end: int) -> bytes:
        self._bytes_left -= end - start
        if self._bytes_left < 0:
            raise WireError(f"without its weights it is still larger than {MOST_STRUCTURE >> 20} MiB")
        return self._data[start:end]

    def _fields(self, start: int, end: int) -> Iterator[_Field]:
        data, position = self._data, start
        while position < end:
            self._fields_left -= 1
            if self._fields_left < 0:
                raise WireError(f"it has more than {MOST_FIELDS:,} fields")
            begin = position
            key = data[position]
            if key < 0x80:  # most are of one byte
                position += 1
            else:
                key, position = self._number(position, end)
            wire_type, value = key & 7, position
            if wire_type == 2:
                length = data[position] if position < end else 0x80
                if length < 0x80:
                    value = position + 1
                else:
                    length, value = self._number(position, end)
                position = value + length
            elif wire_type == 0:
                _, position = self._number(position, end)
            elif wire_type == 1:
                position += 8
            elif wire_type == 5:
                position += 4
            else:
                raise WireError(f"byte {begin} cannot begin a field")
            if key < 8 or position > end:
                raise WireError(f"byte {begin} cannot begin a field" if key < 8 else "it ends inside a field")
            yield key >> 3, wire_type, begin, value, position

    def _number(self, position: int, end: int) -> tuple[int, int]:
        """A varint, and where it ends."""
        value = 0
        for shift in range(0, 70, 7):
            if position >= end:
                raise WireError("it ends inside a number")
            byte = self._data[position]
            position += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value, position
        raise WireError(f"byte {position} cannot be part of a number")


def _key(number: int) -> bytes:
    """The key of a length-delimited field."""
    return _varint(number << 3 | 2)


def _varint(value: int) -> bytes:
    digits = []
    while value >= 0x80:
        digits.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*digits, value])
