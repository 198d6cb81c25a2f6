"""Looking at the elements of tensors where they lie in a file, a piece at a time: how many, any NaN, any infinity."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto, numpy_helper

from edgesynth_exporters.errors import ModelFileError
from edgesynth_exporters.onnx_wire import Content

__all__ = ["Elements", "beyond_int32", "element_bits", "examine_elements", "holds_nan"]

PIECE = 1 << 20  # bytes read at a time

_BITS = {
    1: ("BOOL", "UINT8", "INT8"),
    2: ("UINT16", "INT16", "FLOAT16", "BFLOAT16"),
    4: ("FLOAT", "INT32", "UINT32"),
    8: ("DOUBLE", "INT64", "UINT64", "COMPLEX64"),
    16: ("COMPLEX128",),
}
_BITS_OF_ONE = {getattr(TensorProto, name): 8 * size for size, names in _BITS.items() for name in names}
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
    if any(dim < 0 for dim in tensor.dims):
        raise ModelFileError(f"{where} has a negative dimension")
    expected, bits = prod(tensor.dims), element_bits(tensor.data_type)
    if bits is None:
        raise ModelFileError(f"{where} is of type {tensor.data_type}, which is no type of weights")
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
        elements = Elements(
            elements.nan or part.nan,
            elements.infinite or part.infinite,
            elements.beyond_int32 or part.beyond_int32,
        )
    if found != expected and not (bits < 8 and expected <= found < expected + 8 // bits * len(contents)):
        raise ModelFileError(f"{where} holds {found:,} elements where its shape needs {expected:,}; is the file whole?")
    return elements


def holds_nan(tensor: TensorProto, where: str) -> bool:
    """Whether a tensor that was parsed with its elements has a NaN among them.

    Raises ModelFileError where the elements do not fill its dimensions.
    """
    if tensor.data_type == TensorProto.STRING:
        return False
    if any(dim < 0 for dim in tensor.dims):
        raise ModelFileError(f"{where} has a negative dimension")
    values = _array(tensor, where)
    if tensor.data_type not in _EXPONENTS:
        return False
    numbers = values if values.dtype.kind in "fc" else values.astype(np.float32)  # BFLOAT16 is none of numpy's own
    return bool(np.isnan(numbers).any())


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
    layout = _EXPONENTS.get(data_type)
    if layout is None:
        return Elements()
    word, exponent = layout
    nan = infinite = False
    sign = 1 << (8 * np.dtype(word).itemsize - 1)
    for values in _pieces(file, content, np.dtype(word)):
        special = values[(values & exponent) == exponent]
        if special.size:
            rest = special & (sign - 1)  # without the sign
            infinite = infinite or bool((rest == exponent).any())
            nan = nan or bool((rest != exponent).any())
    return Elements(nan=nan, infinite=infinite)


def _varints(file: BinaryIO, content: Content, data_type: int) -> tuple[int, Elements]:
    """How many numbers there are, and what they say. A large tensor is rarely written so: it is read as a whole."""
    file.seek(content.start)
    data = np.frombuffer(file.read(content.length), np.uint8)
    ends = np.flatnonzero(data < 0x80)
    if data.size and (not ends.size or ends[-1] != data.size - 1):
        return -1, Elements()  # cut off within a number: the count will not fit
    if data_type not in _INTEGERS and data_type not in _EXPONENTS:
        return len(ends), Elements()
    numbers = np.zeros(len(ends), np.uint64)
    starts = np.concatenate(([0], ends[:-1] + 1)) if len(ends) else ends
    for byte in range(10):
        at = starts + byte
        inside = at <= ends
        numbers[inside] |= (data[at[inside]].astype(np.uint64) & np.uint64(0x7F)) << np.uint64(min(7 * byte, 63))
    if data_type in _INTEGERS:
        signed = numbers.view(np.int64)
        return len(ends), Elements(beyond_int32=beyond_int32(signed))
    exponent = np.uint64(_EXPONENTS[data_type][1])  # half floats, each in a number of its own
    special = numbers[(numbers & exponent) == exponent] & np.uint64(0x7FFF)
    return len(ends), Elements(nan=bool((special != exponent).any()), infinite=bool((special == exponent).any()))


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
