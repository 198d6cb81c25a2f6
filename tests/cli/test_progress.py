"""Both ways to show progress, fed with everything that a run can tell."""

import io

import pytest
from rich.console import Console
from rich.progress import Progress as Bars

from edgesynth.cli.progress import LiveProgress, PlainProgress, open_progress
from edgesynth.records import Cycle


def tell_everything(progress, network):
    progress.stage("training [the] prototype")
    progress.epoch("resnet8", 1, 2, 0.5)
    progress.epoch("resnet8", 2, 2, 0.25)
    progress.note("a note")
    progress.scored(0, 2)
    progress.scored(2, 2)
    cycle = Cycle(
        cycle=0, mean_u=100.0, best_u=110.0, satisfied_share=0.5, mean_macs=1e6, mean_score=0.8, rank_correlation=None
    )
    progress.cycle(cycle, 2)
    progress.network(network, 1, 3)


@pytest.fixture
def output():
    return io.StringIO()


def test_plain_lines(output, finished_run):
    network = finished_run[1].networks[0]
    tell_everything(PlainProgress(Console(file=output, width=200)), network)
    lines = output.getvalue().splitlines()
    assert len(lines) == 6
    assert "training [the] prototype" in lines[0]
    assert "epoch 1/2, loss 0.5000" in lines[1]
    assert "s left" in lines[1]
    assert "s left" not in lines[2]
    assert "mean U 100.0, best 110.0, 50% of seeds meet everything" in lines[4]
    assert network.name in lines[5]
    assert lines[5].endswith("(1 of 3)")


def test_bars_come_and_go(output, finished_run):
    console = Console(file=output, force_terminal=True, width=200)
    with Bars("{task.description}{task.fields[detail]}", console=console, transient=True) as bars:
        tell_everything(LiveProgress(bars), finished_run[1].networks[0])
        assert [task.description for task in bars.tasks] == ["cycles"]
    assert "training [the] prototype" in output.getvalue()
    assert finished_run[1].networks[0].name in output.getvalue()


def test_what_is_no_terminal_gets_lines(capsys):
    with open_progress() as progress:
        progress.stage("working")
    out, err = capsys.readouterr()
    assert out == ""
    assert err.endswith("working\n")
