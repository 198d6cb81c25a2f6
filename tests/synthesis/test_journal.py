import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from edgesynth.errors import RunError, StorageError
from edgesynth.synthesis.journal import FILE, VERSION, Journal
from tests.needs import need

WRITER = """
import sys
from pathlib import Path
from edgesynth.synthesis.journal import Journal

with Journal.create(Path(sys.argv[1])) as journal:
    for number in range(1_000_000):
        journal.put("fact", str(number), {"number": number, "text": "x" * (number % 7000)}, bytes(number % 5000))
        print(number, flush=True)
"""

STARTER = """
import os
import signal
import sys
from pathlib import Path
from edgesynth.synthesis.journal import Journal

rename = Path.rename

def killed(path, target):
    if sys.argv[2] == "right after":
        rename(path, target)
    os.kill(os.getpid(), signal.SIGKILL)

Path.rename = killed
Journal.create(Path(sys.argv[1]), {"data": "digits"})
"""


def one_line(error):
    assert len(str(error.value).splitlines()) == 1
    return str(error.value)


def test_what_was_put_can_be_read(tmp_path):
    value = {"text": "µ ≤ 1", "list": [1, 2.5, None, True], "nested": {"a": []}}
    with Journal.create(tmp_path / "deep" / "run") as journal:
        assert journal.get("score", "a") is None
        assert journal.data("score", "a") is None
        journal.put("score", "a", value)
        journal.put("model", "a", 0, b"\x00\xff")
        assert journal.get("score", "a") == value
        assert journal.data("score", "a") is None
        assert journal.get("model", "a") == 0
        assert journal.data("model", "a") == b"\x00\xff"


def test_the_question_is_in_it_from_the_first(tmp_path):
    with Journal.create(tmp_path / "run", {"data": "digits"}) as journal:
        assert journal.get("run", "question") == {"data": "digits"}
        with pytest.raises(ValueError, match="the journal has run 'question' already"):
            journal.put("run", "question", {})
        journal.put("score", "a", 1)
    with Journal.create(tmp_path / "other") as journal:
        assert journal.all("run") == []


@pytest.mark.parametrize("when", ["before the name appears", "right after"])
def test_a_start_that_is_killed_leaves_either_nothing_or_a_run_with_its_question(tmp_path, when):
    """The instant is the renaming: the process kills itself on this side of it or on the other."""
    run = tmp_path / "run"
    child = subprocess.run([sys.executable, "-c", STARTER, run, when], check=False)
    assert child.returncode == -signal.SIGKILL
    if when == "right after":
        with Journal.open(run) as journal:
            assert journal.get("run", "question") == {"data": "digits"}
    else:
        with pytest.raises(RunError, match="is no run directory"):
            Journal.open(run)
        with Journal.create(run, {"data": "fake"}) as journal:
            assert journal.get("run", "question") == {"data": "fake"}


def test_a_question_that_json_lacks_is_refused_and_leaves_nothing(tmp_path):
    with pytest.raises(ValueError, match="JSON compliant"):
        Journal.create(tmp_path / "run", {"seed": float("nan")})
    assert not (tmp_path / "run").exists()


def test_facts_come_in_the_order_in_which_they_were_recorded_also_later(tmp_path):
    keys = ["9", "10", "b", "a", "1"]
    with Journal.create(tmp_path) as journal:
        for key in keys[:3]:
            journal.put("score", key, key)
            journal.put("other", key, "not asked for")
    with Journal.open(tmp_path) as journal:
        for key in keys[3:]:
            journal.put("score", key, key)
        assert journal.all("score") == keys
        assert journal.all("nothing") == []


def test_a_fact_is_recorded_once(tmp_path):
    with Journal.create(tmp_path) as journal:
        journal.put("score", "a", 1)
        with pytest.raises(ValueError, match="the journal has score 'a' already"):
            journal.put("score", "a", 2)
        journal.put("other", "a", 2)
        assert journal.all("score") == [1]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {"deep": [-float("inf")]}])
def test_what_json_lacks_is_refused_and_leaves_nothing(tmp_path, value):
    with Journal.create(tmp_path) as journal:
        with pytest.raises(ValueError, match="JSON compliant"):
            journal.put("score", "a", value)
        assert journal.all("score") == []


@pytest.mark.parametrize("acknowledged", [1, 20, 60])
def test_a_kill_loses_nothing_that_was_acknowledged(tmp_path, acknowledged):
    run = tmp_path / "run"
    child = subprocess.Popen([sys.executable, "-c", WRITER, run], stdout=subprocess.PIPE, text=True)
    try:
        seen = [int(child.stdout.readline()) for _ in range(acknowledged)]
    finally:
        child.send_signal(signal.SIGKILL)
        seen += [int(line) for line in child.stdout.read().splitlines()]
        child.stdout.close()
        assert child.wait() == -signal.SIGKILL
    assert seen == list(range(len(seen)))
    with Journal.open(run) as journal:
        facts = journal.all("fact")
        # The last one may have been recorded without its word getting out.
        assert len(seen) <= len(facts) <= len(seen) + 1
        for number, fact in enumerate(facts):
            assert fact == {"number": number, "text": "x" * (number % 7000)}
            assert journal.data("fact", str(number)) == bytes(number % 5000)
        journal.put("fact", "next", 1)


@pytest.mark.parametrize("again", [Journal.open, Journal.create])
def test_one_process_at_a_time(tmp_path, again):
    with Journal.create(tmp_path):
        with pytest.raises(
            RunError, match="is in use by another edgesynth: wait for it, or give another --out"
        ) as error:
            again(tmp_path)
        assert str(tmp_path) in one_line(error)
    Journal.open(tmp_path).close()


def test_a_run_is_not_started_over(tmp_path):
    with Journal.create(tmp_path) as journal:
        journal.put("score", "a", 1)
    with pytest.raises(RunError, match="holds a run already: go on with --resume, or give another --out"):
        Journal.create(tmp_path)
    with Journal.open(tmp_path) as journal:
        assert journal.all("score") == [1]


def test_a_start_that_was_killed_half_way_is_no_run_and_can_be_started_again(tmp_path):
    (tmp_path / (FILE + ".new")).write_bytes(b"half")
    with pytest.raises(RunError, match="is no run directory"):
        Journal.open(tmp_path)
    with Journal.create(tmp_path) as journal:
        journal.put("score", "a", 1)
    assert not (tmp_path / (FILE + ".new")).exists()


@pytest.mark.parametrize("where", [".", "missing"])
def test_a_directory_without_a_journal_is_no_run(tmp_path, where):
    with pytest.raises(RunError, match=rf"is no run directory: it has no {FILE}"):
        Journal.open(tmp_path / where)
    assert list(tmp_path.iterdir()) == []


def test_a_run_cannot_be_made_where_a_file_is(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match=r"cannot make the run directory .*file: File exists"):
        Journal.create(tmp_path / "file")


def foreign(path):
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE facts (number INTEGER PRIMARY KEY, kind, key, value, data)")
    connection.close()


def of_another_version(path):
    Journal.create(path.parent).close()
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA journal_mode=DELETE")
    connection.execute(f"PRAGMA user_version={VERSION + 1}")
    connection.close()


def damaged(path):
    Journal.create(path.parent).close()
    path.write_bytes(path.read_bytes()[:100] + b"\xff" * 5000)


@pytest.mark.parametrize(
    ("make", "what"),
    [
        pytest.param(foreign, "is no edgesynth journal", id="foreign"),
        pytest.param(lambda path: path.write_bytes(b""), "is no edgesynth journal", id="empty"),
        pytest.param(lambda path: path.write_bytes(b"garbage " * 999), "is damaged or foreign", id="garbage"),
        pytest.param(damaged, "is damaged or foreign", id="damaged"),
        pytest.param(of_another_version, rf"another version of edgesynth \(journal {VERSION + 1}", id="version"),
    ],
)
def test_what_is_no_journal_of_ours_is_refused_and_not_touched(tmp_path, make, what):
    path = tmp_path / FILE
    make(path)
    before = path.read_bytes()
    for _ in range(2):  # the lock is let go as well
        with pytest.raises(RunError, match=what) as error:
            Journal.open(tmp_path)
        one_line(error)
    assert path.read_bytes() == before


def test_a_run_that_cannot_be_written_is_a_storage_error(tmp_path, monkeypatch):
    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    Journal.create(tmp_path).close()
    monkeypatch.setattr("os.open", refuse)
    with pytest.raises(StorageError, match=r"cannot write to .*: Permission denied"):
        Journal.open(tmp_path)


def fill(journal, kilobytes=64):
    """Put facts until the disk is full; how many fitted."""
    for number in range(10_000):
        try:
            journal.put("fact", str(number), number, bytes([number % 256]) * 1024 * kilobytes)
        except StorageError as error:
            message = str(error)
            assert len(message.splitlines()) == 1
            assert message.startswith(f"cannot write to {journal.run}: ")
            assert message.endswith("what was found out before is intact, free some space and use --resume")
            assert error.exit_code == 3
            return number
    raise AssertionError("the disk never filled")


def assert_intact(journal, count, kilobytes=64):
    assert journal.all("fact") == list(range(count))
    for number in range(count):
        assert journal.data("fact", str(number)) == bytes([number % 256]) * 1024 * kilobytes


def test_a_full_disk_keeps_what_was_recorded(tmp_path):
    """SQLite itself says that the disk is full: the file may not grow beyond 100 pages."""
    with Journal.create(tmp_path) as journal:
        journal._connection.execute("PRAGMA max_page_count=100")
        count = fill(journal)
        assert 1 <= count <= 6
        assert_intact(journal, count)
        journal._connection.execute("PRAGMA max_page_count=10000")
        journal.put("fact", str(count), count, bytes([count]) * 1024 * 64)
    with Journal.open(tmp_path) as journal:
        assert_intact(journal, count + 1)


class RefusingCommits:
    """A connection whose commits fail, as on a disk with errors."""

    def __init__(self, connection):
        self._connection = connection

    def execute(self, *arguments):
        return self._connection.execute(*arguments)

    def close(self):
        self._connection.close()

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        self._connection.rollback()
        if kind is None:
            raise sqlite3.OperationalError("disk I/O error")


def test_a_commit_that_fails_keeps_what_was_recorded(tmp_path):
    with Journal.create(tmp_path) as journal:
        journal.put("fact", "0", 0, b"\x00" * 1024)
        journal._connection = RefusingCommits(journal._connection)
        with pytest.raises(StorageError, match="disk I/O error; what was found out before is intact"):
            journal.put("fact", "1", 1)
    with Journal.open(tmp_path) as journal:
        assert_intact(journal, 1, kilobytes=1)


@pytest.fixture
def tiny_disk(tmp_path):
    """A file system of 1 MB."""
    path = tmp_path / "disk"
    path.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", path], capture_output=True, check=False)
    need(mounted.returncode == 0, "the right to mount a tmpfs")
    yield path
    subprocess.run(["umount", path], check=True)


def test_a_disk_that_is_really_full_keeps_what_was_recorded(tiny_disk):
    with Journal.create(tiny_disk / "run") as journal:
        count = fill(journal)
        assert 1 <= count <= 16
        assert_intact(journal, count)
    with Journal.open(tiny_disk / "run") as journal:
        assert_intact(journal, count)


def test_a_run_cannot_be_started_on_a_full_disk_and_can_once_there_is_room(tiny_disk):
    filler = Path(tiny_disk / "filler")
    (tiny_disk / "run").mkdir()
    with pytest.raises(OSError, match="No space left"), filler.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    with pytest.raises(StorageError):
        Journal.create(tiny_disk / "run")
    filler.unlink()
    with Journal.create(tiny_disk / "run") as journal:
        journal.put("fact", "0", 0)
