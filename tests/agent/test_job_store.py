"""Jobs on the disk: each ends once, none is lost, whatever happens to the agent."""

import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from edgesynth_agent.errors import NotFoundError, StorageError
from edgesynth_agent.job_store import JobStore

REQUEST = {"model": "a" * 64}


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "jobs.sqlite")


@pytest.fixture
def store(path):
    store = JobStore(path, keep=3)
    yield store
    store.close()


def test_a_job_from_begin_to_end(store, path):
    store.add("a", None, "ann", REQUEST)
    assert store.document("a")["status"] == "queued"
    store.progress("a", "measuring", 0.5)
    job = store.document("a")
    assert (job["status"], job["stage"], job["progress"], job["ended_unix_s"]) == ("running", "measuring", 0.5, None)
    store.end("a", "done", None, result={"x": 1.5}, trace_bytes=7)
    job = store.document("a")
    assert (job["status"], job["result"], job["error"], job["trace_bytes"]) == ("done", {"x": 1.5}, None, 7)
    assert job["ended_unix_s"] >= job["submitted_unix_s"]
    again = JobStore(path)
    assert again.recover() == []
    assert again.document("a") == job
    again.close()


def test_a_job_ends_once(store):
    store.add("a", None, "ann", REQUEST)
    store.end("a", "done", None, result={})
    for status in ("failed", "done"):
        with pytest.raises(ValueError, match="ended already"):
            store.end("a", status, "error")
    store.progress("a", "measuring", 0.1)
    assert store.document("a")["status"] == "done"
    assert [event["status"] for event in store.events("a", 0)] == ["queued", "done"]


def test_what_was_under_way_is_interrupted_at_the_next_start(path):
    first = JobStore(path)
    for name in ("queued", "running", "ended"):
        first.add(name, None, "ann", REQUEST)
    first.progress("running", "measuring", 0.5)
    seen = first.events("running", 0)[-1]["sequence"]
    first.end("ended", "cancelled", "request")
    first.close()
    second = JobStore(path)
    assert second.recover() == ["queued", "running"]
    for name in ("queued", "running"):
        job = second.document(name)
        assert (job["status"], job["reason"], job["result"]) == ("failed", "interrupted", None)
        assert set(job["error"]) == {"what", "where", "next"}
    # Who had seen events that a power cut took sees the end all the same.
    assert [event["status"] for event in second.events("running", seen + 500)] == ["failed"]
    assert second.recover() == []
    second.close()


def test_events_go_on_where_a_client_was(store):
    store.add("a", None, "ann", REQUEST)
    for index in range(4):
        store.progress("a", "measuring", index / 4)
    all_events = store.events("a", 0)
    numbers = [event["sequence"] for event in all_events]
    assert numbers == sorted(set(numbers))
    assert len(numbers) == 5
    assert store.events("a", numbers[2]) == all_events[3:]
    assert store.events("a", numbers[-1]) == []


def test_a_key_finds_its_job_and_no_two_have_it(store):
    store.add("a", "first", "ann", REQUEST)
    assert store.with_key("first")["id"] == "a"
    assert store.with_key("second") is None
    with pytest.raises(StorageError):
        store.add("b", "first", "ann", REQUEST)
    with pytest.raises(NotFoundError):
        store.document("b")


def test_old_jobs_are_forgotten_and_running_ones_never(store):
    store.add("runs", None, "ann", REQUEST)
    for index in range(5):
        store.add(str(index), None, "ann", REQUEST)
        store.end(str(index), "done", None, result={"large": "document"})
    assert store.forget_old() == ["1", "0"]
    assert [job["id"] for job in store.latest()] == ["4", "3", "2", "runs"]
    assert all(job["result"] is None for job in store.latest())
    assert store.counts() == {"queued": 1, "running": 0, "done": 3, "failed": 0, "cancelled": 0}
    with pytest.raises(NotFoundError):
        store.events("0", 0)


def test_a_trace_that_is_dropped_is_told(store):
    store.add("a", None, "ann", REQUEST)
    store.end("a", "done", None, result={}, trace_bytes=9)
    assert store.with_trace() == ["a"]
    store.drop_trace("a")
    assert store.with_trace() == []
    assert store.document("a")["trace_bytes"] is None


def test_damaged_files_are_moved_aside_and_never_fill_the_disk(tmp_path, path):
    for number in range(12):
        Path(path).write_bytes(b"no database %d" % number * 1000)
        Path(path + "-wal").write_bytes(b"its log %d" % number)
        store = JobStore(path)
        assert store.moved == f"{path}.damaged-{min(number, 8) + 1}"
        assert store.damaged[-1] == store.moved
        assert Path(store.moved).read_bytes().startswith(b"no database %d" % number)
        assert store.counts()["done"] == 0
        store.close()
    assert len(list(tmp_path.iterdir())) <= 1 + 2 * 9 + 2


def test_one_that_is_sound_stays(path):
    store = JobStore(path)
    assert (store.moved, store.damaged) == (None, [])
    store.close()


def test_a_newer_file_and_a_folder_that_is_not_there_are_told(tmp_path, path):
    newer = sqlite3.connect(path)
    newer.execute("PRAGMA user_version = 99")
    newer.close()
    with pytest.raises(StorageError, match="newer agent"):
        JobStore(path)
    with pytest.raises(StorageError):
        JobStore(str(tmp_path / "no" / "folder"))


def test_a_full_disk_leaves_what_was_there(store):
    store.add("a", None, "ann", REQUEST)
    pages = store._database.execute("PRAGMA page_count").fetchone()[0]
    store._database.execute(f"PRAGMA max_page_count = {pages}")
    large = {"x": "y" * 1_000_000}
    with pytest.raises(StorageError, match="full"):
        store.end("a", "done", None, result=large)
    assert store.document("a")["status"] == "queued"
    store._database.execute("PRAGMA max_page_count = 1000000")
    store.end("a", "done", None, result=large)
    assert store.document("a")["result"] == large


# Adds and ends jobs for ever, and says so after each; the test kills it.
BUSY = """
import sys
from edgesynth_agent.job_store import JobStore
store = JobStore(sys.argv[1])
store.recover()
for index in range(10**6):
    name = "{}-{}".format(sys.argv[2], index)
    store.add(name, None, "ann", {})
    print("added", name, flush=True)
    store.progress(name, "measuring", 0.5)
    store.end(name, "done", None, result={"name": name})
    print("ended", name, flush=True)
"""


def test_killed_at_any_instant_nothing_is_lost_or_half_there(path):
    said = []
    for turn in range(int(os.environ.get("EDGESYNTH_STORE_KILLS", "3"))):
        with subprocess.Popen([sys.executable, "-c", BUSY, path, str(turn)], stdout=subprocess.PIPE) as process:
            for _ in range(10 + 7 * turn):
                said.append(process.stdout.readline())
            process.send_signal(signal.SIGKILL)
            said += process.stdout.readlines()
    store = JobStore(path, keep=10**6)
    store.recover()
    for line in said:
        word, name = line.decode().split()
        job = store.document(name)
        assert job["status"] in ("done", "failed")
        if word == "ended":
            assert job["result"] == {"name": name}
        assert [event["status"] in ("done", "failed") for event in store.events(name, 0)].count(True) == 1
    store.close()
