"""What is printed after a synthesis."""

from edgesynth.cli.tables import print_results
from tests.report.made_up import changed, long_run, made_up_run


def lines(capsys):
    return [line for line in capsys.readouterr().out.splitlines() if line.startswith("rank correlation")]


def test_one_line_a_rung(capsys):
    print_results(long_run())
    assert lines(capsys) == [
        "rank correlation with the finished result: shared -0.03 (n = 16)",
        "rank correlation with the finished result: recalibrated 0.94 (n = 16)",
        "rank correlation with the finished result: predicted 0.45 (n = 16)",
        "rank correlation with the finished result: short unknown: no finished network has this score",
    ]


def test_a_run_without_rungs_says_nothing_of_them(capsys):
    run = made_up_run()
    print_results(changed(run, generator=run.generator.model_copy(update={"rungs": []})))
    assert lines(capsys) == []
