"""`edgesynth bench`, on files like those of an export."""

import json

import pytest

from edgesynth.cli.main import run
from edgesynth.devices import Schedule, jobs, power_helper, remote
from tests.agent.models import save_conv
from tests.deploy.sshd import LocalSshd
from tests.devices.played import PlayedModes, played_tx2
from tests.devices.references import IMAGES, save_reference


@pytest.fixture(autouse=True)
def short(monkeypatch):
    # As many windows as tell one from another.
    names = ("QUICK_HOST", "QUICK_METERED", "QUICK_BOARD", "REPORTED_METERED", "REPORTED_BOARD")
    for windows, name in enumerate(names, start=3):
        schedule = Schedule(warmup_min_s=0, warmup_max_s=0.05, windows=windows, window_s=0.02)
        monkeypatch.setattr(jobs, name, schedule)


@pytest.fixture
def model(tmp_path):
    return save_conv(tmp_path / "net.onnx")


def bench(capsys, model, *options):
    code = run(["bench", str(model), *options])
    return code, *capsys.readouterr()


def test_outputs_are_compared_with_the_reference_that_lies_beside(model, capsys):
    save_reference(model, model.with_suffix(".reference.npz"))
    code, out, err = bench(capsys, model, "--json", "--engine", "onnxruntime", "--precision", "fp32", "--batch", "2")
    record = json.loads(out)
    assert (code, err) == (0, "")
    assert (record["engine"]["backend"], record["engine"]["batch"]) == ("onnxruntime", 2)
    assert (record["reference"]["images"], record["reference"]["passed"]) == (IMAGES, True)
    code, out, _ = bench(capsys, model)
    assert code == 0
    assert f"same answer on 100.00% of {IMAGES} images" in out


def test_another_reference_may_be_named_and_one_that_does_not_fit_is_told(model, capsys, tmp_path):
    save_reference(model, model.with_suffix(".reference.npz"), digest="b" * 64)
    code, out, err = bench(capsys, model, "--json")
    assert (code, json.loads(out)["reference"]) == (0, None)
    assert err == "not compared with net.reference.npz: it is of another file\n"
    wrong = save_reference(model, tmp_path / "wrong.npz", error=0.5)
    code, out, err = bench(capsys, model, "--reference", str(wrong))
    assert (code, out) == (3, "")
    assert "differs from the reference by up to 0.5" in err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--precision", "int8", "--engine", "onnxruntime"], "runs the file as it is, in fp32"),
        (["--engine", "tensorrt"], "tensorrt"),
        (["--reference", "missing.npz"], "missing.npz"),
    ],
)
def test_what_cannot_be_had_is_one_line(model, capsys, options, said):
    code, out, err = bench(capsys, model, *options)
    assert code in (2, 3)
    assert out == ""
    assert said in err
    assert err.count("\n") == 1


def test_a_word_that_is_no_precision_is_bad_usage(model, capsys):
    assert bench(capsys, model, "--precision", "int4")[0] == 2


def test_two_networks_in_turns(model, capsys, tmp_path):
    other = save_conv(tmp_path / "large.onnx", size=64)
    code, out, err = bench(capsys, model, "--compare", str(other), "--rounds", "2", "--json")
    document = json.loads(out)
    assert (code, document["schema"], len(document["rounds"])) == (0, "edgesynth.comparison/1", 2)
    assert document["ratios"]["latency_ms"]["ratio"] > 1
    assert document["ratios"]["energy_mj"] is None
    assert err.splitlines() == ["round 1 of 2", "round 2 of 2"]
    code, out, _ = bench(capsys, model, "--compare", str(other), "--rounds", "2")
    assert code == 0
    assert "2 rounds, measured" in out
    assert "energy_mj cannot be compared" in out


def test_a_board_by_its_address(model, capsys, tmp_path):
    with played_tx2(tmp_path / "board"):
        code, out, _ = bench(capsys, model, "--target", f"tx2@unix://{tmp_path}/board/agent.sock", "--json")
    record = json.loads(out)
    assert (code, record["target"], record["source"]) == (0, "tx2", "simulated")


@pytest.mark.parametrize(
    ("target", "code", "said"),
    [
        ("tx2", 2, "say where it is"),
        ("tx2-sim", 2, "ask edgesynth estimate"),
        ("tx2@unix:///nowhere/agent.sock", 3, "tx2@unix:///nowhere/agent.sock"),
    ],
)
def test_who_cannot_be_asked(model, capsys, target, code, said):
    assert bench(capsys, model, "--target", target)[0] == code
    _, _, err = bench(capsys, model, "--target", target)
    assert said in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(("tier", "windows"), [((), 3), (("--tier", "quick"), 4), (("--tier", "reported"), 6)])
def test_the_tier_that_was_asked_for(model, capsys, monkeypatch, tier, windows):
    monkeypatch.setenv("EDGESYNTH_SIMULATED", "a test")  # whatever sensor this machine has
    monkeypatch.setattr(jobs, "SIMULATED_BOARD", jobs.QUICK_HOST)
    code, out, _ = bench(capsys, model, *tier, "--json")
    assert (code, len(json.loads(out)["windows"])) == (0, windows)


def test_the_tier_of_a_board_and_of_a_comparison(model, capsys, tmp_path):
    with played_tx2(tmp_path / "board"):
        target = f"tx2@unix://{tmp_path}/board/agent.sock"
        code, out, _ = bench(capsys, model, "--target", target, "--tier", "quick", "--json")
        assert (code, len(json.loads(out)["windows"])) == (0, 5)
        options = ("--compare", str(model), "--rounds", "2", "--tier", "reported", "--json")
        code, out, _ = bench(capsys, model, "--target", target, *options)
    records = [record for each in json.loads(out)["rounds"] for record in (*each["first"], *each["second"])]
    assert (code, [len(record["windows"]) for record in records]) == (0, [7] * 8)


def test_the_help_says_how_long_it_takes(capsys):
    assert run(["bench", "--help"]) == 0
    said = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert "5 of 60 s" in said
    assert "20 to 35 minutes" in said


class TestPowerMode:
    @pytest.fixture
    def modes(self, tmp_path):
        return PlayedModes(tmp_path / "board" / "board")

    @pytest.fixture
    def target(self, modes, tmp_path):
        with played_tx2(tmp_path / "board"):
            yield f"tx2@unix://{tmp_path}/board/agent.sock"

    def test_the_one_that_the_board_is_in(self, model, capsys, target):
        code, out, err = bench(capsys, model, "--target", target, "--power-mode", "3", "--json")
        assert (code, err) == (0, "")
        conditions = json.loads(out)["conditions"]
        assert [conditions[when]["power_mode"]["id"] for when in ("before", "after")] == [3, 3]

    @pytest.mark.parametrize("more", [(), ("--compare", "MODEL", "--rounds", "2")])
    def test_another_one_is_an_error_and_nothing_is_measured(self, model, capsys, target, modes, more):
        more = [str(model) if each == "MODEL" else each for each in more]
        code, out, err = bench(capsys, model, "--target", target, "--power-mode", "0", *more)
        assert (code, out, err.count("\n"), modes.now) == (3, "", 1, 3)
        assert "it is in power mode 3 (MAXP_CORE_ARM), not 0" in err
        assert err.endswith("On the board: sudo nvpmodel -m 0\n")

    @pytest.mark.parametrize(
        ("target", "mode", "said"),
        [
            ("host", "0", "host has no power modes: leave out --power-mode"),
            ("tx2@ssh://nowhere", "9", "tx2 has no power mode 9: known are 0 (MAXN)"),
            ("tx2-sim", "0", "ask edgesynth estimate"),
        ],
    )
    def test_what_there_is_not_is_bad_input(self, model, capsys, target, mode, said):
        code, out, err = bench(capsys, model, "--target", target, "--power-mode", mode)
        assert (code, out, err.count("\n")) == (2, "", 1)
        assert said in err

    def test_a_board_without_nvpmodel(self, model, capsys, tmp_path):
        with played_tx2(tmp_path / "board"):
            target = f"tx2@unix://{tmp_path}/board/agent.sock"
            code, out, err = bench(capsys, model, "--target", target, "--power-mode", "0")
        assert (code, out, err.count("\n")) == (3, "", 1)
        assert "leave out --power-mode" in err

    @pytest.fixture
    def board(self, modes, target, tmp_path, monkeypatch):
        """The same board by ssh, with the helper that sets its modes."""
        # sshd gives commands a PATH of its own.
        modes.helper.write_text(modes.helper.read_text().replace("set -eu\n", f"set -eu\nPATH={modes.path}:$PATH\n"))
        monkeypatch.setattr(power_helper, "HELPER", str(modes.helper))
        monkeypatch.setattr(remote, "SOCKETS", (target.partition("unix://")[2],))
        folder = tmp_path / "sshd"
        folder.mkdir()
        with LocalSshd(folder) as sshd:
            monkeypatch.setenv("EDGESYNTH_SSH_CONFIG", str(sshd.config))
            yield "tx2@ssh://board"

    def test_set_by_ssh_and_put_back(self, model, capsys, board, modes):
        options = ("--target", board, "--power-mode", "0", "--json")
        code, out, err = bench(capsys, model, *options)
        assert (code, err, modes.now) == (0, "", 3)
        assert json.loads(out)["conditions"]["after"]["power_mode"] == {"id": 0, "name": "MAXN"}
        code, out, _ = bench(capsys, model, *options, "--compare", str(model), "--rounds", "2")
        assert (code, modes.now) == (0, 3)
        first = json.loads(out)["rounds"][1]["first"][1]
        assert first["conditions"]["after"]["power_mode"]["id"] == 0

    def test_figures_are_told_before_a_mode_that_was_not_put_back(self, model, capsys, board, modes, monkeypatch):
        from edgesynth.devices import AgentOracle

        measure = AgentOracle.measure

        def then_stick(self, *args, **options):
            record = measure(self, *args, **options)
            modes.stick()
            return record

        monkeypatch.setattr(AgentOracle, "measure", then_stick)
        code, out, err = bench(capsys, model, "--target", board, "--power-mode", "0", "--json")
        assert (code, modes.now) == (3, 0)
        assert json.loads(out)["schema"] == "edgesynth.measurement/1"
        assert "its power mode was not put back" in err
