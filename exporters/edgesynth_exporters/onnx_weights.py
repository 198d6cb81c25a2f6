"""Looking at the elements of tensors where they lie in a file, a piece at a time: how many, any NaN, any infinity."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto, numpy_helper

from edgesynth_exporters.errors import ModelFileError
from edgesynth_exporters.onnx_wire import Content

__all__ = ["Elements", "beyond_int32", "check_form", "element_bits", "elements_within", "examine_elements"]

PIECE = 1 << 20  # bytes read at a time
MOST_ELEMENTS = 1 << 60  # of a tensor, so that their bytes can be counted in 64 bits
LONGEST = 10  # bytes of a varint

_BITS = {
    1: ("BOOL", "UINT8", "INT8"),
    2: ("UINT16", "INT16", "FLOAT16", "BFLOAT16"),
    4: ("FLOAT", "INT32", "UINT32"),
    8: ("DOUBLE", "INT64", "UINT64", "COMPLEX64"),
    16: ("COMPLEX128",),
}
_BITS_OF_ONE = {getattr(TensorProto, name): 8 * size for size, names in _BITS.items() for name in names}
_TYPES = frozenset(TensorProto.DataType.values()) - {TensorProto.UNDEFINED}
_INTEGERS = {TensorProto.INT64}
# Element type -> unsigned integer of its width, the bits of its exponent: all set means NaN or infinity. A complex
# number is two floats.
_EXPONENTS: dict[int, tuple[str, int]] = {
    TensorProto.FLOAT: ("<u4", 0x7F800000),
    TensorProto.COMPLEX64: ("<u4", 0x7F800000),
    TensorProto.DOUBLE: ("<u8", 0x7FF0000000000000),
    TensorProto.COMPLEX128: ("<u8", 0x7FF0000000000000),
    TensorProto.FLOAT16: ("<u2", 0x7C00),
    TensorProto.BFLOAT16: ("<u2", 0x7F80),
}
_NAN_BYTES: dict[int, tuple[int, ...]] = {
    TensorProto.FLOAT8E4M3FN: (0x7F, 0xFF),
    TensorProto.FLOAT8E4M3FNUZ: (0x80,),
    TensorProto.FLOAT8E5M2: (0x7D, 0x7E, 0x7F, 0xFD, 0xFE, 0xFF),
    TensorProto.FLOAT8E5M2FNUZ: (0x80,),
    TensorProto.FLOAT8E8M0: (0xFF,),
}
"""Floats of 8 bits that mean NaN: https://onnx.ai/onnx/technical/float8.html"""
_INFINITE_BYTES: dict[int, tuple[int, ...]] = {TensorProto.FLOAT8E5M2: (0x7C, 0xFC)}
_SIZES = {"float": 4, "double": 8}  # bytes of a number in float_data and double_data
_PAIRS = {TensorProto.COMPLEX64, TensorProto.COMPLEX128}
_INT32 = np.iinfo(np.int32)


@dataclass(frozen=True)
class Elements:
    """What the elements of one tensor are. `beyond_int32`: some are integers that INT32 cannot hold."""

    nan: bool = False
    infinite: bool = False
    beyond_int32: bool = False


def element_bits(data_type: int) -> int | None:
    """Bits of one element of an ONNX type; None for text and for types unknown here."""
    if data_type in _BITS_OF_ONE:
        return _BITS_OF_ONE[data_type]
    name = TensorProto.DataType.Name(data_type) if data_type in TensorProto.DataType.values() else ""
    digits = name.removeprefix("U").removeprefix("INT").removeprefix("FLOAT")[:1]
    return int(digits) if name and digits.isdigit() else None  # INT4, UINT4, INT2, FLOAT8E5M2, FLOAT4E2M1 …


def examine_elements(file: BinaryIO, tensor: TensorProto, contents: Sequence[Content], where: str) -> Elements:
    """What `contents` of `file` hold, read through a small buffer. `where` names the tensor in errors.

    Raises ModelFileError where there are not as many elements as `tensor` has dimensions for.
    """
    check_form(tensor, where)
    expected, bits = prod(tensor.dims), element_bits(tensor.data_type)
    if bits is None:
        raise ModelFileError(f"{where} is of type {tensor.data_type}, which has no elements of its own")
    found, elements = 0, Elements()
    for content in contents:
        if content.encoding == "varint":
            count, part = _varints(file, content, tensor.data_type)
            found += count * (2 if bits < 8 else 1)  # two numbers of 4 bits share one
        else:
            part = _plain(file, content, tensor.data_type)
            size = _SIZES.get(content.encoding)
            found += content.length * 8 // bits if size is None else content.length // size
            if size is not None and tensor.data_type in _PAIRS:
                found //= 2
        elements = _all((elements, part))
    if found != expected and not (bits < 8 and expected <= found < expected + 8 // bits * len(contents)):
        raise ModelFileError(f"{where} holds {found:,} elements where its shape needs {expected:,}; is the file whole?")
    return elements


def elements_within(tensor: TensorProto, where: str) -> Elements:
    """What the elements are of a tensor that was parsed with them.

    Raises ModelFileError where they do not fill its dimensions.
    """
    if tensor.data_type == TensorProto.STRING:
        return Elements()
    values = _array(tensor, where)
    if tensor.data_type in _INTEGERS:
        return Elements(beyond_int32=beyond_int32(values))
    if tensor.data_type not in _EXPONENTS and tensor.data_type not in _NAN_BYTES:
        return Elements()
    numbers = values if values.dtype.kind in "fc" else values.astype(np.float32)  # BFLOAT16 is none of numpy's own
    return Elements(nan=bool(np.isnan(numbers).any()), infinite=bool(np.isinf(numbers).any()))


def check_form(tensor: TensorProto, where: str) -> None:
    """Raises ModelFileError where a tensor is of no type, or of dimensions that no tensor has."""
    if tensor.data_type not in _TYPES:
        raise ModelFileError(f"{where} is of type {tensor.data_type}, which is no type of weights")
    if any(dim < 0 for dim in tensor.dims):
        raise ModelFileError(f"{where} has a negative dimension")
    if prod(max(dim, 1) for dim in tensor.dims) >= MOST_ELEMENTS:
        raise ModelFileError(f"{where} has dimensions beyond any memory ({' x '.join(map(str, tensor.dims))})")


def beyond_int32(values: NDArray[Any]) -> bool:
    """Whether some of these are integers that INT32 cannot hold."""
    return values.dtype.kind in "iu" and bool(((values > _INT32.max) | (values < _INT32.min)).any())


def _array(tensor: TensorProto, where: str) -> NDArray[Any]:
    try:
        return numpy_helper.to_array(tensor)
    except Exception as error:  # whatever a damaged tensor makes it raise
        raise ModelFileError(f"{where} cannot be read ({type(error).__name__}); is the file whole?") from error


def _plain(file: BinaryIO, content: Content, data_type: int) -> Elements:
    if data_type in _INTEGERS:
        return Elements(beyond_int32=any(beyond_int32(values) for values in _pieces(file, content, np.dtype("<i8"))))
    word = "u1" if data_type in _NAN_BYTES else _EXPONENTS[data_type][0] if data_type in _EXPONENTS else None
    return Elements() if word is None else _all(_special(v, data_type) for v in _pieces(file, content, np.dtype(word)))


def _special(values: NDArray[Any], data_type: int) -> Elements:
    """What unsigned integers hold that are the bits of floating-point numbers."""
    if data_type in _NAN_BYTES:
        counts = np.bincount(values, minlength=256)
        infinite = any(counts[byte] for byte in _INFINITE_BYTES.get(data_type, ()))
        return Elements(nan=any(counts[byte] for byte in _NAN_BYTES[data_type]), infinite=infinite)
    word, bits = _EXPONENTS[data_type]
    exponent = values.dtype.type(bits)
    special = values[(values & exponent) == exponent]
    rest = special & values.dtype.type((1 << (8 * np.dtype(word).itemsize - 1)) - 1)  # without the sign
    return Elements(nan=bool((rest != exponent).any()), infinite=bool((rest == exponent).any()))


def _all(parts: Iterable[Elements]) -> Elements:
    """What some parts of a tensor hold together."""
    whole = Elements()
    for part in parts:
        whole = Elements(
            whole.nan or part.nan, whole.infinite or part.infinite, whole.beyond_int32 or part.beyond_int32
        )
    return whole


def _varints(file: BinaryIO, content: Content, data_type: int) -> tuple[int, Elements]:
    """How many numbers there are, and what they say; -1 where they are cut off, so that the count will not fit."""
    count, parts, rest = 0, Elements(), np.empty(0, np.uint8)
    for piece in _pieces(file, content, np.dtype("u1")):
        data = np.concatenate((rest, piece))
        ends = np.flatnonzero(data < 0x80)
        rest = data[ends[-1] + 1 :] if ends.size else data
        if rest.size > LONGEST:
            return -1, Elements()
        count += ends.size
        parts = _all((parts, _numbers(data, ends, data_type)))
    return (-1, Elements()) if rest.size else (count, parts)


def _numbers(data: NDArray[np.uint8], ends: NDArray[np.intp], data_type: int) -> Elements:
    """What the varints say that end at `ends`."""
    integers = data_type in _INTEGERS
    if not ends.size or not (integers or data_type in _EXPONENTS or data_type in _NAN_BYTES):
        return Elements()
    starts = np.concatenate(([0], ends[:-1] + 1))
    lengths = ends - starts + 1
    least, most = int(lengths.min()), int(lengths.max())
    numbers: NDArray[Any] = np.zeros(len(ends), np.uint64 if integers else np.uint32)
    # Of a float of 16 bits the first three bytes are all; a number that is longer was made larger by its sign.
    for byte in range(min(most, LONGEST if integers else 3)):
        inside = slice(None) if byte < least else np.flatnonzero(lengths > byte)
        part = (data[starts[inside] + byte] & 0x7F).astype(numbers.dtype)
        numbers[inside] |= part << numbers.dtype.type(min(7 * byte, 63))
    if integers:
        return Elements(beyond_int32=beyond_int32(numbers.view(np.int64)))
    return _special(numbers.astype("u1" if data_type in _NAN_BYTES else "u2"), data_type)


def _pieces(file: BinaryIO, content: Content, dtype: np.dtype[Any]) -> Iterator[NDArray[Any]]:
    """The elements that lie whole within `content`; whether all of them do is seen from their number."""
    file.seek(content.start)
    left = content.length - content.length % dtype.itemsize
    while left:
        data = file.read(min(left, PIECE))
        if not data:
            return
        left -= len(data)
        yield np.frombuffer(data, dtype, count=len(data) // dtype.itemsize)
