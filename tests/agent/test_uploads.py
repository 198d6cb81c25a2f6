"""Uploads that go on where they ended, and a store that makes room for them."""

import errno
import hashlib
import io
import os

import pytest
from edgesynth_agent.errors import BusyError, NotFoundError, RefusedError, RequestError, StorageError, TooLargeError
from edgesynth_agent.requestio import parse_content_range
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.agent.models import save_conv
from tests.agent.stores import model_store


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    return [save_conv(folder / f"{seed}.onnx", seed=seed).read_bytes() for seed in range(4)]


@pytest.fixture
def root(tmp_path):
    return tmp_path / "store"


@pytest.fixture
def store(root):
    return model_store(root)


def digest_of(data):
    return hashlib.sha256(data).hexdigest()


def put(store, data):
    store.put(digest_of(data), io.BytesIO(data), len(data))
    return digest_of(data)


def used_at(root, digest, time_s):
    os.utime(root / f"{digest}.onnx", (time_s, time_s))


class Broken:
    """A body whose sender goes away after some bytes."""

    def __init__(self, data):
        self._stream = io.BytesIO(data)

    def read(self, size):
        data = self._stream.read(min(size, 100))
        if not data:
            raise TimeoutError("timed out")
        return data


class TestParts:
    @settings(max_examples=30, deadline=None)
    @given(cuts=st.lists(st.integers(1, 1_000), max_size=5))
    def test_any_parts_make_the_whole(self, models, tmp_path_factory, cuts):
        data = models[0]
        store = model_store(tmp_path_factory.mktemp("store"))
        edges = [0, *sorted({cut for cut in cuts if cut < len(data)}), len(data)]
        for first, end in zip(edges, edges[1:]):
            assert digest_of(data) not in store
            assert store.offset(digest_of(data)) == first
            part = io.BytesIO(data[first:end])
            whole = store.put_part(digest_of(data), part, first, end - first, len(data))
            assert whole == (end == len(data))
        assert store.bytes_of(digest_of(data)) == len(data)

    def test_what_came_before_the_line_broke_is_kept_also_by_the_next_agent(self, store, root, models):
        data = models[0]
        with pytest.raises(TimeoutError):
            store.put_part(digest_of(data), Broken(data[:300]), 0, len(data), len(data))
        again = model_store(root)
        assert again.offset(digest_of(data)) == 300
        assert again.put_part(digest_of(data), io.BytesIO(data[300:]), 300, len(data) - 300, len(data))

    def test_of_an_upload_in_one_piece_nothing_is_kept(self, store, root, models):
        with pytest.raises(TimeoutError):
            store.put(digest_of(models[0]), Broken(models[0][:300]), len(models[0]))
        assert not list(root.iterdir())

    def test_a_part_that_does_not_fit_on_is_refused(self, store, models):
        data = models[0]
        store.put_part(digest_of(data), io.BytesIO(data[:300]), 0, 300, len(data))
        with pytest.raises(BusyError, match="300 bytes of it are here, not 200"):
            store.put_part(digest_of(data), io.BytesIO(data[200:]), 200, len(data) - 200, len(data))
        assert store.offset(digest_of(data)) == 300

    def test_byte_0_begins_anew(self, store, models):
        data = models[0]
        store.put_part(digest_of(data), io.BytesIO(b"x" * 300), 0, 300, len(data))
        assert store.put_part(digest_of(data), io.BytesIO(data), 0, len(data), len(data))

    def test_parts_that_make_something_else_leave_nothing(self, store, root, models):
        data = models[0]
        store.put_part(digest_of(data), io.BytesIO(b"x" * 300), 0, 300, len(data))
        with pytest.raises(RefusedError, match="SHA-256"):
            store.put_part(digest_of(data), io.BytesIO(data[300:]), 300, len(data) - 300, len(data))
        assert not list(root.iterdir())

    def test_the_total_is_bounded_from_the_first_part(self, root):
        with pytest.raises(TooLargeError):
            model_store(root, max_bytes=1000).put_part("0" * 64, io.BytesIO(b"x"), 0, 1, 1001)

    def test_two_uploads_of_one_model_at_once(self, store, models):
        class Nested:
            def read(self, size):
                put(store, models[0])

        with pytest.raises(BusyError, match="under way"):
            store.put_part(digest_of(models[0]), Nested(), 0, 1, len(models[0]))


@pytest.mark.parametrize("text", ["bytes 0-9/10", "bytes 5-14/20"])
def test_a_range_is_read(text):
    found = parse_content_range(text, 10)
    assert text == f"bytes {found.first}-{found.first + 9}/{found.total}"


@pytest.mark.parametrize(
    "text", ["", "bytes 0-9/*", "bytes */10", "bytes 0-8/10", "bytes 9-0/10", "bytes 1-10/10", "items 0-9/10", "0-9/10"]
)
def test_what_is_no_range_of_the_body_is_refused(text):
    with pytest.raises(RequestError):
        parse_content_range(text, 10)


class TestRoom:
    def bounded(self, root, models, count):
        return model_store(root, max_store=sum(map(len, models[:count])))

    def test_the_longest_unused_goes_first(self, root, models):
        store = self.bounded(root, models, 3)
        first, second, third = [put(store, data) for data in models[:3]]
        for time_s, digest in enumerate((second, first, third), start=1000):
            used_at(root, digest, time_s)
        fourth = put(store, models[3])
        assert [digest in store for digest in (first, second, third, fourth)] == [True, False, True, True]

    def test_use_counts_and_what_is_in_use_stays(self, root, models):
        store = self.bounded(root, models, 2)
        first, second = [put(store, data) for data in models[:2]]
        used_at(root, first, 1000)
        store.pin(first)
        third = put(store, models[2])
        assert [digest in store for digest in (first, second, third)] == [True, False, True]
        store.pin(third)
        with pytest.raises(StorageError, match="in use"):
            put(store, models[3])
        store.unpin(first)
        put(store, models[3])
        assert first not in store
        assert third in store

    def test_beginnings_that_nobody_goes_on_with_make_room_too(self, root, models):
        store = self.bounded(root, models, 1)
        data = models[0]
        store.put_part(digest_of(data), io.BytesIO(data[:300]), 0, 300, len(data))
        put(store, models[1])
        assert store.offset(digest_of(data)) == 0

    def test_what_is_announced_counts_before_it_is_here(self, root, models):
        """Two at once, each of which would find room for itself."""
        store = self.bounded(root, models, 1)
        first, second = models[:2]

        class Nested:
            def read(self, size):
                put(store, second)

        with pytest.raises(StorageError, match="on its way"):
            store.put_part(digest_of(first), Nested(), 0, len(first), len(first))
        assert digest_of(second) not in store
        put(store, second)

    def test_so_it_does_on_the_disk(self, store, models, monkeypatch):
        first, second = models[:2]
        real = os.statvfs

        def tight(path):
            status = real(path)
            free = 64 * 1024 * 1024 + len(first) + len(second) // 2
            return os.statvfs_result([1, 1, *status[2:4], free, *status[5:10]])

        class Nested:
            def read(self, size):
                put(store, second)

        monkeypatch.setattr(os, "statvfs", tight)
        with pytest.raises(StorageError, match="on the disk"):
            store.put_part(digest_of(first), Nested(), 0, len(first), len(first))
        put(store, second)

    def test_what_is_not_here_cannot_be_used(self, store):
        with pytest.raises(NotFoundError):
            store.pin("0" * 64)

    def test_a_disk_with_no_room_refuses_before_a_byte_is_written(self, store, root, models, monkeypatch):
        real = os.statvfs

        def full(path):
            status = real(path)
            return os.statvfs_result([*status[:4], 1, *status[5:10]])

        monkeypatch.setattr(os, "statvfs", full)
        with pytest.raises(StorageError, match="no room"):
            put(store, models[0])
        assert not list(root.iterdir())

    def test_a_disk_that_fills_up_is_named_and_freed(self, store, root, models, monkeypatch):
        def full(handle, data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        monkeypatch.setattr(os, "write", full)
        with pytest.raises(StorageError, match="No space left"):
            store.put_part(digest_of(models[0]), io.BytesIO(models[0]), 0, len(models[0]), len(models[0]))
        monkeypatch.undo()
        assert not list(root.iterdir())
