"""The command line as a whole: quick to answer, one line an error, exit codes."""

import json
import subprocess
import sys

import pytest

from edgesynth import __version__
from edgesynth.cli import main
from edgesynth.cli.main import app, run
from edgesynth.errors import EdgesynthError

COMMANDS = ["synth", "generate", "export", "report", "check", "bench", "estimate", "data", "targets", "doctor"]


@pytest.mark.parametrize("arguments", [["--help"], *([command, "--help"] for command in COMMANDS)])
def test_help_never_loads_torch(arguments):
    code = (
        "import sys; from edgesynth.cli.main import run; code = run(sys.argv[1:]); "
        "heavy = {'torch', 'onnx', 'onnxruntime', 'numpy', 'sklearn'} & sys.modules.keys(); "
        "print(sorted(heavy), file=sys.stderr); sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.strip()) == (0, "[]")
    assert "Usage" in done.stdout


@pytest.mark.parametrize(
    ("command", "default"), [("synth", "(16)"), ("bench", "(the file's)"), ("generate", "(the run's)")]
)
def test_help_tells_defaults_that_are_worked_out(command, default, capsys):
    assert run([command, "--help"]) == 0
    assert default in capsys.readouterr().out


def test_version(capsys):
    assert run(["--version"]) == 0
    assert capsys.readouterr().out == f"edgesynth {__version__}\n"


@pytest.mark.parametrize("arguments", [["bogus"], ["synth", "--bogus"], ["synth", "--count", "none"], ["report"]])
def test_bad_usage_is_2_and_goes_to_stderr(arguments, capsys):
    assert run(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "Traceback" not in err


def _raise(error):
    def command():
        raise error

    return command


@pytest.fixture
def failing(monkeypatch):
    """A command line with one more sub-command, which raises what it is given."""

    def install(error):
        monkeypatch.setattr(app, "registered_commands", list(app.registered_commands))
        app.command("fail")(_raise(error))

    return install


class FailedToolError(EdgesynthError):
    exit_code = 3


@pytest.mark.parametrize(
    ("error", "code", "says"),
    [
        (EdgesynthError("what\nand where"), 2, "edgesynth: what and where"),
        (FailedToolError("a tool"), 3, "edgesynth: a tool"),
        (KeyboardInterrupt(), 130, "edgesynth: interrupted\n"),
        (EdgesynthError("a name\x1b[2J"), 2, "edgesynth: a name?[2J\n"),
        (ZeroDivisionError("a bug"), 3, "ZeroDivisionError: a bug; run it again with --debug"),
        (OSError(28, "No space left on device"), 3, "No space left on device"),
    ],
)
def test_an_error_is_one_line_and_a_code(failing, error, code, says, capsys):
    failing(error)
    assert run(["fail"]) == code
    out, err = capsys.readouterr()
    assert says in err
    assert err.count("\n") == 1
    assert out == ""


def test_only_what_can_go_on_says_so(monkeypatch, capsys):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(main, "app", interrupt)
    for command, goes_on in (("synth", True), ("export", False)):
        assert run([command]) == 130
        assert ("--resume" in capsys.readouterr().err) == goes_on


@pytest.mark.parametrize("line", [["--debug", "fail"], ["fail", "--debug"]])
def test_debug_lets_the_traceback_through(failing, line):
    failing(EdgesynthError("what"))
    with pytest.raises(EdgesynthError):
        run(line)


def test_doctor_finds_what_the_tests_themselves_use(capsys):
    assert run(["doctor", "--json"]) == 0
    findings = {f["what"]: f for f in json.loads(capsys.readouterr().out)["findings"]}
    assert all(findings[what]["works"] for what in ("python", "torch", "onnxruntime", "agent", "data: digits"))
    assert all(finding["detail"] for finding in findings.values())
    missing = [f for f in findings.values() if not f["works"]]
    assert not any(f["needed"] for f in missing)


def test_doctor_sees_power_sensors(tmp_path):
    from edgesynth.doctor import examine

    rail = tmp_path / "bus/i2c/drivers/ina3221x/0-0041/iio:device1"
    rail.mkdir(parents=True)
    (rail / "rail_name_0").write_text("VDD_IN\n")
    (finding,) = [f for f in examine(tmp_path) if f.what == "power sensor"]
    assert finding.works
    assert "INA3221 (JetPack 4)" in finding.detail


def test_bench_refuses_a_model_of_a_target(capsys):
    assert run(["bench", "any.onnx", "--target", "tx2-sim"]) == 2
    assert "edgesynth estimate" in capsys.readouterr().err


def test_bench_measures_a_real_file(finished_run, capsys):
    path, results = finished_run
    model = str(path / results.networks[0].onnx)
    assert run(["bench", model, "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert (record["schema"], record["source"], record["target"]) == ("edgesynth.measurement/1", "measured", "host")
    assert record["latency_ms"]["mean"] > 0
    assert record["energy_mj"] is None
    assert record["warnings"]
    assert run(["bench", model]) == 0
    assert "unknown" in capsys.readouterr().out
