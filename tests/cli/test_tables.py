"""What is printed after a synthesis."""

from edgesynth.cli.tables import print_measurement, print_networks, print_results
from tests.report.made_up import OTHERS, asked_again, changed, long_run, made_up_run, on_board

TARGETS = ("host", "tx2-sim")


def lines(capsys):
    return [line for line in capsys.readouterr().out.splitlines() if line.startswith("rank correlation")]


def test_one_line_a_rung(capsys):
    print_results(long_run(), TARGETS)
    assert lines(capsys) == [
        "rank correlation with the finished result: shared -0.03 (n = 16)",
        "rank correlation with the finished result: recalibrated 0.94 (n = 16)",
        "rank correlation with the finished result: adapted 0.90 (n = 16)",
        "rank correlation with the finished result: predicted 0.45 (n = 16)",
        "rank correlation with the finished result: short unknown: no finished network has this score",
    ]


def test_a_run_without_rungs_says_nothing_of_them(capsys):
    run = made_up_run()
    print_results(changed(run, generator=run.generator.model_copy(update={"rungs": []})), TARGETS)
    assert lines(capsys) == []


def printed(capsys):
    return [line.strip() for line in capsys.readouterr().out.splitlines()]


def test_a_target_that_nobody_asked_for_has_no_column(capsys):
    print_results(made_up_run(), ["host"])
    heads = printed(capsys)[:2]
    assert "host" in heads[0]
    assert "tx2-sim" not in heads[0]
    print_networks(made_up_run().networks, "accuracy", ["tx2-sim"])
    heads = printed(capsys)[:2]
    assert "tx2-sim" in heads[0]
    assert "host" not in heads[0]


def test_every_figure_stands_in_its_column(capsys):
    run = made_up_run()
    first, *others = run.networks
    host, tx2 = first.measurements
    blind = tx2.model_copy(update={"inferences_per_joule": None})
    sighted = host.model_copy(update={"inferences_per_joule": 12345.0})
    networks = [first.model_copy(update={"measurements": [sighted, blind]}), *others]
    print_results(changed(run, networks=networks), TARGETS)
    rows = {line.split()[0]: line.split() for line in printed(capsys) if line.startswith(("fermi-", "resnet20"))}
    # network, two accuracies, parameters, MACs, ratio, NetScore; then host, tx2-sim and its joules.
    assert rows["fermi-001"][-5:-2] == ["0.624", "4.1", "unknown"]
    assert rows["fermi-002"][7:10] == ["0.324", "2.7", "112"]


def test_a_measurement_shows_each_interval_that_it_has(capsys):
    print_measurement("a.onnx", on_board(2.0, 8.0))
    rows = {line[:22].strip(): line[22:].split() for line in printed(capsys)}
    assert rows["latency mean"] == ["2", "ms", "1.98", "–", "2.02"]
    assert rows["energy per inference"] == ["8", "mJ", "7.84", "–", "8.16"]
    assert rows["inferences per joule"] == ["125", "122.5", "–", "127.6"]
    print_measurement("a.onnx", on_board(2.0, None))
    assert "inferences per joule   unknown" in capsys.readouterr().out


def test_what_meets_the_requirements_of_the_run_is_counted(capsys):
    print_results(made_up_run(), TARGETS)
    asked = "accuracy>=prototype-0.02, macs<=prototype/4, params<=50k, inferences_per_joule@tx2-sim>=2*prototype"
    assert f"1 of 3 FermiNets meet {asked}" in printed(capsys)
    print_results(asked_again(), TARGETS)
    assert f"1 of 3 FermiNets meet {asked}" in printed(capsys)


def test_verdicts_on_other_requirements_name_them(capsys):
    print_results(asked_again(), TARGETS)
    ends = {line.split()[0]: line for line in printed(capsys) if line.startswith("fermi-")}
    assert ends["fermi-001"].endswith(" all met")
    assert ends["fermi-004"].endswith(" not known:")  # and on the next line what
    assert ends["fermi-005"].endswith(" met: macs<=prototype/16")


def test_networks_alone_are_counted_under_what_they_were_asked_for(capsys):
    run = asked_again()
    print_networks(run.networks[3:4], "accuracy", TARGETS)
    first, *_, last = printed(capsys)
    assert first.split()[0] == "accuracy"
    assert last == f"0 of 1 FermiNet meets {', '.join(OTHERS)}"
    print_networks([], "accuracy", TARGETS)
    assert printed(capsys)[-1] == "no further FermiNet was found"
