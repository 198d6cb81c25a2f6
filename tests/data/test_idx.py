import gzip
import hashlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgesynth.data.idx import parse_idx, read_idx_gz
from edgesynth.errors import DataError
from tests.data.files import idx_bytes

shapes = st.lists(st.integers(0, 5), min_size=0, max_size=4).map(tuple)


@given(shapes, st.integers(0, 2**32))
@settings(deadline=None)
def test_what_is_written_is_read(shape: tuple[int, ...], seed: int) -> None:
    array = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    read = parse_idx(idx_bytes(np.asarray(array)), "here")
    assert read.shape == shape
    assert np.array_equal(read, array)


@given(shapes, st.data())
@settings(deadline=None)
def test_any_part_of_a_file_is_refused_and_so_is_more(shape: tuple[int, ...], data: st.DataObject) -> None:
    whole = idx_bytes(np.zeros(shape, dtype=np.uint8))
    length = data.draw(st.integers(0, len(whole) - 1))
    for wrong in whole[:length], whole + b"\0":
        with pytest.raises(DataError, match="here"):
            parse_idx(wrong, "here")


@given(st.binary(max_size=64))
@settings(deadline=None)
def test_no_bytes_make_it_fail_in_another_way(data: bytes) -> None:
    try:
        parse_idx(data, "here")
    except DataError as error:
        assert "here" in str(error)


def test_a_foreign_type_is_named() -> None:
    with pytest.raises(DataError, match="type 0x0d"):
        parse_idx(b"\0\0\x0d\x01\0\0\0\0", "here")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "numbers.gz"
    path.write_bytes(gzip.compress(idx_bytes(np.arange(200, dtype=np.uint8))))
    return path


def test_the_digest_is_of_the_content_however_it_was_compressed(file: Path) -> None:
    content = gzip.decompress(file.read_bytes())
    file.write_bytes(gzip.compress(content, compresslevel=0))
    assert len(read_idx_gz(file, hashlib.sha256(content).hexdigest())) == 200


def test_another_content_is_refused(file: Path) -> None:
    with pytest.raises(DataError, match=r"numbers\.gz is not the published file"):
        read_idx_gz(file, "0" * 64)


@pytest.mark.parametrize("damage", ["empty", "truncated", "flipped", "not gzip", "missing"])
def test_a_damaged_file_is_named(file: Path, damage: str) -> None:
    data = file.read_bytes()
    match damage:
        case "empty":
            file.write_bytes(b"")
        case "truncated":
            file.write_bytes(data[: len(data) // 2])
        case "flipped":
            file.write_bytes(data[:30] + bytes([data[30] ^ 255]) + data[31:])
        case "not gzip":
            file.write_bytes(b"<html>no such file</html>")
        case "missing":
            file.unlink()
    with pytest.raises(DataError, match=r"numbers\.gz"):
        read_idx_gz(file)
