"""The raw samples of jobs, as files that are fetched and in time forgotten."""

import os
from typing import Callable, List, Optional, Set, Tuple

from edgesynth_agent.errors import StorageError

__all__ = ["TraceFolder"]

_SUFFIX = ".jsonl.gz"


class TraceFolder:
    """A folder of `<job>.jsonl.gz` with no more than `max_bytes` of them, the newest. Safe for several threads.

    A worker writes to `path(job)` at once or not at all (`run_trace.write_run_trace`). Raises StorageError.
    """

    def __init__(self, root: str, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self._root = os.path.abspath(root)
        try:
            os.makedirs(self._root, mode=0o700, exist_ok=True)
        except OSError as error:
            raise StorageError(error.strerror or str(error), self._root, "give another --store") from error

    def path(self, job_id: str) -> str:
        """Where the trace of a job belongs."""
        return os.path.join(self._root, job_id + _SUFFIX)

    def bytes_of(self, job_id: str) -> Optional[int]:
        """How large a trace is; None when there is none."""
        try:
            return os.path.getsize(self.path(job_id))
        except OSError:
            return None

    def remove(self, job_id: str) -> None:
        """Remove the trace of a job, and what is left of one that was being written."""
        for path in (self.path(job_id), self.path(job_id) + ".partial"):
            if os.path.exists(path):
                os.unlink(path)

    def keep_only(self, jobs: Set[str]) -> None:
        """Remove the files that belong to no such job; a folder is none of ours."""
        try:
            with os.scandir(self._root) as entries:
                for entry in list(entries):
                    known = entry.name.endswith(_SUFFIX) and entry.name.split(".")[0] in jobs
                    if not known and not entry.is_dir(follow_symlinks=False):
                        os.unlink(entry.path)
        except OSError as error:
            raise StorageError(error.strerror or str(error), self._root, "give another --store") from error

    def trim(self, on_drop: Callable[[str], None]) -> None:
        """Remove the oldest until the rest is within the bound; `on_drop(job)` for each."""
        files = self._files()
        total = sum(size for _, size, _ in files)
        for _, size, name in files:
            if total <= self.max_bytes:
                return
            total -= size
            job_id = name[: -len(_SUFFIX)]
            self.remove(job_id)
            on_drop(job_id)

    def total_bytes(self) -> int:
        return sum(size for _, size, _ in self._files())

    def _files(self) -> List[Tuple[int, int, str]]:
        """(time in ns, bytes, name) of each trace, the oldest first."""
        found = []
        with os.scandir(self._root) as entries:
            for entry in entries:
                if entry.name.endswith(_SUFFIX):
                    status = entry.stat()
                    found.append((status.st_mtime_ns, status.st_size, entry.name))
        return sorted(found)
