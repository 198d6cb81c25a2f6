import hashlib
import os
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from edgesynth.data.download import Remote, download, file_at
from edgesynth.errors import DataError, StorageError

BODY = bytes(range(256)) * 1000
SHA256 = hashlib.sha256(BODY).hexdigest()


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path == "/missing":
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(BODY)))
        self.end_headers()
        if self.path == "/short":
            self.wfile.write(BODY[:1000])
        elif self.path == "/silent":
            self.server.released.wait(5)
        else:
            self.wfile.write(BODY)

    def log_message(self, *args: object) -> None:
        """Quiet."""


class Server(ThreadingHTTPServer):
    released = threading.Event()


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    server = Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.released.set()
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_file_arrives_whole_with_its_progress(address: str, tmp_path: Path) -> None:
    target = tmp_path / "new" / "folder" / "file"
    seen: list[tuple[str, int, int]] = []
    download(Remote(f"{address}/file", SHA256, len(BODY)), target, lambda *args: seen.append(args))
    assert target.read_bytes() == BODY
    assert list(target.parent.iterdir()) == [target]
    assert [done for _, done, _ in seen] == sorted({done for _, done, _ in seen})
    assert seen[-1] == ("file", len(BODY), len(BODY))
    assert target.stat().st_mode & 0o777 == 0o644


def test_a_file_that_is_there_is_replaced(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(BODY)
    target.write_text("old")
    download(Remote(source.as_uri(), SHA256, len(BODY)), target)
    assert target.read_bytes() == BODY


@pytest.mark.parametrize(
    ("page", "sha256", "size", "message"),
    [
        ("missing", SHA256, len(BODY), "answered 404"),
        ("file", "0" * 64, len(BODY), "is expected"),
        ("file", SHA256, len(BODY) - 1, "longer than"),
        ("file", SHA256, len(BODY) + 1, "ended after"),
        ("short", SHA256, len(BODY), "ended after 1000 of|broke off"),
        ("silent", SHA256, len(BODY), "broke off"),
    ],
    ids=["missing", "another file", "too long", "too short", "broken off", "silent"],
)
def test_a_wrong_answer_leaves_nothing_behind(
    address: str, tmp_path: Path, page: str, sha256: str, size: int, message: str
) -> None:
    url = f"{address}/{page}"
    with pytest.raises(DataError, match=message) as caught:
        download(Remote(url, sha256, size), tmp_path / "file", timeout_s=0.2 if page == "silent" else 5)
    assert url in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_answer_keeps_the_old_file(address: str, tmp_path: Path) -> None:
    target = tmp_path / "file"
    target.write_text("old")
    with pytest.raises(DataError):
        download(Remote(f"{address}/file", "0" * 64, len(BODY)), target)
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_no_server(tmp_path: Path) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # bound but not listening: nobody else can have the port, nobody answers
        url = f"http://127.0.0.1:{closed.getsockname()[1]}/file"
        with pytest.raises(DataError, match="is out of reach"):
            download(Remote(url, SHA256, len(BODY)), tmp_path / "file")
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_download_leaves_nothing_behind(address: str, tmp_path: Path) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        download(Remote(f"{address}/file", SHA256, len(BODY)), tmp_path / "file", interrupt)
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_refuses_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("a file where a folder should be")
    with pytest.raises(StorageError, match="cannot write"), file_at(tmp_path / "file" / "target"):
        pass


def test_a_full_disk_is_a_storage_error(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="No space left"), file_at(tmp_path / "target"):
        raise OSError(28, os.strerror(28))
    assert list(tmp_path.iterdir()) == []
