"""What a job may use: set by its process on itself before it looks at anything from outside, inherited by its children.

Memory is bounded by RLIMIT_DATA: on Linux 4.7 and later it counts private writable mappings, so all that malloc gives
(man 2 getrlimit). RLIMIT_AS would count CUDA's reservations of address space too, which are greater than any memory.
"""

import ctypes
import os
import pwd
import resource
import signal
from typing import Any, Dict, NamedTuple, Optional

__all__ = ["JobLimits", "apply_limits", "become", "default_memory_mib"]

_MIB = 1024 * 1024
_SHARE_OF_MEMORY = 0.75
_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE = 1, 4  # linux/prctl.h
_FIRST_TO_GO = "1000"  # the most that /proc/PID/oom_score_adj takes


class JobLimits(NamedTuple):
    """Bounds of one process of a job; None leaves one open. Its wall-clock time is the agent's to watch."""

    memory_mib: Optional[int]
    cpu_s: Optional[int]
    file_mib: Optional[int]

    def document(self) -> Dict[str, Any]:
        return dict(self._asdict())


def default_memory_mib() -> int:
    """Three quarters of this machine's memory: a GPU shares it on a Jetson, and the rest must stay usable."""
    return int(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") * _SHARE_OF_MEMORY) // _MIB


def become(user: str) -> None:
    """Go on as that user, for good; to be called as root, before `apply_limits`: its bounds to a parent would be lost.

    Raises KeyError when there is no such user.
    """
    entry = pwd.getpwnam(user)
    os.initgroups(user, entry.pw_gid)
    os.setgid(entry.pw_gid)
    os.setuid(entry.pw_uid)
    # Without this, files of this process in /proc still belong to root.
    ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 1, 0, 0, 0)


def apply_limits(limits: JobLimits, parent: int) -> None:
    """Bind this process: by `limits`, to die with the thread of `parent` that started it, to write no core file, and
    to be the first to go when memory runs out."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)  # it died before that
    try:
        with open("/proc/self/oom_score_adj", "w") as file:
            file.write(_FIRST_TO_GO)
    except OSError:
        pass  # no kernel that has it, or one that forbids: the limits hold all the same
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for which, bound in (
        (resource.RLIMIT_DATA, limits.memory_mib and limits.memory_mib * _MIB),
        (resource.RLIMIT_FSIZE, limits.file_mib and limits.file_mib * _MIB),
        (resource.RLIMIT_CPU, limits.cpu_s),
    ):
        if bound is not None:
            _lower(which, bound)


def _lower(which: int, bound: int) -> None:
    hard = resource.getrlimit(which)[1]
    allowed = bound if hard == resource.RLIM_INFINITY else min(bound, hard)
    resource.setrlimit(which, (allowed, allowed))
