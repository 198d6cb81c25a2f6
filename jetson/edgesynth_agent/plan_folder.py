"""Where built engines are kept, and the bound of all of them together."""

import os
from typing import List, Tuple

from edgesynth_agent.plan import manifest_path

__all__ = ["MAX_PLAN_BYTES", "PlanFolder"]

MAX_PLAN_BYTES = 2 * 1024**3

_SUFFIX = ".plan"


class PlanFolder:
    """Plans, their manifests, and timing caches: `max_bytes` at most, but for the plan in use, which always stays."""

    def __init__(self, root: str, max_bytes: int = MAX_PLAN_BYTES) -> None:
        self.root = os.path.abspath(root)
        self.max_bytes = max_bytes

    def path(self, name: str) -> str:
        """Where the plan of that name belongs."""
        return os.path.join(self.root, name + _SUFFIX)

    def trim(self, used: str) -> None:
        """Remove plans, the longest unused first, but never `used`. What cannot be removed stays until next time."""
        try:
            os.utime(used)
            files = self._files()
            total = sum(size for _, size, _ in files)
            for _, size, path in files:
                if total > self.max_bytes and path != used and path.endswith(_SUFFIX):
                    os.unlink(path)
                    total -= size
                    if os.path.exists(manifest_path(path)):
                        total -= os.path.getsize(manifest_path(path))
                        os.unlink(manifest_path(path))
        except OSError:
            pass

    def total_bytes(self) -> int:
        """What all of it takes; 0 before there is anything."""
        try:
            return sum(size for _, size, _ in self._files())
        except OSError:
            return 0

    def _files(self) -> List[Tuple[int, int, str]]:
        """(time of last use in ns, bytes, path) of all files, the oldest first."""
        found = []
        with os.scandir(self.root) as entries:
            for entry in entries:
                if entry.is_file():
                    status = entry.stat()
                    found.append((status.st_mtime_ns, status.st_size, entry.path))
        return sorted(found)
