"""Jobs in a row, while their processes and the agent itself are killed at random: each ends once, none is lost.

EDGESYNTH_SOAK_JOBS says how many; `make soak-agent` asks for 5,000. EDGESYNTH_SOAK_SEED makes another sequence.
"""

import contextlib
import http.client
import json
import os
import random
import re
import signal
import sqlite3
import time
from pathlib import Path

from edgesynth_agent.job_store import TERMINAL

from tests.agent import schemas
from tests.agent.models import save_conv
from tests.agent.running import RunningAgent, children, gone, job_request, until

JOBS = int(os.environ.get("EDGESYNTH_SOAK_JOBS", "25"))
SEED = int(os.environ.get("EDGESYNTH_SOAK_SEED", "0"))
# What happens to a job, and how often of a hundred: the agent's own process is the dearest to start again.
FATES = {"nothing": 55, "kill the job": 20, "cancel": 10, "kill the agent": 10, "let go of the lease": 5}
BROKEN = (OSError, http.client.HTTPException, ValueError, AssertionError)


def memory_kib(pid):
    return int(re.search(r"VmRSS:\s+([0-9]+) kB", Path(f"/proc/{pid}/status").read_text())[1])


class Soak:
    """One store, one agent after another; `expected` is what the client knows of each job by its key."""

    def __init__(self, folder):
        self.folder = folder
        self.chance = random.Random(SEED)
        self.expected = {}
        self.counts = dict.fromkeys(FATES, 0)
        self.memory = []
        self.agent = None

    def start(self):
        self.agent = RunningAgent(self.folder, "--keep-jobs", str(10 * JOBS))
        self.model = self.agent.upload(save_conv(self.folder / "conv.onnx"))
        self.since = 0

    def stop(self, number):
        workers = children(self.agent.process.pid)
        self.agent.process.send_signal(number)
        self.agent.process.wait(30)
        self.agent.process.stdin.close()
        self.agent.process.stderr.close()
        until(lambda: all(gone(pid) for pid in workers))

    def one(self, index):
        key = f"job {index}"
        fate = self.chance.choices(list(FATES), list(FATES.values()))[0]
        self.counts[fate] += 1
        if fate == "kill the agent" and self.chance.random() < 0.3:  # as the job is being submitted
            with contextlib.suppress(*BROKEN), self.agent.connect() as connection:
                connection.sendall(self.raw_submission(key))
                time.sleep(self.chance.random() * 0.02)
            self.stop(signal.SIGKILL)
            self.start()
        job_id = self.submit(key)
        if fate != "nothing":
            time.sleep(self.chance.random() * 0.6)
            self.happen(fate, job_id)
        job = self.agent.ended(job_id)
        self.expected[key] = (job_id, job["status"])
        self.since += 1
        if self.since > 20:
            self.memory.append(memory_kib(self.agent.process.pid))

    def submit(self, key):
        """Until it is known to be there: with the same key it is the same job."""
        headers = self.agent.leased()
        status, job = self.agent.ask(
            "POST", "/v1/jobs", json.dumps(job_request(self.model)), {**headers, "Idempotency-Key": key}
        )
        if status == 403:  # the lease was let go
            self.agent.lease = None
            return self.submit(key)
        assert status == 201, job
        return job["id"]

    def raw_submission(self, key):
        body = json.dumps(job_request(self.model))
        lease = self.agent.leased()["Edgesynth-Lease"]
        head = f"POST /v1/jobs HTTP/1.1\r\nContent-Length: {len(body)}\r\nEdgesynth-Lease: {lease}\r\n"
        return f"{head}Idempotency-Key: {key}\r\n\r\n{body}".encode()

    def happen(self, fate, job_id):
        if fate == "kill the job":
            for pid in children(self.agent.process.pid):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        elif fate == "cancel":
            assert self.agent.ask("DELETE", f"/v1/jobs/{job_id}")[1]["status"] in TERMINAL
        elif fate == "let go of the lease":
            assert self.agent.ask("DELETE", f"/v1/leases/{self.agent.lease}")[0] == 200
            self.agent.lease = None
        else:
            self.stop(signal.SIGKILL)
            self.start()


def test_every_job_ends_once_and_none_is_lost_or_doubled(tmp_path):
    soak = Soak(tmp_path)
    soak.start()
    try:
        for index in range(JOBS):
            soak.one(index)
    finally:
        soak.stop(signal.SIGTERM)
    database = sqlite3.connect(str(tmp_path / "models" / "jobs.sqlite"))
    rows = database.execute("SELECT number, id, key, status, reason, result, error FROM jobs").fetchall()
    assert {key: (job_id, status) for _, job_id, key, status, _, _, _ in rows} == soak.expected
    assert len(rows) == JOBS
    for number, job_id, _, status, reason, result, error in rows:
        events = [
            json.loads(event)
            for (event,) in database.execute("SELECT event FROM events WHERE job = ? ORDER BY sequence", (number,))
        ]
        assert [event["status"] for event in events if event["status"] in TERMINAL] == [status]
        assert events[-1]["status"] == status
        assert (result is not None) == (status == "done") == (error is None) == (reason is None)
        if result is not None:
            schemas.check(json.loads(result), schemas.schema("measurement-1.json"))
        assert (tmp_path / f"models/traces/{job_id}.jsonl.gz").exists() == (status == "done")
    database.close()
    ended = {status: sum(row[3] == status for row in rows) for status in TERMINAL}
    print(f"{JOBS} jobs, seed {SEED}: {soak.counts}; ended: {ended}; memory of an agent in KiB: {soak.memory[-1:]}")  # noqa: T201
    if len(soak.memory) > 200:
        quarter = len(soak.memory) // 4
        assert max(soak.memory[-quarter:]) < 1.2 * max(soak.memory[:quarter])
