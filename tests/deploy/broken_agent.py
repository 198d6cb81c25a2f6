"""An agent that can be installed and does not come up."""

import contextlib
import hashlib
import tempfile
import zipfile
from pathlib import Path

from edgesynth.deploy.agent_file import AgentFile, make_agent_file

__all__ = ["broken_agent"]

_SERVE = "edgesynth_agent/serve.py"


@contextlib.contextmanager
def broken_agent():
    """In the place of `packed_agent`."""
    with tempfile.TemporaryDirectory() as folder:
        whole = make_agent_file(Path(folder)).path
        broken = Path(folder) / "broken.pyz"
        with zipfile.ZipFile(whole) as old, zipfile.ZipFile(broken, "w") as new:
            for name in old.namelist():
                new.writestr(name, "raise SystemExit('it is broken')\n" if name == _SERVE else old.read(name))
        yield lambda: AgentFile(broken, hashlib.sha256(broken.read_bytes()).hexdigest())
