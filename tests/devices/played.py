"""A board that is only played: an agent on a tree of files that say TX2."""

from pathlib import Path

from tests.agent.fake_sysfs import FakeSysfs
from tests.agent.running import RunningAgent

__all__ = ["PlayedModes", "played_tx2"]

HELPER = Path(__file__).parents[2] / "jetson" / "edgesynth_agent" / "units" / "edgesynth-power"
NVPMODEL = """\
#!/bin/sh
cd {root} || exit 1
if [ "$1" = -q ]; then
    echo "NV Power Mode: $(sed -n "s/^< POWER_MODEL ID=$(cat mode) NAME=\\(.*\\) >$/\\1/p" etc/nvpmodel.conf)"
    exec cat mode
fi
[ ! -e stuck ] || {{ echo "NVPM ERROR: stuck" >&2; exit 1; }}
echo "$2" >mode.set && mv mode.set mode
"""
JETSON_CLOCKS = '#!/bin/sh\n[ "$1" != --store ] || echo free >"$2"\n'


class PlayedModes:
    """The power modes of a board whose files are below `root`, and the helper that sets them, at `helper`."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self.path = root / "usr" / "sbin"
        self.helper = root / "edgesynth-power"
        for folder in (self.path, root / "etc"):
            folder.mkdir(parents=True)
        (root / "etc" / "nvpmodel.conf").write_text(
            "< POWER_MODEL ID=0 NAME=MAXN >\n< POWER_MODEL ID=3 NAME=MAXP_CORE_ARM >\n< PM_CONFIG DEFAULT=3 >\n"
        )
        self.set(3)
        script = HELPER.read_text().replace("/etc/nvpmodel.conf", str(root / "etc" / "nvpmodel.conf"))
        script = script.replace("/run/edgesynth-power", str(root / "run"))
        programs = {
            self.path / "nvpmodel": NVPMODEL.format(root=root),
            self.path / "jetson_clocks": JETSON_CLOCKS,
            self.helper: script,
        }
        for path, text in programs.items():
            path.write_text(text)
            path.chmod(0o755)

    @property
    def now(self) -> int:
        return int((self._root / "mode").read_text())

    def set(self, number: int) -> None:
        """At once: whoever reads meanwhile sees one or the other."""
        new = self._root / "mode.new"
        new.write_text(f"{number}\n")
        new.replace(self._root / "mode")

    def stick(self) -> None:
        """From now on no mode can be set."""
        (self._root / "stuck").touch()


def played_tx2(folder: Path, *, sensor: bool = False) -> RunningAgent:
    """An agent of its own in `folder`, made; its address is tx2@unix://FOLDER/agent.sock.

    What `PlayedModes(folder / "board")` made before has power modes too.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tree = FakeSysfs(folder / "board")
    tree.write("proc/device-tree/model", "quill\0")
    tree.write("proc/device-tree/compatible", "nvidia,p2597-0000+p3310-1000\0nvidia,tegra186\0")
    if sensor:
        tree.iio("0-0041", 1, [("VDD_IN", 19064, 250)])
    return RunningAgent(folder, "--root", tree.root)
