"""The IDX format of the MNIST family: big-endian header, then the bytes of an array.

Source: the description by LeCun, Cortes and Burges on the MNIST page. Magic number 0, 0, type, number of
dimensions; then each dimension as an unsigned 32-bit number; then the data. Only the type 0x08, unsigned
byte, is in use.
"""

import gzip
import hashlib
import math
import struct
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgesynth.errors import DataError

__all__ = ["parse_idx", "read_idx_gz"]

_UNSIGNED_BYTE = 0x08


def parse_idx(data: bytes, where: str) -> NDArray[np.uint8]:
    """The array in the bytes of an IDX file; read-only, of the shape the header says.

    Raises DataError, naming `where` the bytes come from, unless they are a whole IDX file of unsigned bytes,
    with nothing after it.
    """
    if len(data) < 4 or data[:2] != b"\0\0":
        raise DataError(f"{where} is not an IDX file: it starts with {data[:4].hex(' ') or 'nothing'}")
    kind, dimensions = data[2], data[3]
    if kind != _UNSIGNED_BYTE:
        raise DataError(f"{where} is an IDX file of type 0x{kind:02x}, and only 0x08 (unsigned byte) is known")
    start = 4 + 4 * dimensions
    if len(data) < start:
        raise DataError(f"{where} is cut off inside its header")
    shape = struct.unpack(f">{dimensions}I", data[4:start])
    if len(data) - start != math.prod(shape):
        raise DataError(
            f"{where} holds {len(data) - start} bytes of data, but its header says {shape}, "
            f"{math.prod(shape)} bytes: it is damaged"
        )
    return np.frombuffer(data, dtype=np.uint8, offset=start).reshape(shape)


def read_idx_gz(path: Path, sha256: str | None = None) -> NDArray[np.uint8]:
    """The array in a gzip-compressed IDX file. `sha256`, if given, is that of the decompressed bytes.

    Raises DataError if the file cannot be read, is damaged, or is another than the digest says.
    """
    try:
        with gzip.open(path) as file:
            data = file.read()
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} cannot be read ({error}): delete or replace it") from error
    if sha256 is not None and (found := hashlib.sha256(data).hexdigest()) != sha256:
        raise DataError(
            f"{path} is not the published file: its content has SHA-256 {found}, but {sha256} is expected; "
            "delete or replace it"
        )
    return parse_idx(data, str(path))
