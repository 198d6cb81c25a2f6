"""Taking the weights out of an ONNX file before it is parsed: protobuf's wire format, as far as that needs it.

Field numbers are those of onnx.proto3 (https://github.com/onnx/onnx/blob/v1.17.0/onnx/onnx.proto3), the encoding is
https://protobuf.dev/programming-guides/encoding/. Only messages longer than `LARGE` are looked into, the others are
copied as they are, so the cost grows with the number of nodes and tensors, not with the size of the weights.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from mmap import mmap
from typing import Literal

__all__ = ["Content", "Dropped", "WireError", "without_weights"]

LARGE = 4096  # bytes; axes, shapes and scalars are smaller
MOST_FIELDS = 4_000_000  # a network of a hundred thousand nodes has some
MOST_STRUCTURE = 256 << 20  # bytes that may remain without the weights
DEEPEST = 64  # messages within messages; graph, node, attribute are three a level

Encoding = Literal["raw", "float", "double", "varint"]

# Which fields hold further messages, and of what kind.
PARTS = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 11: "attribute"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {},
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
    """A tensor whose elements were left out: the encoded TensorProto without them, and where they are."""

    tensor: bytes
    contents: tuple[Content, ...]


@dataclass(frozen=True)
class _Field:
    number: int
    wire_type: int
    start: int  # of the key
    value: int  # where a length-delimited value begins
    end: int


def without_weights(data: mmap) -> tuple[bytes, list[Dropped]]:
    """The model in `data` without the elements of its larger tensors, and those tensors in the order of the file.

    Raises WireError where the bytes are no protobuf message, or one of absurd size or depth.
    """
    walk = _Walk(data)
    return walk.message(0, len(data), "model", 0), walk.dropped


class _Walk:
    def __init__(self, data: mmap) -> None:
        self._data = data
        self._fields_left = MOST_FIELDS
        self._bytes_left = MOST_STRUCTURE
        self.dropped: list[Dropped] = []

    def message(self, start: int, end: int, kind: str, depth: int) -> bytes:
        """The message between `start` and `end`, encoded anew without weights."""
        if depth > DEEPEST:
            raise WireError("its graphs are nested too deep")
        if kind == "tensor":
            return self._tensor(start, end)
        parts, chunks, copied = PARTS[kind], [], start
        for field in self._fields(start, end):
            part = parts.get(field.number) if field.wire_type == 2 else None
            if part is not None and field.end - field.value > LARGE:
                inner = self.message(field.value, field.end, part, depth + 1)
                chunks += [self._copy(copied, field.start), _key(field.number), _varint(len(inner)), inner]
                copied = field.end
        chunks.append(self._copy(copied, end))
        return b"".join(chunks)

    def _tensor(self, start: int, end: int) -> bytes:
        chunks, contents, copied = [], [], start
        for field in self._fields(start, end):
            encoding = CONTENTS.get(field.number)
            if encoding is not None and field.wire_type == 2:
                contents.append(Content(encoding, field.value, field.end - field.value))
                chunks.append(self._copy(copied, field.start))
                copied = field.end
        chunks.append(self._copy(copied, end))
        tensor = b"".join(chunks)
        if contents:
            self.dropped.append(Dropped(tensor, tuple(contents)))
        return tensor

    def _copy(self, start: int, end: int) -> bytes:
        self._bytes_left -= end - start
        if self._bytes_left < 0:
            raise WireError(f"without its weights it is still larger than {MOST_STRUCTURE >> 20} MiB")
        return self._data[start:end]

    def _fields(self, start: int, end: int) -> Iterator[_Field]:
        position = start
        while position < end:
            self._fields_left -= 1
            if self._fields_left < 0:
                raise WireError(f"it has more than {MOST_FIELDS:,} fields")
            begin = position
            key, position = self._number(position, end)
            number, wire_type, value = key >> 3, key & 7, position
            if wire_type == 0:
                _, position = self._number(position, end)
            elif wire_type == 1:
                position += 8
            elif wire_type == 2:
                length, value = self._number(position, end)
                position = value + length
            elif wire_type == 5:
                position += 4
            else:
                raise WireError(f"byte {begin} cannot begin a field")
            if number == 0 or position > end:
                raise WireError("it ends inside a field" if number else f"byte {begin} cannot begin a field")
            yield _Field(number, wire_type, begin, value, position)

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
