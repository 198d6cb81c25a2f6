"""`edgesynth-power hold NUMBER`: a power mode for as long as somebody wants it, and then the one of before."""

import os
import signal
import subprocess
from pathlib import Path

import pytest

HELPER = Path(__file__).parents[2] / "jetson" / "edgesynth_agent" / "units" / "edgesynth-power"
MODES = """\
< PARAM TYPE=FILE NAME=CPU_ONLINE >
< POWER_MODEL ID=0 NAME=MAXN >
CPU_ONLINE CORE_0 1
< POWER_MODEL ID=3 NAME=MAXP_CORE_ARM >
< POWER_MODEL ID=12 NAME=OWN >
< PM_CONFIG DEFAULT=3 >
"""
# As the tools are: setting a mode frees the clocks, and one that needs a boot asks whether to do it.
NVPMODEL = """\
#!/bin/sh
[ ! -e broken ] || { echo "NVPM ERROR: broken" >&2; exit 1; }
if [ "$1" = -q ]; then
    printf 'NV Power Mode: SOME\\n'
    exec cat mode
fi
echo "mode $2" >>calls
if [ "$2" = 12 ]; then read -r answer || exit 0; fi
echo "$2" >mode
echo free >clocks
"""
JETSON_CLOCKS = """\
#!/bin/sh
[ ! -e no-clocks ] || { echo "no clocks" >&2; exit 1; }
echo "clocks $1" >>calls
case $1 in
--store) [ ! -e "$2" ] || read -r answer; cat clocks >"$2" ;;
--restore) cat "$2" >clocks ;;
*) echo held >clocks ;;
esac
"""


class Board:
    """A folder with the tools, and the helper looking there."""

    def __init__(self, folder):
        self.folder = folder
        self.processes = []
        (folder / "modes").write_text(MODES)
        self.write("mode", "3")
        self.write("clocks", "free")
        for name, text in (("nvpmodel", NVPMODEL), ("jetson_clocks", JETSON_CLOCKS)):
            (folder / name).write_text(text)
            (folder / name).chmod(0o755)
        script = HELPER.read_text().replace("/etc/nvpmodel.conf", str(folder / "modes"))
        self.script = script.replace("/run/edgesynth-power", str(folder / "run"))

    def write(self, name, text):
        (self.folder / name).write_text(text + "\n")

    def read(self, name):
        return (self.folder / name).read_text().strip()

    @property
    def now(self):
        return self.read("mode"), self.read("clocks")

    def start(self, *action, silence_s=60):
        script = self.script.replace("silence_s=60", "silence_s={}".format(silence_s))
        process = subprocess.Popen(
            ["/bin/sh", "-c", script, "edgesynth-power", *action],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=str(self.folder),
            env={"PATH": "{}:/usr/bin:/bin".format(self.folder)},
            universal_newlines=True,
            # Tests that are run by nohup ignore it, and a shell cannot trap what is ignored when it begins.
            preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL),
        )
        self.processes.append(process)
        return process

    def hold(self, number, **options):
        """A helper that has said that it holds."""
        process = self.start("hold", number, **options)
        assert process.stdout.readline() == "held\n"
        return process

    def refused(self, *action):
        process = self.start(*action)
        out, err = process.communicate("", 20)
        assert out == ""
        return process.returncode, err

    def is_as_before(self):
        assert not list(self.folder.glob("run/held.*"))
        return self.now


@pytest.fixture
def board(tmp_path):
    made = Board(tmp_path)
    yield made
    for process in made.processes:
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout, process.stderr):
            pipe.close()


def test_as_long_as_stdin_is_open(board):
    process = board.hold("0")
    assert board.now == ("0", "free")
    assert process.communicate("..", 20) == ("", "")
    assert process.returncode == 0
    assert board.is_as_before() == ("3", "free")


def test_clocks_that_were_held_by_hand_are_held_again_afterwards(board):
    board.write("clocks", "held")
    process = board.hold("0")
    assert board.now == ("0", "free")
    process.communicate("", 20)
    assert board.is_as_before() == ("3", "held")


def test_clocks_that_the_helper_holds_are_held_in_that_mode_too(board):
    board.folder.joinpath("run").mkdir()
    assert board.refused("clocks-max") == (0, "")
    process = board.hold("0")
    assert board.now == ("0", "held")
    process.communicate("", 20)
    assert board.is_as_before() == ("3", "held")
    assert board.refused("clocks-restore") == (0, "")
    assert board.now == ("3", "free")


def test_a_line_that_is_silent_is_let_go_of(board):
    process = board.hold("0", silence_s=1)
    process.wait(20)
    assert process.returncode == 0
    assert board.is_as_before() == ("3", "free")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_puts_back_too(board, number):
    process = board.hold("0", silence_s=2)
    os.kill(process.pid, number)
    process.wait(20)
    assert process.returncode == 1
    assert board.is_as_before() == ("3", "free")


def test_whoever_asked_is_gone_before_it_is_set(board):
    process = board.start("hold", "0")
    process.stdout.close()
    process.wait(20)
    assert board.read("calls").splitlines()[0] == "clocks --store"
    assert board.is_as_before() == ("3", "free")


@pytest.mark.parametrize("number", ["", "1", "00", "-1", "0 NAME=MAXN", "*", "$(id)", "MAXN"])
def test_a_number_that_no_mode_has(board, number):
    code, said = board.refused("hold", number)
    assert code == 1
    assert said.endswith("has no mode with that number; its numbers: 0 3 12\n")
    assert board.is_as_before() == ("3", "free")
    assert not (board.folder / "calls").exists()


@pytest.mark.parametrize("action", [("hold",), ("hold", "0", "3"), ("MAXN", "0"), ()])
def test_bad_usage(board, action):
    code, said = board.refused(*action)
    assert code == 2
    assert "give one ACTION: clocks-max, clocks-restore, hold NUMBER or a mode of" in said
    assert board.now == ("3", "free")


def test_what_cannot_be_put_back_is_not_set(board):
    (board.folder / "no-clocks").touch()
    assert board.refused("hold", "0") == (1, "no clocks\n")
    (board.folder / "no-clocks").unlink()
    board.write("mode", "7")
    assert board.refused("hold", "0") == (1, "edgesynth-power: nvpmodel -q does not tell the mode\n")
    assert board.is_as_before() == ("7", "free")


def test_a_mode_that_needs_a_boot_gets_no_answer(board):
    process = board.hold("12")
    assert board.now == ("3", "free")  # whoever asked looks, and sees that it is not set
    process.communicate("", 20)
    assert board.is_as_before() == ("3", "free")


def test_a_failure_to_put_back_is_told(board):
    process = board.hold("0")
    (board.folder / "broken").touch()
    _, said = process.communicate("", 20)
    assert (process.returncode, said) == (1, "edgesynth-power: mode 3 or its clocks could not be put back\n")


def test_only_root_may_read_what_is_kept(board):
    process = board.hold("0")
    assert (board.folder / "run").stat().st_mode & 0o777 == 0o700
    process.communicate("", 20)
