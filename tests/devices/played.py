"""A board that is only played: an agent on a tree of files that say TX2."""

from pathlib import Path

from tests.agent.fake_sysfs import FakeSysfs
from tests.agent.running import RunningAgent

__all__ = ["played_tx2"]


def played_tx2(folder: Path, *, sensor: bool = False) -> RunningAgent:
    """An agent of its own in `folder`, made; its address is tx2@unix://FOLDER/agent.sock."""
    folder.mkdir(parents=True, exist_ok=True)
    tree = FakeSysfs(folder / "board")
    tree.write("proc/device-tree/model", "quill\0")
    tree.write("proc/device-tree/compatible", "nvidia,p2597-0000+p3310-1000\0nvidia,tegra186\0")
    if sensor:
        tree.iio("0-0041", 1, [("VDD_IN", 19064, 250)])
    return RunningAgent(folder, "--root", tree.root)
