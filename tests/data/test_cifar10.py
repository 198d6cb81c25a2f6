import io
import tarfile
from pathlib import Path

import numpy as np
import pytest

from edgesynth.data import DataSource
from edgesynth.data.cifar10 import ARCHIVE, FILES, FOLDER, RECORD, Cifar10
from edgesynth.data.download import Remote
from edgesynth.errors import DataError
from tests.data.contract import DataSourceContract
from tests.data.files import pack_cifar10, remote, write_cifar10


class TestCifar10(DataSourceContract):
    @pytest.fixture
    def source(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DataSource:
        write_cifar10(tmp_path / "data" / FOLDER)
        monkeypatch.setenv("EDGESYNTH_DATA", str(tmp_path / "data"))
        return Cifar10(records=40)

    def test_channels_and_labels_come_out_as_they_went_in(self, source: DataSource, tmp_path: Path) -> None:
        data = source.load()
        assert (len(data.train), len(data.val), len(data.test)) == (180, 20, 40)
        assert data.input_shape == (3, 32, 32)
        assert data.classes[0] == "airplane"
        assert data.classes[9] == "truck"
        record = (tmp_path / "data" / FOLDER / "test_batch.bin").read_bytes()[RECORD : 2 * RECORD]
        green = np.frombuffer(record[1 + 1024 : 1 + 2048], dtype=np.uint8).reshape(32, 32)
        pixels = (data.test.images[1, 1].numpy() * data.std[1] + data.mean[1]) * 255
        assert data.test.targets[1] == record[0]
        assert np.array_equal(pixels.round(), green)


@pytest.fixture
def published(tmp_path: Path) -> Remote:
    write_cifar10(tmp_path / "original")
    return remote(pack_cifar10(tmp_path / "original", tmp_path / "archive.tar.gz"))


def test_the_archive_is_fetched_and_unpacked(published: Remote, tmp_path: Path) -> None:
    source = Cifar10(published, records=40)
    assert not source.availability().ready
    folder = source.fetch()
    assert folder == tmp_path / "cache" / "edgesynth" / "data" / FOLDER
    assert sorted(path.name for path in folder.iterdir()) == sorted(FILES)
    assert list(folder.parent.iterdir()) == [folder]
    assert source.fetch() == folder
    source.load()


def test_an_archive_that_is_another_one_leaves_nothing_behind(published: Remote, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is expected"):
        Cifar10(Remote(published.url, "0" * 64, published.size), records=40).fetch()
    assert list((tmp_path / "cache" / "edgesynth" / "data").iterdir()) == []


def hostile(tmp_path: Path, name: str, kind: bytes, size: int = 0) -> Remote:
    """An archive of the right files, but for one."""
    write_cifar10(tmp_path / "original")
    path = tmp_path / "archive.tar.gz"
    with tarfile.open(path, "w:gz") as tar:
        for each in FILES:
            if each != name:
                tar.add(tmp_path / "original" / each, f"{FOLDER}/{each}")
        member = tarfile.TarInfo(f"{FOLDER}/{name}")
        member.type, member.size, member.linkname = kind, size, "/etc/passwd"
        tar.addfile(member, io.BytesIO(bytes(size)))
        escape = tarfile.TarInfo("../../escaped")
        escape.size = 1
        tar.addfile(escape, io.BytesIO(b"x"))
    return remote(path)


@pytest.mark.parametrize(
    ("kind", "size", "message"),
    [
        (tarfile.SYMTYPE, 0, "no plain file"),
        (tarfile.FIFOTYPE, 0, "no plain file"),
        (tarfile.REGTYPE, 41 * RECORD, "too many"),
    ],
)
def test_a_hostile_member_is_refused(tmp_path: Path, kind: bytes, size: int, message: str) -> None:
    with pytest.raises(DataError, match=message):
        Cifar10(hostile(tmp_path, "test_batch.bin", kind, size), records=40).fetch()


def test_nothing_else_in_the_archive_is_written(tmp_path: Path) -> None:
    folder = Cifar10(hostile(tmp_path, "readme.html", tarfile.REGTYPE, 10), records=40).fetch()
    assert sorted(path.name for path in folder.iterdir()) == sorted(FILES)
    assert not list(tmp_path.rglob("escaped"))


@pytest.mark.parametrize("content", [b"", b"no archive", None])
def test_an_archive_that_is_none(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "archive.tar.gz"
    if content is None:
        (tmp_path / "empty").mkdir()
        pack_cifar10(tmp_path / "empty", path)
    else:
        path.write_bytes(content)
    with pytest.raises(DataError, match=r"cannot be unpacked|not the expected archive"):
        Cifar10(remote(path), records=40).fetch()


def test_off_line_it_says_what_else_to_do() -> None:
    with pytest.raises(DataError, match=r"http://127\.0\.0\.1:1/x is out of reach.*EDGESYNTH_DATA"):
        Cifar10(Remote("http://127.0.0.1:1/x", "0" * 64, 1)).fetch()


def test_where_it_is_missing_it_says_how_to_get_it() -> None:
    with pytest.raises(DataError, match="edgesynth data fetch cifar10") as caught:
        Cifar10().load()
    assert ARCHIVE.url in str(caught.value)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("data_batch_3.bin", b"", "has 0 bytes"),
        ("data_batch_3.bin", bytes(40 * RECORD - 1), "it is damaged"),
        ("test_batch.bin", b"\xff" * (40 * RECORD), "label 255"),
        ("batches.meta.txt", b"cat\ndog\n", "2 class names"),
        ("batches.meta.txt", b"\xff\xfe", "cannot be read"),
    ],
)
def test_a_damaged_file_is_named(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    folder = tmp_path / "cache" / "edgesynth" / "data" / FOLDER
    write_cifar10(folder)
    (folder / name).write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        Cifar10(records=40).load()
    assert str(folder / name) in str(caught.value)
