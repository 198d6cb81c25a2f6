"""A run that is killed again and again ends with what an undisturbed one ends with."""

import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing

import pytest

SYNTH = [sys.executable, "-m", "edgesynth", "synth"]
QUESTION = [
    "--data",
    "digits",
    "--prototype",
    "resnet8",
    "--target",
    "tx2-sim",
    "--count",
    "2",
    "--epochs",
    "4",
    "--cycles",
    "4",
]
REQUIRE = ["--require", "macs<=prototype/4", "--require", "accuracy>=prototype-0.2"]
PATIENCE_S = 240

SMALL = ["--data", "digits", "--prototype", "resnet8", "--target", "tx2-sim", "--count", "2", "--epochs", "3"]
SMALL += ["--cycles", "2", "--require", "macs<=prototype/4", "--require", "accuracy>=prototype-0.3"]
KILLS = 10


def facts(run, kind):
    """How many facts of a kind ("%": any) the journal holds, read while another process writes."""
    try:
        with closing(sqlite3.connect(f"file:{run / 'journal.sqlite'}?mode=ro", uri=True)) as connection:
            return connection.execute("SELECT count(*) FROM facts WHERE kind LIKE ?", (kind,)).fetchone()[0]
    except sqlite3.OperationalError:
        return 0


def run_until(arguments, condition, stop):
    """Start edgesynth, send it `stop` as soon as the condition holds; its exit code."""
    process = subprocess.Popen(SYNTH + arguments, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + PATIENCE_S
    while not condition() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    assert process.poll() is None, process.stderr.read()
    os.kill(process.pid, stop)
    _, errors = process.communicate(timeout=60)
    assert "Traceback" not in errors
    return process.returncode


def outcome(run):
    """results.json without what a clock had a part in."""
    results = json.loads((run / "results.json").read_text())
    for record in (results["prototype"], *results["networks"]):
        record["measurements"] = [m["target"] for m in record["measurements"]]
    return results


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    run = tmp_path_factory.mktemp("straight") / "run"
    done = subprocess.run(
        [*SYNTH, *QUESTION, *REQUIRE, "--out", run, "--json"], capture_output=True, text=True, check=False
    )
    assert done.returncode in (0, 1), done.stderr
    assert json.loads(done.stdout) == json.loads((run / "results.json").read_text())
    return outcome(run)


def test_killed_at_every_stage_and_resumed(undisturbed, tmp_path):
    run = tmp_path / "run"
    resume = ["--resume", "--out", str(run)]
    checkpoint = run / "checkpoints" / "prototype.safetensors"
    first = [*QUESTION, *REQUIRE, "--out", str(run)]
    assert run_until(first, checkpoint.exists, signal.SIGKILL) == -signal.SIGKILL
    assert run_until(resume, lambda: facts(run, "score") >= 5, signal.SIGKILL) == -signal.SIGKILL
    assert run_until(resume, lambda: facts(run, "cycle") >= 1, signal.SIGINT) == 130
    assert run_until(resume, lambda: facts(run, "network") >= 1, signal.SIGTERM) == 130
    done = subprocess.run([*SYNTH, *resume], capture_output=True, text=True, check=False)
    assert done.returncode in (0, 1), done.stderr
    assert "trained before" in done.stderr
    assert outcome(run) == undisturbed


def test_the_same_seed_gives_the_same_results(undisturbed, tmp_path):
    run = tmp_path / "again"
    subprocess.run([*SYNTH, *QUESTION, *REQUIRE, "--out", run], capture_output=True, check=False)
    assert outcome(run) == undisturbed


def start(arguments, log):
    """Start edgesynth on one thread and wait until it has said something, when all is loaded: the process, and when."""
    with log.open("wb") as errors:
        process = subprocess.Popen(
            [*SYNTH, *map(str, arguments)],
            stdout=subprocess.DEVNULL,
            stderr=errors,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
    deadline = time.monotonic() + PATIENCE_S
    while log.stat().st_size == 0 and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
    return process, time.monotonic()


def files(run):
    """The bytes of everything that was learned, by its place in the run."""
    return {
        str(path.relative_to(run)): path.read_bytes()
        for pattern in ("*.safetensors", "prototype/weights.safetensors", "networks/*/weights.safetensors")
        for path in run.glob(pattern)
    } | {str(path.relative_to(run)): path.read_bytes() for path in run.glob("networks/*/genome.json")}


def test_killed_at_ten_random_instants_and_resumed(tmp_path):
    """Nobody chose these moments: some time after some fact has been recorded, from the first to the last."""
    log, straight, run = tmp_path / "log", tmp_path / "straight", tmp_path / "run"
    process, began = start([*SMALL, "--out", straight], log)
    assert process.wait(PATIENCE_S) in (0, 1), log.read_text()
    pause, last = (time.monotonic() - began) / KILLS, facts(straight, "%")
    chance, killed = random.Random(7), []
    for after in sorted(chance.randint(0, last - 2) for _ in range(KILLS)):
        arguments = ["--resume", "--out", run] if (run / "journal.sqlite").exists() else [*SMALL, "--out", run]
        process, _ = start(arguments, log)
        while facts(run, "%") < after and process.poll() is None:
            time.sleep(0.005)
        time.sleep(chance.uniform(0, pause))
        process.kill()
        if process.wait() == -signal.SIGKILL:
            killed.append(facts(run, "%"))
        assert "Traceback" not in log.read_text()
    # The very last ones may find that there is nothing left to be killed.
    assert len(killed) > KILLS // 2
    assert len(set(killed)) > 3
    last_one, _ = start(["--resume", "--out", run], log)
    assert last_one.wait(PATIENCE_S) in (0, 1), log.read_text()
    assert outcome(run) == outcome(straight)
    assert len(files(straight)) == 3 + 2 * len(outcome(straight)["networks"])
    assert files(run) == files(straight)
